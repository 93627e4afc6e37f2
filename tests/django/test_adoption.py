"""Sessions of Django's engines are taken over, once, and what ends here has ended there."""

from __future__ import annotations

import asyncio
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction
from django.utils import translation
from django.utils.functional import lazy
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, pgettext_lazy

from sojourn.django import arevoke_sessions, revoke_sessions, sessions_of
from sojourn.errors import StoreUnavailableError
from tests.django.servers import CACHED, DATABASES, HAS_PYLIBMC, IN_CACHES, sites
from tests.django.site import Browser, Site, sign_in, sign_out

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from django.contrib.auth.models import User

DJANGO = "django.contrib.sessions.backends"


ON_SERVERS = ["redis", "django-redis", "django-redis, JSON, compressed"]
#: Sites that take over from Django's engine of the same name and know whose sessions they have; memcached
#: knows not.
with_index = pytest.mark.parametrize(
    "site", sites("cache", "file", *DATABASES, *CACHED, *IN_CACHES, *ON_SERVERS), indirect=True
)


@pytest.fixture(
    params=sites(
        *("cache", "file", *DATABASES, *CACHED, *IN_CACHES, *ON_SERVERS, "memcached", "memcached nodes"),
        *["pylibmc"] * HAS_PYLIBMC,
    )
)
def site(request: pytest.FixtureRequest, make_site: Any) -> Iterator[Site]:
    """A site on each engine that takes over from Django's of the same name."""
    made: Site = make_site(request.param)
    if not made.servers:
        caches["default"].clear()
    yield made
    caches.close_all()


def djangos(site: Site, key: str | None = None) -> Any:
    return import_module(
        f"{DJANGO}.{'cache' if site.servers else site.name.partition(' on ')[0]}"
    ).SessionStore(key)


def signed_in_under_django(site: Site, user: User, **values: Any) -> str:
    session = djangos(site)
    session.update(
        {
            "_auth_user_id": str(user.pk),
            "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
            "_auth_user_hash": user.get_session_auth_hash(),
            **values,
        }
    )
    session.save()
    caches.close_all()  # here: an asynchronous test has other connections than its fixtures
    key: str = session.session_key
    return key


def test_a_session_of_djangos_engine_of_the_same_name_is_taken_over_under_its_key(
    site: Site, alice: User
) -> None:
    browser = Browser(token=(key := signed_in_under_django(site, alice, basket=[1])))
    response = browser.visit(lambda request: f"{request.user} {request.session['basket']}")
    assert response.content.decode() == "alice [1]"
    assert not response.cookies
    assert site.stored(key)["basket"] == [1]
    assert site.count == 1


@with_index
def test_a_session_that_was_taken_over_is_listed_as_its_users(site: Site, alice: User) -> None:
    browser = Browser(token=(key := signed_in_under_django(site, alice)))
    browser.visit(lambda request: request.user.pk)
    assert [session.public_id for session in sessions_of(alice)] == [site.session(key).public_id]


def test_after_it_was_taken_over_it_costs_one_round_trip(site: Site, alice: User) -> None:
    browser = Browser(token=signed_in_under_django(site, alice))
    store = site.watch()
    browser.visit(lambda request: request.user.pk)
    assert store.counts == {"load": 2, "create": 2}  # not here, not revoked; its ticket and the session
    store.calls.clear()
    browser.visit(lambda request: request.user.pk)
    assert store.counts == {"load": 1}


def test_parallel_requests_agree_and_lose_nothing(site: Site, alice: User) -> None:
    key = signed_in_under_django(site, alice)

    def put(number: int) -> str:
        session = site.session(key)
        session[f"key{number}"] = number
        session.save()
        return str(session["_auth_user_id"])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(put, range(48))) == {str(alice.pk)}
    assert {f"key{number}" for number in range(48)} <= site.stored(key).keys()


async def test_parallel_tasks_agree_and_lose_nothing(site: Site, alice: User) -> None:
    key = await sync_to_async(signed_in_under_django)(site, alice)

    async def put(number: int) -> None:
        session = site.session(key)
        await session.aset(f"key{number}", number)
        await session.asave()

    await asyncio.gather(*(put(number) for number in range(24)))
    stored = await sync_to_async(site.stored)(key)
    assert {f"key{number}" for number in range(24)} <= stored.keys()


def test_D2_an_unknown_key_of_djangos_format_costs_one_look_in_each_place(site: Site) -> None:
    store = site.watch()
    browser = Browser(token="0123456789abcdef0123456789abcdef")
    response = browser.visit(lambda request: request.session.get("anything"))
    assert store.counts == {"load": 1}
    assert not response.cookies
    assert site.count == 0


def test_T3_the_next_sign_in_renews_it_and_the_old_key_is_dead_in_both_places(
    site: Site, alice: User
) -> None:
    browser = Browser(token=(key := signed_in_under_django(site, alice, basket=[1])))
    browser.visit(sign_in(alice))
    assert browser.token != key
    assert site.stored(browser.token)["basket"] == [1]
    assert site.stored(key) == {}
    assert djangos(site).exists(key) is False


