"""Sessions in memcached and in Redis, as ``CACHES`` names them: what real servers do, and what they hold.

What holds on every engine is asked of these too, where it is asked: most tests take ``site``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from sojourn.django import sessions_of
from sojourn.django.middleware import RETRY_AFTER
from sojourn.errors import PayloadTooLargeError, StoreUnavailableError
from sojourn.token import Token
from tests.django.servers import DJANGO_REDIS, HAS_PYLIBMC, PYLIBMC, PYMEMCACHE, REDIS, sites
from tests.django.site import Browser, sign_in, sign_out
from tests.django.test_budget import BUDGET, requests, table
from tests.servers.proxy import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User

    from tests.django.site import Site
    from tests.django.wire import Wire
    from tests.servers.memcached import Memcached
    from tests.servers.proxy import Fault, Proxy

DJANGOS = "django.contrib.sessions.backends.cache"
NAME = "sessionid"
TIMEOUT = 2.0


@dataclass(frozen=True)
class Proxied:
    """A site whose server is behind a proxy: its name, its settings."""

    name: str
    settings: dict[str, Any]
    proxy: Proxy


@pytest.fixture(params=sites("memcached", "redis"))
def proxied(request: pytest.FixtureRequest) -> Proxied:
    name = request.param
    proxy = request.getfixturevalue("memcached_proxy" if name == "memcached" else "valkey_proxy")
    entry = (
        {"BACKEND": PYMEMCACHE, "LOCATION": proxy.address}
        if name == "memcached"
        else {"BACKEND": REDIS, "LOCATION": f"redis://{proxy.address}/0"}
    )
    settings = {
        "CACHES": {"default": {**entry, "KEY_PREFIX": f"p{proxy.port}"}},
        "SOJOURN": {"TIMEOUT": TIMEOUT},
    }
    return Proxied(name, settings, proxy)


def who(request: Any) -> str:
    return str(request.user)


def fill(request: Any) -> None:
    request.session["basket"] = ["apple"]


def fill_for_long(request: Any) -> None:
    fill(request)
    request.session.set_expiry(1_000)


def basket(request: Any) -> Any:
    return request.session.get("basket")


async def nothing(_request: Any, _session: Any) -> str:
    return "still here"


async def put(_request: Any, session: Any) -> str:
    count = await session.get("count", 0)
    await session.set("count", count + 1)
    return str(count)


# --- whose clock decides ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sites("memcached", "redis"))
def test_T7_L1_the_server_ends_a_session_whose_cookie_the_browser_goes_on_sending(
    name: str, make_site: Callable[..., Site]
) -> None:
    make_site(name, SESSION_COOKIE_AGE=1)
    brief, lasting = Browser(), Browser()
    brief.visit(fill)
    lasting.visit(fill_for_long)
    tokens = brief.token, lasting.token
    time.sleep(3)  # their clocks count whole seconds
    found = [Browser(token=token).visit(basket).content for token in tokens]
    assert found == [b"None", b"['apple']"]


# --- when the server does not answer ------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
async def test_F1_an_outage_is_503_and_then_everybody_is_still_there(
    proxied: Proxied, make_wire: Callable[..., Wire], fault: Fault
) -> None:
    wire = make_wire(proxied.name, **proxied.settings)
    cookie = f"{NAME}={(await wire.get(put)).token}"
    assert (await wire.get(put, cookie=cookie)).body == "1"
    proxied.proxy.fail(fault)
    answer = await wire.get(put, cookie=cookie)
    assert (answer.status, answer["Retry-After"], answer.cookie) == (503, str(RETRY_AFTER), None)
    if fault != "slow":  # the few bytes of an answer to a newcomer come in time
        newcomer = await wire.get(put)
        assert (newcomer.status, newcomer.cookie) == (503, None)
    untouched = await wire.get(nothing, cookie=cookie)
    assert (untouched.status, untouched.body, untouched.cookie) == (200, "still here", None)
    proxied.proxy.heal()
    assert (await wire.get(put, cookie=cookie)).body == "2"


def test_F1_behind_djangos_middleware_an_outage_is_500_and_never_a_visitor_nobody_knows(
    proxied: Proxied, make_site: Callable[..., Site], alice: User
) -> None:
    make_site(proxied.name, **proxied.settings)
    browser = Browser()
    browser.visit(sign_in(alice))
    token = browser.token
    proxied.proxy.fail("refuse")
    for view in (who, sign_out, sign_in(alice)):
        response = browser.visit(view)
        assert (response.status_code, dict(response.cookies)) == (500, {})
    assert browser.visit(lambda request: "still here").status_code == 200
    proxied.proxy.heal()
    assert browser.token == token
    assert browser.visit(who).content == b"alice"


FORMER: dict[str, Callable[[str], dict[str, Any]]] = {
    "memcached": lambda address: {
        "BACKEND": PYMEMCACHE,
        "LOCATION": address,
        "OPTIONS": {"ignore_exc": True, "retry_attempts": 0},
    },
    "pylibmc": lambda address: {
        "BACKEND": PYLIBMC,
        "LOCATION": address,
        "OPTIONS": {"behaviors": {"remove_failed": 1, "ketama": True}},
    },
    "redis": lambda address: {"BACKEND": REDIS, "LOCATION": f"redis://{address}"},
    "django-redis": lambda address: {
        "BACKEND": DJANGO_REDIS,
        "LOCATION": f"redis://{address}",
        "OPTIONS": {"IGNORE_EXCEPTIONS": True},
    },
}


@pytest.mark.parametrize("former", sites(*(name for name in FORMER if HAS_PYLIBMC or name != "pylibmc")))
def test_F1_T12_a_former_cache_that_does_not_answer_is_unavailable_however_often_it_is_asked(
    former: str, make_site: Callable[..., Site], request: pytest.FixtureRequest
) -> None:
    """Also where Django's client would say that there is nothing, or look on another server."""
    on_redis = former in ("redis", "django-redis")
    proxy: Proxy = request.getfixturevalue("valkey_proxy" if on_redis else "memcached_proxy")
    site = make_site(
        "embedded",
        CACHES={"default": {**FORMER[former](proxy.address), "KEY_PREFIX": f"f{proxy.port}"}},
        SOJOURN={"PATH": "sessions.sqlite3", "ADOPT": DJANGOS, "TIMEOUT": TIMEOUT},
        BASE_DIR=make_site("embedded").folder / "private",
    )
    session = import_module(DJANGOS).SessionStore()
    session["kept"] = True
    session.save()
    caches.close_all()
    key = Token(session.session_key)
    proxy.fail("refuse")
    for _ in range(3):
        for attempt in (site.stored, lambda key: site.session(key).delete()):
            with pytest.raises(StoreUnavailableError, match="ADOPT") as refused:
                attempt(key)
            error = refused.value
            page = ExceptionReporter(RequestFactory().get("/"), type(error), error, error.__traceback__)
            assert key not in page.get_traceback_text() + page.get_traceback_html()
    proxy.heal()
    assert site.stored(key) == {"kept": True}
    site.session(key).delete()
    assert import_module(DJANGOS).SessionStore().exists(key) is False
    caches.close_all()


