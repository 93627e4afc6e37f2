"""Sessions in cookies, behind Django's session middleware and behind ours."""

from __future__ import annotations

import json
import logging
import pickle
from base64 import urlsafe_b64decode
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.signing import TimestampSigner, b62_decode, b62_encode

from bench.data import signed_in
from sojourn.cookie import MAX_COOKIE
from sojourn.django import arevoke_sessions, asessions_of, revoke_sessions, sessions_of
from sojourn.django import engine as engines
from sojourn.testing import AsyncFaultyStore, Fail, FaultyStore
from tests.django.site import Browser, Site, sign_in, sign_out
from tests.django.test_budget import HOUR, horizon, modify, new, read, untouched
from tests.django.wire import OURS

if TYPE_CHECKING:
    from pathlib import Path

    from django.contrib.auth.models import User
    from django.http import HttpRequest

    from sojourn.testing import FakeClock

STOCK = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
DJANGOS = "django.contrib.sessions.backends.signed_cookies"
WEEKS = 14 * 86_400


@pytest.fixture(params=[STOCK, OURS], ids=["Django's middleware", "ours"])
def middleware(request: pytest.FixtureRequest) -> list[str]:
    return [request.param, AUTH]


@pytest.fixture
def make(make_site: Any, middleware: list[str], tmp_path: Path) -> Any:
    """Make a site; with ``listed``, it has a revocation list."""

    def made(*, listed: bool = True, spills: bool = False, **more: Any) -> Site:
        sojourn = more.pop("SOJOURN", {})
        if listed:
            sojourn["COOKIE_REVOCATIONS"] = f"sqlite://{tmp_path}/private/ended.sqlite3"
        if spills:
            sojourn["COOKIE_SPILL"] = f"sqlite://{tmp_path}/private/large.sqlite3"
        site: Site = make_site("signed_cookies", MIDDLEWARE=middleware, SOJOURN=sojourn, **more)
        return site

    return made


@pytest.fixture
def site(make: Any) -> Site:
    """A site with a revocation list."""
    made: Site = make()
    return made


def watch(site: Site, use: str = "revocations") -> FaultyStore:
    """Return the store for ``use``, which from now on counts, and fails as planned."""
    site.engine  # noqa: B018 - opens the places
    [where] = [where for where in engines._places if where[0] == use]
    watched = FaultyStore(engines._places[where].store)
    engines._places[where] = replace(
        engines._places[where],
        store=watched,
        async_store=AsyncFaultyStore(engines._places[where].async_store),
    )
    engines._engines.clear()
    return watched


def name(request: HttpRequest) -> str:
    return request.user.get_username()


def fill(octets: int, letter: str = "x") -> Any:
    def view(request: HttpRequest) -> None:
        request.session["filling"] = letter * octets

    return view


# --- a user's way through ----------------------------------------------------------------------------


def test_a_user_signs_in_comes_back_and_signs_out(site: Site, alice: User) -> None:
    browser = Browser()
    browser.visit(new)
    browser.visit(sign_in(alice))
    assert browser.visit(name).content == b"alice"
    assert browser.visit(lambda request: request.session["basket"][0]).content == b"apple"
    cookie = browser.token
    response = browser.visit(sign_out)
    assert browser.token is None
    assert response.cookies["sessionid"]["max-age"] == 0
    assert browser.visit(name).content == b""
    assert Browser(token=cookie).visit(name).content == b"", "L5"


