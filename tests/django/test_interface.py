"""The whole of Django's ``SessionBase``, sync and async, on each engine."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import ImproperlyConfigured

from sojourn.errors import EncodeError, PayloadTooLargeError
from tests.django.site import Browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from tests.django.site import Site


def test_every_public_name_of_djangos_session_is_there(site: Site) -> None:
    assert isinstance(site.session(), SessionBase)
    public = (name for name in dir(SessionBase()) if not name.startswith("_SessionBase__"))
    missing = {name for name in public if not hasattr(site.session(), name)}
    assert missing == set()


def test_subclasses_get_and_set_the_key_as_with_djangos(site: Site) -> None:
    saved = site.saved(number=1)
    session: Any = site.session()
    assert session._get_session_key() is None
    session._set_session_key(saved.session_key)
    assert session._get_session_key() == session.session_key == saved.session_key
    assert session["number"] == 1


def test_the_mapping(site: Site) -> None:
    session = site.session()
    session["a"] = 1
    assert session.setdefault("a", 2) == 1
    assert session.setdefault("b", 2) == 2
    session.update({"c": 3, "d": 4})
    assert session.pop("d") == 4
    assert session.pop("d", None) is None
    with pytest.raises(KeyError):
        session.pop("d")
    del session["c"]
    session.save()
    session = site.session(session.session_key)
    assert dict(session.items()) == {"a": 1, "b": 2}
    assert (list(session.keys()), list(session.values())) == (["a", "b"], [1, 2])
    assert session.has_key("a")
    assert "c" not in session
    assert session.get("c", "none") == "none"
    with pytest.raises(KeyError):
        session["c"]
    session.clear()
    session.save()
    assert site.stored(session.session_key) == {}
    assert session.exists(session.session_key)
    session.set_test_cookie()
    assert session.test_cookie_worked()
    session.delete_test_cookie()
    assert not session.test_cookie_worked()


async def test_the_mapping_asynchronously(site: Site) -> None:
    session = site.session()
    await session.aset("a", 1)
    assert await session.asetdefault("a", 2) == 1
    assert await session.asetdefault("b", 2) == 2
    await session.aupdate({"c": 3, "d": 4})
    assert await session.apop("d") == 4
    assert await session.apop("d", None) is None
    with pytest.raises(KeyError):
        await session.apop("d")
    await session.apop("c")
    await session.asave()
    session = site.session(session.session_key)
    assert dict(await session.aitems()) == {"a": 1, "b": 2}
    assert (list(await session.akeys()), list(await session.avalues())) == (["a", "b"], [1, 2])
    assert await session.ahas_key("a")
    assert await session.aget("c", "none") == "none"
    await session.aset_test_cookie()
    assert await session.atest_cookie_worked()
    await session.adelete_test_cookie()
    assert not await session.atest_cookie_worked()
    key = session.session_key
    await session.acycle_key()
    assert not await session.aexists(key)
    assert await session.aexists(session.session_key)
    assert dict(await site.session(session.session_key).aitems()) == {"a": 1, "b": 2}
    key = session.session_key
    await session.acreate()
    assert session.session_key != key
    assert dict(await site.session(session.session_key).aitems()) == {"a": 1, "b": 2}
    assert await session.aget_expiry_age() > 0
    await session.aflush()
    assert session.session_key is None
    await site.session(key).adelete()
    assert await site.session(key).aload() == {}


def test_what_one_way_saves_the_other_reads(site: Site) -> None:
    assert site.stored(site.saved(a=1).session_key) == {"a": 1}


async def test_what_is_saved_asynchronously_is_read_by_plain_calls(site: Site) -> None:
    session = site.session()
    await session.aset("a", 1)
    await session.asave()
    assert await sync_to_async(site.stored)(session.session_key) == {"a": 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session["basket"]["items"].append("pear"),
        lambda session: session["basket"]["items"].clear(),
        lambda session: session["basket"].update(count=2),
        lambda session: session.get("basket").pop("items"),
        lambda session: dict(session.items())["basket"]["items"].sort(reverse=True),
    ],
)
def test_a_change_inside_a_nested_value_counts_and_is_saved(
    site: Site, change: Callable[[Any], object]
) -> None:
    basket: dict[str, Any] = {"items": ["apple", "banana"], "count": 1}
    browser = Browser(token=site.saved(basket=basket, other=[1]).session_key)
    expected: dict[str, Any] = {"basket": {"items": ["apple", "banana"], "count": 1}, "other": [1]}
    change(expected)

    def view(request: HttpRequest) -> str:
        assert request.session["basket"] == basket
        assert request.session.modified is False
        change(request.session)
        return str(request.session.modified)

    response = browser.visit(view)
    assert (response.status_code, response.content) == (200, b"True")
    assert "sessionid" in response.cookies
    assert site.stored(browser.token) == expected


def test_reading_a_nested_value_is_no_change(site: Site) -> None:
    store = site.watch()
    values = {"when": datetime(2026, 1, 1, tzinfo=UTC), "tags": {"a", "b"}, "deep": [[{"x": (1, 2)}]]}
    browser = Browser(token=site.saved(**values).session_key)
    store.forget()
    response = browser.visit(lambda request: [*request.session.values()])
    assert not response.cookies
    assert store.counts == {"load": 1}


def test_saying_that_nothing_was_modified_keeps_the_middleware_from_saving(site: Site) -> None:
    browser = Browser(token=site.saved(basket=["apple"]).session_key)

    def take_back(request: HttpRequest) -> None:
        request.session["basket"].append("pear")
        request.session.modified = False

    assert not browser.visit(take_back).cookies
    assert site.stored(browser.token) == {"basket": ["apple"]}

    def take_back_and_go_on(request: HttpRequest) -> None:
        take_back(request)
        request.session["basket"].append("plum")

    assert browser.visit(take_back_and_go_on).cookies
    assert site.stored(browser.token) == {"basket": ["apple", "pear", "plum"]}


def test_what_json_stores_and_more_comes_back(site: Site) -> None:
    values = {
        "text": "é\N{SNOWMAN}\ud800",
        "number": 2**70,
        "pair": (1, 2),
        "table": {1: "one", None: 0},
        "bytes": b"\x00\xff",
        "when": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "for": timedelta(microseconds=1),
        "price": Decimal("1.10"),
        "id": UUID(int=7),
        "tags": {"a", "b"},
    }
    back = values | {"pair": [1, 2], "table": {"1": "one", "null": 0}}
    assert site.stored(site.saved(**values).session_key) == back


# Saving what cannot be saved


def test_a_value_that_cannot_be_stored_is_an_error_naming_its_path_and_the_stored_session_stays(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(token=site.saved(basket={"items": [{"price": 1}]}).session_key)

    def put_an_object(request: HttpRequest) -> None:
        request.session["fine"] = 1
        request.session["basket"]["items"].append({"price": object()})

    response = browser.visit(put_an_object)
    assert (response.status_code, dict(response.cookies)) == (500, {})
    assert "basket.items[1].price" in caplog.text
    assert site.stored(browser.token) == {"basket": {"items": [{"price": 1}]}}
    session = site.session(browser.token)
    session["basket"]["items"][0]["price"] = object
    with pytest.raises(EncodeError, match=r"basket\.items\[0\]\.price"):
        session.save()
    session["basket"]["items"][0]["price"] = 2
    session.save()
    assert site.stored(browser.token) == {"basket": {"items": [{"price": 2}]}}


async def test_a_value_that_cannot_be_stored_is_an_error_asynchronously(site: Site) -> None:
    session = site.session()
    await session.aset("a", [object()])
    with pytest.raises(EncodeError, match=r"a\[0\]"):
        await session.asave()
    assert session.session_key is None


def test_D3_a_session_that_is_too_large_is_an_error_naming_sizes_and_keys(
    site: Site, change_settings: Callable[..., None]
) -> None:
    change_settings(SOJOURN={**settings.SOJOURN, "MAX_PAYLOAD": 2000})
    session = site.saved(small=1)
    session["large"] = "x" * 3000
    with pytest.raises(PayloadTooLargeError, match=r"30\d\d bytes, the limit is 2000.*'large' 300"):
        session.save()
    assert site.stored(session.session_key) == {"small": 1}


# Django's own errors


def test_saving_a_session_that_was_deleted_is_an_update_error_each_time(site: Site) -> None:
    session = site.saved(a=1)
    site.session(session.session_key).delete()
    for _ in range(2):
        session["a"] = 2
        with pytest.raises(UpdateError):
            session.save()
    assert site.count == 0


def test_renewing_a_session_that_was_deleted_does_not_bring_it_back(site: Site) -> None:
    session = site.saved(a=1)
    site.session(session.session_key).delete()
    session["b"] = 2
    session.cycle_key()  # nobody's session: begins a new one with what this request set
    assert site.stored(session.session_key) == {"b": 2}
    session = site.saved(_auth_user_id="1")
    site.session(session.session_key).delete()
    with pytest.raises(SessionInterrupted):
        session.cycle_key()
    assert site.count == 1


def test_creating_what_is_stored_already_is_a_create_error(site: Site) -> None:
    session = site.saved(a=1)
    with pytest.raises(CreateError):
        session.save(must_create=True)
    fresh = site.session()
    fresh.save(must_create=True)
    assert fresh.exists(fresh.session_key)


def test_create_begins_a_session_of_its_own_and_leaves_the_former_alone(site: Site) -> None:
    session = site.saved(a=1)
    former = session.session_key
    session.create()
    assert session.session_key != former
    assert site.stored(former) == {"a": 1}
    session["b"] = 2
    session.save()
    assert site.stored(former) == {"a": 1}


def test_a_delete_is_final_and_may_be_repeated(site: Site) -> None:
    session = site.saved(a=1)
    for _ in range(2):
        session.delete()
    site.session().delete()
    site.session().delete("not a key")
    assert session.exists(session.session_key) is False
    assert session.exists("not a key") is False
    assert session.exists(None) is False


def test_a_key_fits_into_forty_characters_and_is_new_each_time(site: Site) -> None:
    keys = {site.saved(a=1).session_key for _ in range(20)}
    assert len(keys) == 20
    assert {len(key) for key in keys} == {40}


# SESSION_SERIALIZER


class Token:
    """What no serializer knows by itself; Horizon's sessions are full of such."""

    def __init__(self, name: str, roles: list[str]) -> None:
        self.name = name
        self.roles = roles

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class HookedSerializer:
    """JSON with a hook, as Horizon's."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj, default=lambda value: {"__class__": "Token", **vars(value)}).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data, object_hook=self._hook)

    def _hook(self, value: dict[str, Any]) -> Any:
        return Token(value["name"], value["roles"]) if value.pop("__class__", None) == "Token" else value


class UnsafeSerializer:
    """As Django's before 5.0."""

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301 - which is why it is refused


HERE = "tests.django.test_interface"


def test_a_projects_own_serializer_is_honoured(site: Site, change_settings: Callable[..., None]) -> None:
    change_settings(SESSION_SERIALIZER=f"{HERE}.HookedSerializer")
    browser = Browser()

    def keep(request: HttpRequest) -> None:
        request.session["token"] = Token("alice", ["member"])
        request.session["plain"] = {"a": [1]}

    assert browser.visit(keep).status_code == 200
    assert not browser.visit(lambda request: request.session["token"].name).cookies
    assert browser.visit(lambda request: request.session["token"].roles.append("admin")).cookies
    token = browser.visit(lambda request: request.session["token"].roles).content
    assert token == b"['member', 'admin']"
    session = site.session(browser.token)
    assert session.decode(session.encode({"a": Token("a", [])})) == {"a": Token("a", [])}


def test_S4_a_serializer_that_unpickles_is_refused(site: Site, change_settings: Callable[..., None]) -> None:
    change_settings(SESSION_SERIALIZER=f"{HERE}.UnsafeSerializer")
    with pytest.raises(ImproperlyConfigured, match="UnsafeSerializer"):
        site.session()