# --- what a request costs -----------------------------------------------------------------------------

#: A renewal is two round trips to memcached: it creates one item and deletes another.
ON_THE_WIRE = {
    "redis": BUDGET,
    "memcached": {**BUDGET, "login, with one": 4, "login again": 3},
}


def test_each_request_costs_the_round_trips_of_the_budget_on_the_wire(
    proxied: Proxied, make_site: Callable[..., Site], alice: User, bob: User
) -> None:
    site = make_site(proxied.name, **proxied.settings)
    for _, visit in requests(site, alice, bob):  # opens connections, and teaches Redis the scripts
        visit()
    counted: dict[str, int] = {}
    for name, visit in requests(site, alice, bob):
        before = proxied.proxy.round_trips
        assert visit().status_code == 200
        counted[name] = proxied.proxy.round_trips - before
    print(table(f"round trips on the wire to {proxied.name}", counted))  # noqa: T201 - for the record
    assert counted == ON_THE_WIRE[proxied.name]


# --- what a server holds ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sites("memcached", "redis"))
def test_CVE_2011_4136_no_key_of_an_application_is_a_sessions(
    name: str, make_site: Callable[..., Site], alice: User, change_settings: Callable[..., None]
) -> None:
    site = make_site(name)
    browser = Browser()
    browser.visit(sign_in(alice))
    [server] = site.servers
    [key] = site.keys(server)
    prefix: str = site.store._prefix.decode()
    [ours] = [wire for wire in server.keys() if wire == prefix + key]  # noqa: SIM118 - no mapping
    [entry] = [import_module("django.conf").settings.CACHES["default"]]
    for other in (
        entry,
        {**entry, "KEY_PREFIX": ""},
        {**entry, "KEY_PREFIX": "sojourn"},
        {**entry, "VERSION": "x"},
    ):
        change_settings(CACHES={"default": other})
        for named in (ours, key, f"sojourn/{key}", f"django.contrib.sessions.cache{browser.token}"):
            for version in (None, 1, prefix):
                caches["default"].set(named, {"_auth_user_id": "2"}, version=version)  # type: ignore[arg-type]
        caches.close_all()
    change_settings(CACHES={"default": entry})
    assert browser.visit(who).content == b"alice"