def test_L5_without_a_list_start_up_says_once_that_signing_out_is_not_enforced(
    make: Any, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    make(listed=False)
    caplog.set_level(logging.INFO)
    browser = Browser()
    for _ in range(3):
        browser.visit(sign_in(alice))
    cookie = browser.token
    browser.visit(sign_out)
    assert browser.token is None
    assert Browser(token=cookie).visit(name).content == b"alice", "nobody knows that it ended"
    said = [record for record in caplog.records if "ASVS 7.4.1" in record.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.WARNING
    assert "COOKIE_REVOCATIONS" in said[0].getMessage()


def test_L5_with_a_list_there_is_nothing_to_warn_of(
    site: Site, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    Browser().visit(sign_in(alice))
    assert "7.4.1" not in caplog.text


def test_T3_the_cookie_from_before_signing_in_is_dead(site: Site, alice: User) -> None:
    browser = Browser()
    browser.visit(new)
    before = browser.token
    browser.visit(sign_in(alice))
    assert Browser(token=before).visit(read).content == b"None"
    signed_in = browser.token
    browser.visit(sign_in(alice))
    assert Browser(token=signed_in).visit(name).content == b""
    assert browser.visit(name).content == b"alice"


def test_cycle_key_flush_and_delete_do_what_they_promise(site: Site) -> None:
    session = site.saved(a=1)
    first = session.session_key
    session.cycle_key()
    second = session.session_key
    assert not session.exists(first)
    assert session.exists(second)
    assert site.stored(second) == {"a": 1}
    other = site.saved(b=1)
    other.delete(second)
    assert not other.exists(second)
    kept = other.session_key
    other.flush()
    assert not site.session().exists(kept)
    assert other.session_key is None


async def test_the_asynchronous_methods_do_the_same(site: Site) -> None:
    session = site.session()
    await session.aset("a", 1)
    await session.asave()
    first = session.session_key
    await session.acycle_key()
    assert not await session.aexists(first)
    assert dict(await site.session(session.session_key).aitems()) == {"a": 1}
    await session.adelete(session.session_key)
    assert not await session.aexists(session.session_key)
    await session.aflush()
    assert session.session_key is None


# --- where a user is signed in -----------------------------------------------------------------------


def test_L6_sign_out_everywhere(site: Site, alice: User, bob: User) -> None:
    here, there, stranger = Browser(), Browser(), Browser()
    for browser, user in ((here, alice), (there, alice), (stranger, bob)):
        browser.visit(sign_in(user))

    def everywhere_else(request: HttpRequest) -> None:
        revoke_sessions(request.user, except_current=request)  # type: ignore[arg-type]

    here.visit(everywhere_else)
    assert [browser.visit(name).content for browser in (here, there, stranger)] == [b"alice", b"", b"bob"]
    there.visit(sign_in(alice))
    assert there.visit(name).content == b"alice"
    revoke_sessions(alice)
    assert [browser.visit(name).content for browser in (here, there, stranger)] == [b"", b"", b"bob"]


async def test_sessions_cannot_be_listed_and_the_error_says_why(site: Site, alice: User) -> None:
    with pytest.raises(ImproperlyConfigured, match="cannot be listed"):
        sessions_of(alice)
    with pytest.raises(ImproperlyConfigured, match="cannot be listed"):
        await asessions_of(alice)
    with pytest.raises(ImproperlyConfigured, match="cannot be listed"):
        revoke_sessions(alice, only="0123456789ab")
    assert await arevoke_sessions(alice) == 0


def test_without_a_list_nothing_can_be_revoked_and_the_error_says_what_to_do(make: Any, alice: User) -> None:
    make(listed=False)
    with pytest.raises(ImproperlyConfigured, match="revocation list"):
        revoke_sessions(alice)


def test_L5_the_list_may_be_on_a_server(make_site: Any, valkey: Any, alice: User) -> None:
    make_site("signed_cookies", SOJOURN={"COOKIE_REVOCATIONS": f"redis://{valkey.address}/0"})
    browser = Browser()
    browser.visit(sign_in(alice))
    cookie = browser.token
    assert Browser(token=cookie).visit(name).content == b"alice"
    browser.visit(sign_out)
    assert Browser(token=cookie).visit(name).content == b""


async def test_L5_C1_a_copy_is_refused_after_signing_out_under_wsgi_and_asgi(
    make_wire: Any, tmp_path: Path
) -> None:
    wire = make_wire(
        "signed_cookies", SOJOURN={"COOKIE_REVOCATIONS": f"sqlite://{tmp_path}/private/ended.sqlite3"}
    )

    async def put(_request: Any, session: Any) -> None:
        await session.set("a", 1)

    async def get(_request: Any, session: Any) -> object:
        return await session.get("a")

    async def flush(_request: Any, session: Any) -> None:
        await session.flush()

    cookie = f"sessionid={(await wire.get(put)).token}"
    assert (await wire.get(get, cookie=cookie)).body == "1"

    async def slow(request: Any, session: Any) -> None:
        await session.set("b", await session.get("a"))
        await wire.get(flush, cookie=cookie)

    late = await wire.get(slow, cookie=cookie)
    for sent in (cookie, f"sessionid={late.token}"):
        answer = await wire.get(get, cookie=sent)
        assert (answer.body, answer.cookie) == ("None", None)


# --- what it costs -----------------------------------------------------------------------------------


def test_each_request_costs_the_round_trips_of_the_budget(site: Site, alice: User) -> None:
    store = watch(site)
    counted: dict[str, int] = {}

    def count(what: str, browser: Browser, view: Any) -> Browser:
        store.forget()
        assert browser.visit(view).status_code == 200
        counted[what] = len(store.calls)
        return browser

    browser = count("new", Browser(), new)
    count("untouched", browser, untouched)
    count("read", browser, read)
    count("modified", browser, modify)
    count("login, with one", browser, sign_in(alice))
    other = count("login, no session before", Browser(), sign_in(alice))
    other.visit(lambda request: request.session.set_expiry(HOUR))
    count("Horizon page", other, horizon)
    count("logout", other, sign_out)
    count("unknown cookie", Browser(token="U" * 200), read)
    assert counted == COOKIE_BUDGET


#: The row "signed_cookies with a list" of the budget.  Without one every figure is 0.
COOKIE_BUDGET = {
    "untouched": 0,
    "read": 1,
    "modified": 1,
    "new": 0,
    "login, no session before": 1,
    "login, with one": 3,
    "logout": 2,
    "Horizon page": 1,
    "unknown cookie": 0,
}


def test_without_a_list_no_request_asks_any_store(make: Any, alice: User) -> None:
    make(listed=False)
    browser = Browser()
    for view in (new, read, modify, sign_in(alice), horizon, sign_out):
        assert browser.visit(view).status_code == 200
    assert not engines._places


# --- time --------------------------------------------------------------------------------------------


def test_L1_T7_the_server_ends_a_session_whatever_the_browser_sends(site: Site, clock: FakeClock) -> None:
    browser = Browser()
    response = browser.visit(new)
    assert response.cookies["sessionid"]["max-age"] == WEEKS
    clock.advance(WEEKS - 1)
    assert browser.visit(lambda request: len(request.session.keys())).content == b"1"
    clock.advance(1)
    response = browser.visit(lambda request: len(request.session.keys()))
    assert response.content == b"0"
    assert "sessionid" not in response.cookies, "left alone"


def test_L1_set_expiry_and_ABSOLUTE_TIMEOUT_are_kept(make: Any, clock: FakeClock) -> None:
    make(SOJOURN={"ABSOLUTE_TIMEOUT": 3 * HOUR})
    browser = Browser()
    browser.visit(lambda request: request.session.set_expiry(HOUR))
    for _ in range(5):
        clock.advance(HOUR // 2)
        browser.visit(modify)
    cookie = browser.token
    assert browser.visit(lambda request: len(request.session.keys())).content == b"2"
    clock.advance(HOUR // 2)
    assert Browser(token=cookie).visit(lambda request: len(request.session.keys())).content == b"0"


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", ["forged", "truncated", "of another name", "of another project", "noise"])
def test_T2_a_cookie_that_is_no_session_is_left_alone(
    make: Any, change_settings: Any, alice: User, sent: str
) -> None:
    site = make(listed=False)
    if sent == "of another name":
        change_settings(SESSION_COOKIE_NAME="another")
    if sent == "of another project":
        change_settings(SOJOURN={"NAMESPACE": "another"})
    elsewhere = Browser()
    elsewhere.visit(sign_in(alice))
    cookie = elsewhere.token
    assert cookie is not None
    if sent.startswith("of"):
        change_settings(SESSION_COOKIE_NAME="sessionid", SOJOURN={})
    wrong = {"forged": cookie[:-9] + "AAAAAAAAA", "truncated": cookie[:-20], "noise": "A" * 300}.get(
        sent, cookie
    )
    browser = Browser(token=wrong)
    response = browser.visit(name)
    assert (response.status_code, response.content) == (200, b"")
    assert "sessionid" not in response.cookies
    assert site.session(wrong).session_key == wrong
    assert browser.visit(new).cookies["sessionid"].value != wrong


def test_a_cookie_under_a_removed_secret_is_refused_and_under_a_listed_one_renewed(
    site: Site, change_settings: Any, alice: User
) -> None:
    browser = Browser()
    browser.visit(new)
    old = browser.token
    change_settings(
        SECRET_KEY="another secret of fifty characters or thereabouts....", SECRET_KEY_FALLBACKS=[]
    )
    assert Browser(token=old).visit(read).content == b"None"
    change_settings(SECRET_KEY_FALLBACKS=["a secret for tests, of fifty characters or thereabouts"])
    browser.visit(modify)
    change_settings(SECRET_KEY_FALLBACKS=[])
    assert json.loads(browser.visit(lambda request: json.dumps(request.session["basket"])).content) == [
        "apple",
        "apple",
    ]


def test_F1_a_list_that_does_not_answer_is_an_error_and_deletes_no_cookie(
    site: Site, alice: User, middleware: list[str]
) -> None:
    browser = Browser()
    browser.visit(sign_in(alice))
    store = watch(site)
    for view in (name, sign_out):
        store.plan(Fail("*", times=None))
        response = browser.visit(view)
        assert response.status_code == (503 if middleware[0] == OURS else 500)
        assert "sessionid" not in response.cookies
        assert browser.visit(untouched).status_code == 200
        store.heal()
    assert browser.visit(name).content == b"alice"


# --- size --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "SESSION_COOKIE_NAME": "__Host-Http-session",
            "SESSION_COOKIE_SECURE": True,
            "SESSION_COOKIE_SAMESITE": "Strict",
        },
        {"SESSION_COOKIE_DOMAIN": ".example.org", "SESSION_COOKIE_PATH": "/some/where"},
    ],
    ids=["default", "prefixed", "domain and path"],
)
def test_T5_T6_no_cookie_is_longer_than_4096_octets_with_its_attributes_and_the_longest_are_that_long(
    make: Any, more: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    make(listed=False, SOJOURN={"COOKIE_COMPRESS": False}, **more)
    longest = 0
    for octets in range(2600, 3200):
        response = Browser().visit(fill(octets))
        if response.status_code != 200:
            break
        [morsel] = response.cookies.values()
        longest = max(longest, len(morsel.OutputString()))
    else:
        raise AssertionError("nothing was too long")
    assert response.status_code == 500
    assert not response.cookies
    assert 4030 < longest <= MAX_COOKIE
    assert "the limit is 4096" in caplog.text
    assert "'filling'" in caplog.text
    assert "xxxx" not in caplog.text


@pytest.mark.parametrize("setting", ["SESSION_COOKIE_NAME", "SESSION_COOKIE_PATH", "SESSION_COOKIE_DOMAIN"])
def test_T6_a_cookie_with_an_attribute_that_browsers_ignore_is_refused_at_start_up(
    make: Any, setting: str
) -> None:
    letter = "n" if setting == "SESSION_COOKIE_NAME" else "/"
    assert make(**{setting: letter * 1024}).engine
    with pytest.raises(ImproperlyConfigured, match=f"^{setting} has 1025 characters, .* shorten it$"):
        make(**{setting: letter * 1025}).engine  # noqa: B018 - to ask is to start it


def test_D3_too_large_a_session_signs_nobody_out(site: Site, alice: User) -> None:
    browser = Browser()
    browser.visit(sign_in(alice))
    cookie = browser.token
    response = browser.visit(fill(100_000))
    assert response.status_code == 500
    assert browser.token == cookie
    assert browser.visit(name).content == b"alice"


def test_what_does_not_fit_spills_and_comes_back_unseen(make: Any, alice: User) -> None:
    site = make(spills=True)
    store = watch(site, "spilled")
    browser = Browser()
    browser.visit(sign_in(alice))
    assert len(browser.token or "") > 40
    browser.visit(fill(100_000))
    assert len(browser.token or "") == 40
    assert browser.visit(name).content == b"alice"
    assert browser.visit(lambda request: len(request.session["filling"])).content == b"100000"
    browser.visit(fill(100))
    assert len(browser.token or "") > 40
    assert browser.visit(name).content == b"alice"
    browser.visit(fill(100_000))
    spilled = browser.token
    browser.visit(sign_out)
    assert browser.token is None
    assert Browser(token=spilled).visit(name).content == b""
    assert store.counts["create"] == 2


@pytest.mark.parametrize("size", [2_000, 12_000])
def test_on_the_wire_a_sealed_cookie_has_at_most_640_octets_more_than_djangos(
    make_site: Any, size: int
) -> None:
    site: Site = make_site("signed_cookies")
    ours = site.saved(**signed_in(size)).session_key
    theirs = import_module(DJANGOS).SessionStore()
    theirs.update(signed_in(size))
    theirs.save()
    assert len(ours) - len(theirs.session_key) <= 640


# --- sealed or signed --------------------------------------------------------------------------------


def test_the_cookie_is_sealed_unless_it_is_wanted_readable_and_either_is_accepted(
    make: Any, change_settings: Any
) -> None:
    def raw(browser: Browser) -> bytes:
        value = browser.token or ""
        return urlsafe_b64decode(value + "=" * (-len(value) % 4))

    make(listed=False)
    browser = Browser()
    browser.visit(fill(10, "canary"))
    assert b"canary" not in raw(browser)
    change_settings(SOJOURN={"COOKIE": "signed"})
    assert browser.visit(lambda request: request.session["filling"][:6]).content == b"canary"
    browser.visit(fill(11, "canary"))
    assert b"canary" in raw(browser)
    change_settings(SOJOURN={"COOKIE": "sealed"})
    assert browser.visit(lambda request: request.session["filling"][:6]).content == b"canary"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"COOKIE": "encrypted"}, "'sealed' or 'signed'"),
        ({"COOKIE_REVOCATIONS": "memory://"}, "forgets"),
        ({"COOKIE_REVOCATIONS": "memcached://127.0.0.1"}, "forgets"),
        ({"COOKIE_REVOCATIONS": "nonsense"}, "nonsense|address|scheme"),
        ({"COOKIE_REVOCATIONS_LAG": 0}, "positive"),
        ({"MAX_SESSIONS_PER_USER": 3}, "nobody can count"),
        ({"ADOPT": "django.contrib.sessions.backends.db"}, "takes over sessions from"),
    ],
)
def test_settings_that_cannot_be_meant_are_improperly_configured(
    make_site: Any, setting: dict[str, Any], message: str
) -> None:
    site: Site = make_site("signed_cookies", SOJOURN=setting)
    with pytest.raises(ImproperlyConfigured, match=message):
        site.engine  # noqa: B018