def test_L4_logout_deletes_in_both_places(site: Site, alice: User) -> None:
    browser = Browser(token=(key := signed_in_under_django(site, alice)))
    browser.visit(sign_out)
    assert browser.token is None
    assert site.stored(key) == {}
    assert djangos(site).exists(key) is False


def test_deleting_by_key_what_was_never_taken_over_deletes_it_at_django(site: Site, alice: User) -> None:
    key = signed_in_under_django(site, alice)
    site.session(session_key := key).delete()
    assert djangos(site).exists(session_key) is False
    assert site.stored(key) == {}


@with_index
def test_C1_a_revoked_session_is_not_taken_over_again(site: Site, alice: User) -> None:
    key = signed_in_under_django(site, alice)
    Browser(token=key).visit(lambda request: request.user.pk)
    assert revoke_sessions(alice) == 1
    assert djangos(site).exists(key) is True
    assert site.stored(key) == {}


@with_index
async def test_C1_revoking_a_users_sessions_covers_those_not_taken_over_yet(
    site: Site, alice: User, bob: User
) -> None:
    def revoke_one_of_two() -> str:
        alices, bobs = signed_in_under_django(site, alice), signed_in_under_django(site, bob)
        assert revoke_sessions(alice) == 0
        assert revoke_sessions(alice) == 0
        assert site.stored(alices) == {}
        assert site.stored(bobs)["_auth_user_id"] == str(bob.pk)
        return bobs

    bobs = await sync_to_async(revoke_one_of_two)()
    await arevoke_sessions(bob)
    assert await sync_to_async(site.stored)(bobs) == {}


def test_an_expired_session_is_not_taken_over_and_nothing_is_left_behind(site: Site) -> None:
    session = djangos(site)
    session["a"] = 1
    session.set_expiry(-10)
    session.save()
    before = sorted(entry.name for entry in site.folder.iterdir() if entry.is_file())
    assert site.stored(session.session_key) == {}
    after = sorted(entry.name for entry in site.folder.iterdir() if entry.is_file())
    assert set(after) <= set(before)


def test_it_can_be_turned_off(make_site: Any, alice: User) -> None:
    site = make_site("cache", SOJOURN={"ADOPT": None})
    assert site.stored(signed_in_under_django(site, alice)) == {}


def test_another_engine_or_several_can_be_named(make_site: Any, alice: User, tmp_path: Path) -> None:
    path = tmp_path / "private" / "sessions.sqlite3"
    engines = [f"{DJANGO}.file", f"{DJANGO}.cache"]
    site = make_site("embedded", SOJOURN={"PATH": path, "ADOPT": engines})
    for engine in engines:
        session = import_module(engine).SessionStore()
        session["engine"] = engine
        session.save()
        assert site.stored(session.session_key) == {"engine": engine}


@pytest.mark.parametrize(
    ("former", "engine"),
    [
        pytest.param(
            *case, id=" to ".join(case), marks=[mark for name in sites(*case) for mark in name.marks]
        )
        for case in [
            *product(["memcached", "redis"], ["embedded", "db"]),
            *product(["db"], ["embedded", "memcached", "redis"]),
        ]
    ],
)
def test_an_engine_of_another_kind_is_taken_over_from_and_signed_out_of(
    former: str, engine: str, make_site: Any, alice: User, tmp_path: Path
) -> None:
    before = make_site(former)
    keys = [signed_in_under_django(before, alice, basket=[1]) for _ in range(2)]
    adopt = f"{DJANGO}.{'db' if former == 'db' else 'cache'}"
    path = tmp_path / "private" / "sessions.sqlite3"
    site = make_site(engine, SOJOURN={"PATH": path, "ADOPT": adopt})
    browser, other = (Browser(token=key) for key in keys)
    response = browser.visit(lambda request: f"{request.user} {request.session['basket']}")
    assert response.content.decode() == "alice [1]"
    browser.visit(sign_out)
    assert site.stored(keys[0]) == {}
    assert import_module(adopt).SessionStore().exists(keys[0]) is False
    assert other.visit(lambda request: request.user).content == b"alice"
    caches.close_all()


def test_an_engine_that_does_not_exist_is_named(make_site: Any) -> None:
    site = make_site("cache", SOJOURN={"ADOPT": "django.contrib.sessions.backends.dbb"})
    with pytest.raises(ImproperlyConfigured, match="dbb"):
        site.session()


