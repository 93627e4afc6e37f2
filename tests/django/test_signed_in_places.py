"""Where a user is signed in, ending sessions elsewhere, and how many there may be."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import login
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import User, update_last_login
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory

from sojourn.django import arevoke_sessions, asessions_of, revoke_sessions, sessions_of
from tests.django.site import FIREFOX, MODEL_BACKEND, Browser, in_process, sign_in, with_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from sojourn.testing import FakeClock
    from tests.django.site import Site

CURL = "curl/8.5.0"


def who(request: HttpRequest) -> str:
    return request.user.get_username()


def public_id(request: Any) -> str:
    return str(request.session.public_id)


def put(request: HttpRequest) -> None:
    request.session["basket"] = ["apple"]


def signed_in(user: User, *, user_agent: str = FIREFOX) -> Browser:
    browser = Browser(user_agent=user_agent)
    assert browser.visit(sign_in(user)).status_code == 200
    return browser


@in_process
def test_L6_a_user_sees_where_they_are_signed_in(
    site: Site, alice: User, bob: User, clock: FakeClock
) -> None:
    first = signed_in(alice)
    began = clock.now()
    clock.advance(3600)
    second = signed_in(alice, user_agent=CURL)
    signed_in(bob)
    listed = sessions_of(alice)
    assert [session.label for session in listed] == ["curl", "Firefox on Linux"]
    assert listed[1].created_at == listed[1].last_seen == datetime.fromtimestamp(began / 1000, UTC)
    clock.advance(60)
    first.visit(put)
    listed = sessions_of(alice)
    assert [session.label for session in listed] == ["Firefox on Linux", "curl"]
    assert listed[0].last_seen == datetime.fromtimestamp(clock.now() / 1000, UTC)
    assert listed[0].created_at == datetime.fromtimestamp(began / 1000, UTC)
    shown = second.visit(public_id).content.decode()
    assert [session.public_id for session in listed if session.label == "curl"] == [shown]
    assert all(session.expires_at > session.last_seen for session in listed)


@with_index
def test_L6_a_user_ends_one_session_by_its_public_id(site: Site, alice: User, bob: User) -> None:
    here, there, theirs = signed_in(alice), signed_in(alice), signed_in(bob)
    chosen = there.visit(public_id).content.decode()
    foreign = theirs.visit(public_id).content.decode()
    assert revoke_sessions(alice, only=foreign) == 0
    assert revoke_sessions(alice, only="0" * 12) == 0
    assert revoke_sessions(alice, only=chosen) == 1
    assert revoke_sessions(alice, only=chosen) == 0
    assert [browser.visit(who).content for browser in (here, there, theirs)] == [b"alice", b"", b"bob"]


@pytest.mark.parametrize("by_request", [False, True])
@with_index
def test_L6_a_user_ends_all_other_sessions(site: Site, alice: User, bob: User, by_request: bool) -> None:
    here, there, theirs = signed_in(alice), signed_in(alice), signed_in(bob)

    def end_others(request: Any) -> int:
        current: Any = request if by_request else request.session
        assert revoke_sessions(alice, except_current=current, only=request.session.public_id) == 0
        return revoke_sessions(alice, except_current=current)

    assert here.visit(end_others).content == b"1"
    assert [browser.visit(who).content for browser in (here, there, theirs)] == [b"alice", b"", b"bob"]


@with_index
def test_L6_all_sessions_of_a_user_end_and_nobody_elses(site: Site, alice: User, bob: User) -> None:
    browsers = [signed_in(user) for user in (alice, alice, bob)]
    assert revoke_sessions(alice) == 2
    assert [browser.visit(who).content for browser in browsers] == [b"", b"", b"bob"]
    assert revoke_sessions(alice) == 0
    assert sessions_of(alice) == []


@with_index
async def test_L6_the_async_twins_do_the_same(site: Site) -> None:
    alice = User(pk=101, username="alice")
    bob = User(pk=102, username="bob")
    sessions = []
    for user in (alice, alice, bob):
        session = site.session()
        await session.aset("_auth_user_id", str(user.pk))
        await session.asave()
        sessions.append(session)
    assert len(await asessions_of(alice)) == 2
    current = site.session(sessions[0].session_key)
    assert await arevoke_sessions(alice, except_current=current) == 1
    [left] = await asessions_of(alice)
    assert left.public_id == (await current.aloaded()).public_id
    assert await arevoke_sessions(alice, only=left.public_id) == 1
    assert await asessions_of(alice) == []
    assert len(await asessions_of(bob)) == 1


@pytest.mark.parametrize("function", [sessions_of, revoke_sessions])
def test_an_engine_that_is_not_ours_cannot_say_whose_sessions_there_are(
    function: Callable[[User], object], change_settings: Callable[..., None]
) -> None:
    change_settings(SESSION_ENGINE="django.contrib.sessions.backends.cache")
    with pytest.raises(ImproperlyConfigured, match=r"sojourn\.django\.backends\.embedded"):
        function(User(pk=1))


@pytest.mark.parametrize("engine", ["cache", "embedded", "file"])
def test_L7_fifty_sign_ins_at_once_never_exceed_the_cap(
    engine: str, make_site: Any, tmp_path: Any, users: dict[str, User]
) -> None:
    path = tmp_path / "private" / "sessions.sqlite3"
    site: Site = make_site(engine, SOJOURN={"PATH": path, "MAX_SESSIONS_PER_USER": 3, "TIMEOUT": 60.0})
    alice = users["alice"]
    exceeded: list[int] = []
    tokens: list[str] = []
    start = threading.Barrier(10)
    factory = RequestFactory()
    user_logged_in.disconnect(dispatch_uid="update_last_login")

    def respond(request: HttpRequest) -> HttpResponse:
        login(request, alice, backend=MODEL_BACKEND)
        return HttpResponse()

    def sign_in_often() -> None:
        start.wait()
        for _ in range(5):
            request: Any = factory.get("/")
            response: Any = SessionMiddleware(AuthenticationMiddleware(respond))(request)
            tokens.append(response.cookies["sessionid"].value)
            exceeded.append(len(sessions_of(alice)))

    threads = [threading.Thread(target=sign_in_often) for _ in range(10)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        user_logged_in.connect(update_last_login, dispatch_uid="update_last_login")
    assert len(exceeded) == 50
    assert max(exceeded) <= 3
    assert sum(bool(site.stored(token)) for token in tokens) == len(sessions_of(alice)) == 3


def test_L7_the_oldest_session_ends_when_there_would_be_too_many(
    make_site: Any, tmp_path: Any, alice: User, bob: User, clock: FakeClock
) -> None:
    for engine in ("cache", "embedded"):
        make_site(engine, SOJOURN={"PATH": tmp_path / "p" / "s.sqlite3", "MAX_SESSIONS_PER_USER": 2})
        browsers = [signed_in(bob)]
        for _ in range(3):
            clock.advance(1)
            browsers.append(signed_in(alice))
        assert [browser.visit(who).content for browser in browsers] == [b"bob", b"", b"alice", b"alice"]