# --- adoption ----------------------------------------------------------------------------------------


def under_django(user: User, *, age: int = 0, **values: Any) -> str:
    """Return a cookie as Django's engine makes it, ``age`` seconds ago."""
    data = {
        "_auth_user_id": str(user.pk),
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": user.get_session_auth_hash(),
        **values,
    }
    signer = _At(age, salt=DJANGOS)
    return signer.sign_object(data, compress=True)


class _At(TimestampSigner):
    def __init__(self, age: int, **more: Any) -> None:
        super().__init__(**more)
        self._age = age

    def timestamp(self) -> str:
        return b62_encode(b62_decode(super().timestamp()) - self._age)


def test_a_cookie_of_djangos_engine_is_the_one_django_makes(alice: User, make_site: Any) -> None:
    make_site("signed_cookies", SESSION_ENGINE=DJANGOS)
    browser = Browser()
    browser.visit(sign_in(alice))
    assert browser.visit(name).content == b"alice"
    assert Browser(token=under_django(alice)).visit(name).content == b"alice"


@pytest.mark.parametrize("padding", ["", "compressible " * 100])
def test_nobody_is_signed_out_by_the_switch_from_djangos_engine(
    site: Site, alice: User, padding: str
) -> None:
    browser = Browser(token=under_django(alice, padding=padding))
    before = browser.token
    response = browser.visit(name)
    assert response.content == b"alice"
    assert "sessionid" not in response.cookies, "reading changes nothing"
    browser.visit(modify)
    assert browser.token != before
    assert ":" not in (browser.token or "")
    assert browser.visit(lambda request: f"{request.user} {request.session['padding']}").content.decode() == (
        f"alice {padding}"
    )