def test_F1_an_engine_that_does_not_answer_is_unavailable_not_anonymous(
    make_site: Any, tmp_path: Path, database: None
) -> None:
    path = tmp_path / "private" / "sessions.sqlite3"
    site = make_site("embedded", SOJOURN={"PATH": path, "ADOPT": f"{DJANGO}.db"})
    key = "0123456789abcdef0123456789abcdef"
    assert site.stored(key) == {}

    def refuse(*_: object) -> None:
        raise OperationalError("the server is gone")

    with connection.execute_wrapper(refuse), pytest.raises(StoreUnavailableError, match="ADOPT"):
        site.stored(key)


@pytest.mark.parametrize("site", sites(*DATABASES), indirect=True)
def test_a_project_that_never_made_djangos_table_has_nothing_to_take_over(site: Site) -> None:
    alias = site.store.alias
    with connections[alias].cursor() as cursor:
        cursor.execute("DROP TABLE django_session")
    call_command("migrate", "sessions", "zero", database=alias, fake=True, verbosity=0)
    with transaction.atomic(using=alias):  # which an error would spoil
        assert site.stored("0123456789abcdef0123456789abcdef") == {}
        site.session("0123456789abcdef0123456789abcdef").flush()
        kept = site.saved(a=1)
    assert site.stored(kept.session_key) == {"a": 1}


def test_without_djangos_app_there_is_nothing_to_take_over(make_site: Any) -> None:
    apps = [app for app in settings.INSTALLED_APPS if app != "django.contrib.sessions"]
    site = make_site("db", INSTALLED_APPS=apps)
    assert not site.engine.manager.accepts("0123456789abcdef0123456789abcdef")
    with pytest.raises(ImproperlyConfigured, match=r"add 'django\.contrib\.sessions' to INSTALLED_APPS"):
        make_site("db", INSTALLED_APPS=apps, SOJOURN={"ADOPT": f"{DJANGO}.db"}).engine  # noqa: B018


class Token:
    """What a project may have put into its session, as Horizon does."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and self.name == other.name

    __hash__ = None  # type: ignore[assignment]


class TokenSerializer:
    """Writes sessions that hold a Token."""

    def dumps(self, obj: Any) -> bytes:
        import json  # noqa: PLC0415

        return json.dumps(obj, default=lambda value: {"__token__": value.name}).encode()

    def loads(self, data: bytes) -> Any:
        import json  # noqa: PLC0415

        def hook(value: dict[str, Any]) -> Any:
            return Token(value["__token__"]) if "__token__" in value else value

        return json.loads(data, object_hook=hook)


def test_S4_a_pickled_class_is_refused_by_name_unless_it_is_listed(
    make_site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    serializer = f"{__name__}.TokenSerializer"
    site = make_site("cache", SOJOURN={}, SESSION_SERIALIZER=serializer)
    session = djangos(site)
    session["token"] = Token("t")
    session.save()
    assert site.stored(session.session_key) == {}
    assert f"{__name__}.Token" in caplog.text
    assert "ADOPT_CLASSES" in caplog.text
    assert session.session_key not in caplog.text

    site = make_site("cache", SOJOURN={"ADOPT_CLASSES": [f"{__name__}.Token"]}, SESSION_SERIALIZER=serializer)
    assert site.stored(session.session_key) == {"token": Token("t")}


def test_S4_a_hostile_pickle_runs_nothing(make_site: Any, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    site = make_site("cache")
    cache: Any = caches["default"]
    key = "h" * 32
    cache._set(
        cache.make_and_validate_key(f"{DJANGO.removesuffix('.backends')}.cache{key}"),
        pickle.dumps({"a": Hostile()}),
        600,
    )
    assert djangos(site).exists(key) is True
    assert site.stored(key) == {}
    assert not (tmp_path / "ran").exists()


def test_what_plain_data_django_pickled_is_all_there(make_site: Any) -> None:
    site = make_site("cache")
    session = djangos(site)
    values = {
        "when": datetime(2026, 1, 2, tzinfo=UTC),
        "price": Decimal("1.50"),
        "safe": mark_safe("<b>"),
        "set": {1, 2},
        "nested": {"a": [1, {"b": None}]},
    }
    session.update(values)
    session.save()
    assert site.stored(session.session_key) == values


def test_a_lazy_translation_django_pickled_is_the_text_it_says(make_site: Any) -> None:
    site = make_site("cache")
    session = djangos(site)
    session["region"] = gettext_lazy("Monday")
    session["month"] = pgettext_lazy("alt. month", "May")
    session.save()
    with translation.override("de"):
        assert site.stored(session.session_key) == {"region": "Montag", "month": "Mai"}


@pytest.mark.parametrize("called", [os.mkdir, Decimal], ids=["a function", "plain data"])
def test_S4_a_lazy_value_other_than_a_translation_is_refused(
    make_site: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, called: Any
) -> None:
    site = make_site("cache")
    session = djangos(site)
    session["lazy"] = lazy(called, str)(str(tmp_path / "ran"))
    session.save()
    assert site.stored(session.session_key) == {}
    assert "and is not taken over" in caplog.text
    assert not (tmp_path / "ran").exists()