@pytest.mark.parametrize("name", sites("memcached", "redis"))
def test_S1_neither_a_value_nor_a_token_lies_on_the_server(
    name: str, make_site: Callable[..., Site], alice: User
) -> None:
    site = make_site(name)
    browser = Browser()
    browser.visit(sign_in(alice))
    browser.visit(lambda request: request.session.update({"canary key": "canary value"}))
    token = str(browser.token)
    [server] = site.servers
    found = dump(server, site.store._prefix)
    assert len(found) > 200
    for canary in (token, "canary", "_auth_user", "Firefox", alice.get_session_auth_hash()):
        assert canary.encode() not in found


def dump(server: Any, prefix: bytes) -> bytes:
    """Return keys and values of everything on the server that begins with ``prefix``."""
    if hasattr(server, "dump"):
        held: bytes = server.dump()
        return held
    keys: list[bytes] = [key for key in server.ask("KEYS", "*") if key.startswith(prefix)]
    return b"".join(keys + [server.ask("DUMP", key) for key in keys])


# --- limits -------------------------------------------------------------------------------------------


def test_D3_a_session_larger_than_an_item_is_refused_before_memcached_is_asked(
    make_site: Callable[..., Site], memcached_proxy: Proxy
) -> None:
    entry = {"BACKEND": PYMEMCACHE, "LOCATION": memcached_proxy.address}
    site = make_site("cache", CACHES={"default": entry}, SOJOURN={})
    session = site.saved(small="kept", basket=["apple"])
    session["basket"] = "x" * 1_200_000
    before = memcached_proxy.round_trips
    with pytest.raises(
        PayloadTooLargeError, match=r"the session is 12000\d\d bytes, the limit is 1000000"
    ) as large:
        session.save()
    assert "'basket' 1200005" in str(large.value)
    assert memcached_proxy.round_trips == before
    assert site.stored(session.session_key) == {"small": "kept", "basket": ["apple"]}


def test_D3_a_session_as_large_as_is_allowed_fits_into_an_item(
    make_site: Callable[..., Site], memcached: Memcached, alice: User
) -> None:
    site = make_site(
        "cache", CACHES={"default": {"BACKEND": PYMEMCACHE, "LOCATION": memcached.address}}, SOJOURN={}
    )
    session = site.session()
    session.update({"_auth_user_id": str(alice.pk), "x": ""})
    for size in range(1_000_000, 0, -1):
        session["x"] = "x" * size
        try:
            session.save()
        except PayloadTooLargeError:
            continue
        break
    assert size > 999_900
    assert site.stored(session.session_key) == {"_auth_user_id": str(alice.pk), "x": "x" * size}


def test_D3_larger_items_are_for_those_who_say_so(
    make_site: Callable[..., Site], new_memcached: Callable[..., Memcached]
) -> None:
    server = new_memcached("-I", "4m")
    address = f"memcached://{server.address}/?max_payload=4000000"
    site = make_site("cache", SOJOURN={"STORE": address, "ADOPT": None})
    assert len(site.stored(site.saved(x="x" * 3_900_000).session_key)["x"]) == 3_900_000
    with pytest.raises(PayloadTooLargeError, match="the limit is 4000000"):
        site.saved(x="x" * 4_000_001)
    change = {"STORE": address, "ADOPT": None, "MAX_PAYLOAD": 1_000}
    site = make_site("cache", SOJOURN=change)
    with pytest.raises(PayloadTooLargeError, match="the limit is 1000"):
        site.saved(x="x" * 1_001)


def test_L7_a_users_sessions_are_capped_in_redis(make_site: Callable[..., Site], alice: User) -> None:
    site = make_site("redis", SOJOURN={"MAX_SESSIONS_PER_USER": 2})
    browsers = [Browser() for _ in range(4)]
    for browser in browsers:
        browser.visit(sign_in(alice))
    assert [browser.visit(who).content for browser in browsers[2:]] == [b"alice"] * 2
    assert len(sessions_of(alice)) == site.count == 2


def test_memcached_cannot_tell_where_a_user_is_signed_in_and_says_so(
    make_site: Callable[..., Site], alice: User
) -> None:
    make_site("memcached")
    with pytest.raises(ImproperlyConfigured, match="keeps no index"):
        sessions_of(alice)
