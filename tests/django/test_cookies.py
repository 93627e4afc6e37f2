"""What the browser sends and is told, behind Django's own middleware."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.http import HttpResponse

from sojourn.django import revoke_sessions
from sojourn.token import new_token
from tests.django.site import Browser, in_process, sign_in, sign_out, with_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.http import HttpRequest

    from sojourn.testing import FakeClock
    from tests.django.site import Site


def nothing(request: HttpRequest) -> None:
    pass


def read(request: HttpRequest) -> Any:
    return request.session.get("basket")


def look(request: HttpRequest) -> bool:
    return "basket" in request.session


def count(request: HttpRequest) -> int:
    return len(request.session.keys())


def iterate(request: HttpRequest) -> list[Any]:
    return list(request.session.items())


def ask_who(request: HttpRequest) -> str:
    return request.user.get_username()


def set_and_take_back(request: HttpRequest) -> None:
    request.session["basket"] = []
    del request.session["basket"]


def clear(request: HttpRequest) -> None:
    request.session.clear()


def say_it_was_modified(request: HttpRequest) -> None:
    request.session.modified = True


READING = [read, look, count, iterate, ask_who]
EMPTY_HANDED = [*READING, set_and_take_back, clear, say_it_was_modified]

MALFORMED = {
    "empty": "",
    "one character": "x",
    "too short by one": "x" * 39,
    "too long by one": "x" * 41,
    "far too long": "x" * 65_536,
    "a path": "../../../../../../../../etc/passwd.......",
    "not ASCII": "é" * 40,
    "a signed cookie": "eyJfYXV0aF91c2VyX2lkIjoiMSJ9:1tfWQF:l0LcvJWkYvFJVNVGiMzTm0mWm1b_1cuHnJ8zqC2Zz9A",
    "control characters": "x" * 39 + "\x01",
    "white space": "x" * 39 + " x",
    "a pickle": "gASVJgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOU=",
}
UNKNOWN = {"unknown": "U" * 40, "quoted": '"' + "U" * 40 + '"', "unknown, of Django's format": "u" * 32}


def send(cookie: str, view: Callable[[HttpRequest], object], **extra: Any) -> Any:
    return Browser().visit(view, HTTP_COOKIE=f"sessionid={cookie}".encode().decode("latin-1"), **extra)


@pytest.mark.parametrize("save_every_request", [False, True])
@pytest.mark.parametrize("view", [nothing, *EMPTY_HANDED])
@pytest.mark.parametrize("kind", [*MALFORMED, *UNKNOWN])
def test_T2_D2_a_cookie_that_names_no_session_is_no_error_and_is_left_alone(
    make_site: Any,
    kind: str,
    view: Callable[[HttpRequest], object],
    save_every_request: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site: Site = make_site("cache", SESSION_SAVE_EVERY_REQUEST=save_every_request)
    check_that_it_is_left_alone(site, kind, view, caplog)


@pytest.mark.parametrize("kind", [*MALFORMED, *UNKNOWN])
def test_T2_D2_no_engine_stumbles_over_a_cookie_that_names_no_session(
    site: Site, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    check_that_it_is_left_alone(site, kind, set_and_take_back, caplog)


def check_that_it_is_left_alone(
    site: Site, kind: str, view: Callable[[HttpRequest], object], caplog: pytest.LogCaptureFixture
) -> None:
    store = site.watch()
    caplog.set_level(logging.DEBUG)
    response = send((MALFORMED | UNKNOWN)[kind], view, **{"wsgi.multiprocess": False})
    assert response.status_code == 200
    assert not response.cookies
    looked = view not in (nothing, say_it_was_modified)
    may_name_a_session = kind in UNKNOWN and not (site.name == "embedded" and kind.endswith("format"))
    loads = may_name_a_session and (view is not nothing or settings.SESSION_SAVE_EVERY_REQUEST)
    assert store.counts == ({"load": 1} if loads else {})
    assert (response.headers.get("Vary") == "Cookie") is looked
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


def test_T2_an_unknown_cookie_is_never_adopted(site: Site) -> None:
    for made_up in ("U" * 40, "u" * 32, "x"):
        browser = Browser(token=made_up)
        response = browser.visit(lambda request: request.session.update({"basket": ["apple"]}))
        assert response.cookies["sessionid"].value == browser.token != made_up
        assert site.stored(browser.token) == {"basket": ["apple"]}
        assert site.stored(made_up) == {}


@pytest.mark.parametrize("save_every_request", [False, True])
def test_D1_thousands_of_anonymous_hits_store_nothing_and_send_no_cookie(
    site: Site, change_settings: Callable[..., None], save_every_request: bool
) -> None:
    change_settings(SESSION_SAVE_EVERY_REQUEST=save_every_request)
    store = site.watch()
    views = [*EMPTY_HANDED, nothing, sign_out, lambda request: HttpResponse(status=302)]
    for number in range(1000):
        view = views[number % len(views)]
        response = Browser().visit(view, QUERY_STRING="next=/elsewhere/")
        assert not response.cookies
        response = send(new_token(), view)
        assert all(morsel["max-age"] == 0 for morsel in response.cookies.values())
        if view is not sign_out:
            assert not response.cookies
    assert store.counts.keys() <= {"load", "delete"}
    assert site.count == 0


@pytest.mark.parametrize("view", READING)
def test_T11_whatever_looks_at_the_session_makes_the_response_vary_on_the_cookie(
    site: Site, view: Callable[[HttpRequest], object]
) -> None:
    for browser in (
        Browser(token=site.saved(basket=["apple"]).session_key),
        Browser(),
        Browser(token="U" * 40),
    ):
        assert browser.visit(view).headers["Vary"] == "Cookie"
        assert "Vary" not in browser.visit(nothing).headers


def test_T11_saving_or_ending_a_session_makes_the_response_vary_on_the_cookie(
    site: Site, alice: User
) -> None:
    browser = Browser()
    for view in (sign_in(alice), lambda request: request.session.set_expiry(60), sign_out):
        assert "Cookie" in browser.visit(view).headers["Vary"]


ATTRIBUTES = {
    "SESSION_COOKIE_NAME": "visit",
    "SESSION_COOKIE_DOMAIN": "testserver",
    "SESSION_COOKIE_PATH": "/",
    "SESSION_COOKIE_SAMESITE": "Strict",
}


def test_L4_logout_deletes_the_session_and_the_cookie_with_the_attributes_it_was_set_with(
    make_site: Any, alice: User
) -> None:
    for engine in ("cache", "embedded", "file"):
        site: Site = make_site(engine, **ATTRIBUTES)
        browser = Browser()
        born = browser.visit(sign_in(alice)).cookies["visit"]
        token = browser.token
        dead = browser.visit(sign_out).cookies["visit"]
        for attribute in ("path", "domain", "samesite"):
            assert dead[attribute] == born[attribute] != ""
        assert (dead.value, dead["max-age"]) == ("", 0)
        assert dead["expires"] == "Thu, 01 Jan 1970 00:00:00 GMT"
        assert browser.token is None
        assert site.stored(token) == {}
        assert site.session(token).exists(token) is False


def test_a_cookie_from_before_a_renewal_does_not_sign_the_browser_out(site: Site, alice: User) -> None:
    browser = Browser(token=site.saved(basket=[]).session_key)
    parallel = browser.twin()
    browser.visit(sign_in(alice))
    for view in EMPTY_HANDED:
        assert not parallel.visit(view).cookies
    assert browser.visit(ask_who).content == b"alice"


@pytest.mark.parametrize("key", ["", None])
def test_CVE_2015_3982_after_a_flush_an_empty_key_loads_nothing(site: Site, key: str | None) -> None:
    store = site.watch()
    session = site.saved(secret="kept")
    session.flush()
    assert session.session_key is None
    assert dict(session.items()) == {}
    store.forget()
    assert site.stored(key) == {}
    assert site.session(key).exists(key) is False
    assert store.counts == {}


@in_process
def test_CVE_2011_4136_what_an_application_caches_under_a_sessions_key_does_not_alter_it(
    site: Site, alice: User
) -> None:
    browser = Browser()
    browser.visit(sign_in(alice))
    [record] = [record for record in site.engine.manager.store.scan() if record.payload]
    cache = caches["default"]
    for name in (browser.token, record.key, f"django.contrib.sessions.cache{browser.token}"):
        cache.set(name, {"_auth_user_id": "2"})
    assert browser.visit(ask_who).content == b"alice"
    cache.clear()
    assert browser.visit(ask_who).content == b"alice"


@pytest.mark.parametrize("moment", [-1, 0, 1])
@in_process
def test_T7_L1_the_server_ends_the_session_whatever_the_cookie_says(
    site: Site, clock: FakeClock, moment: int, change_settings: Callable[..., None]
) -> None:
    change_settings(SESSION_COOKIE_AGE=100)
    browser = Browser(token=site.saved(basket=["apple"]).session_key)
    clock.advance_to(clock.now() + 100_000 + moment)
    response = browser.visit(read)
    assert response.content == (b"['apple']" if moment < 0 else b"None")
    assert not response.cookies


def test_the_cookie_carries_the_settings_of_the_project(make_site: Any, alice: User) -> None:
    make_site("cache", SESSION_COOKIE_SECURE=True, SESSION_COOKIE_AGE=77, **ATTRIBUTES)
    morsel = Browser().visit(sign_in(alice)).cookies["visit"]
    assert (morsel["max-age"], morsel["secure"], morsel["httponly"]) == (77, True, True)


@with_index
def test_a_key_that_was_revoked_is_dead_at_once(site: Site, alice: User) -> None:
    browser = Browser()
    browser.visit(sign_in(alice))
    revoke_sessions(alice)
    response = browser.visit(ask_who)
    assert (response.content, dict(response.cookies)) == (b"", {})