def test_L5_signing_out_ends_djangos_cookie_too(site: Site, alice: User) -> None:
    cookie = under_django(alice)
    browser = Browser(token=cookie)
    browser.visit(modify)
    later = browser.token
    browser.visit(sign_out)
    for sent in (cookie, later):
        assert Browser(token=sent).visit(name).content == b""


def test_L6_sign_out_everywhere_ends_cookies_of_djangos_engine(site: Site, alice: User) -> None:
    browser = Browser(token=under_django(alice))
    assert browser.visit(name).content == b"alice"
    revoke_sessions(alice)
    assert browser.visit(name).content == b""


def test_L1_djangos_cookie_ends_when_it_would_have_or_when_its_session_says(
    site: Site, alice: User, clock: FakeClock
) -> None:
    assert Browser(token=under_django(alice, age=WEEKS - 60)).visit(name).content == b"alice"
    assert Browser(token=under_django(alice, age=WEEKS + 60)).visit(name).content == b""
    cookie = under_django(alice, _session_expiry=HOUR)
    assert Browser(token=cookie).visit(name).content == b"alice"
    clock.advance(HOUR + 60)  # Django's clock is not the one that stands still
    assert Browser(token=cookie).visit(name).content == b""


@pytest.mark.parametrize("wrong", ["signature", "salt", "data", "no mapping", "timestamp"])
def test_a_forged_cookie_of_djangos_engine_is_no_session(site: Site, alice: User, wrong: str) -> None:
    good = under_django(alice)
    cookies = {
        "signature": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "salt": TimestampSigner(salt="another").sign_object({"_auth_user_id": str(alice.pk)}),
        "data": good[:5] + ("A" if good[5] != "A" else "B") + good[6:],
        "no mapping": TimestampSigner(salt=DJANGOS).sign_object(["no mapping"]),
        "timestamp": good.replace(":", ":A", 1),
    }
    browser = Browser(token=cookies[wrong])
    response = browser.visit(name)
    assert (response.status_code, response.content) == (200, b"")
    assert "sessionid" not in response.cookies


def test_adoption_can_be_turned_off(make: Any, alice: User) -> None:
    make(SOJOURN={"ADOPT": None})
    assert Browser(token=under_django(alice)).visit(name).content == b""


def test_S4_a_serializer_that_reads_pickles_is_refused(make_site: Any) -> None:
    site: Site = make_site("signed_cookies", SESSION_SERIALIZER="tests.django.test_cookie_engine.Pickling")
    with pytest.raises(ImproperlyConfigured, match="pickle"):
        site.engine  # noqa: B018


class Pickling:
    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301 - what is refused


def test_a_session_too_large_for_a_cookie_of_ours_still_comes_from_djangos(site: Site, alice: User) -> None:
    browser = Browser(token=under_django(alice, padding="a" * 100_000))
    assert browser.visit(name).content == b"alice"
