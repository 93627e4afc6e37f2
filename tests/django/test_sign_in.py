"""Signing in and out behind Django's own middleware, and where a user is signed in."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import messages
from django.contrib.auth import alogin, alogout, login, update_session_auth_hash
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import User, update_last_login
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.test import AsyncRequestFactory, RequestFactory

from sojourn.django import arevoke_sessions, asessions_of, revoke_sessions, sessions_of
from tests.django.site import FIREFOX, MODEL_BACKEND, Browser, sign_in, sign_out

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


def test_T3_the_key_changes_at_a_sign_in_and_the_old_one_is_dead_at_once(site: Site, alice: User) -> None:
    browser = Browser()
    browser.visit(put)
    before = browser.twin()
    browser.visit(sign_in(alice))
    assert browser.token != before.token
    assert browser.visit(who).content == b"alice"
    assert site.stored(browser.token)["basket"] == ["apple"]
    replayed = before.visit(who)
    assert (replayed.content, dict(replayed.cookies)) == (b"", {})
    assert site.stored(before.token) == {}


def test_T3_the_key_changes_when_the_same_user_signs_in_again_and_the_old_one_is_dead_at_once(
    site: Site, alice: User
) -> None:
    browser = signed_in(alice)
    browser.visit(put)
    before = browser.twin()
    browser.visit(sign_in(alice))
    assert browser.token != before.token
    assert browser.visit(who).content == b"alice"
    assert site.stored(browser.token)["basket"] == ["apple"]
    assert before.visit(who).content == b""
    assert site.count == 1


def test_T3_the_key_changes_once_in_a_request_that_signs_in_twice(site: Site, alice: User) -> None:
    store = site.watch()
    browser = Browser(token=site.saved(basket=[]).session_key)

    def twice(request: HttpRequest) -> None:
        sign_in(alice)(request)
        sign_in(alice)(request)

    store.forget()
    browser.visit(twice)
    assert store.counts == {"load": 1, "move": 1, "update": 1}


def test_T3_the_key_changes_when_the_application_asks(site: Site) -> None:
    browser = Browser(token=site.saved(basket=["apple"]).session_key)
    old = browser.token
    browser.visit(lambda request: request.session.cycle_key())
    assert browser.token != old
    assert site.stored(browser.token) == {"basket": ["apple"]}
    assert site.stored(old) == {}


def test_another_user_who_signs_in_gets_nothing_of_the_one_before(site: Site, alice: User, bob: User) -> None:
    browser = signed_in(alice)
    browser.visit(put)
    former = browser.token
    browser.visit(sign_in(bob))
    assert browser.visit(who).content == b"bob"
    assert "basket" not in site.stored(browser.token)
    assert site.stored(former) == {}
    assert len(sessions_of(bob)) == site.count == 1
    assert sessions_of(alice) == []


def test_a_password_change_keeps_the_session_that_made_it_and_ends_the_others(
    site: Site, alice: User
) -> None:
    here, there = signed_in(alice), signed_in(alice)

    def change_password(request: HttpRequest) -> None:
        user: Any = User.objects.get(pk=request.user.pk)
        user.set_password("another")
        user.save()
        update_session_auth_hash(request, user)

    try:
        here.visit(change_password)
        assert here.visit(who).content == b"alice"
        assert there.visit(who).content == b""
        assert there.token is None
        assert site.count == 1
    finally:
        alice.save()


def test_CVE_2014_0482_another_remote_user_in_mid_session_flushes_it(
    site: Site, alice: User, bob: User, change_settings: Callable[..., None]
) -> None:
    change_settings(
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.auth.middleware.RemoteUserMiddleware",
        ],
    )
    browser = Browser()
    assert browser.visit(who, REMOTE_USER="alice").content == b"alice"
    browser.visit(put, REMOTE_USER="alice")
    former = browser.token
    assert browser.visit(who, REMOTE_USER="bob").content == b"bob"
    assert browser.token != former
    assert site.stored(former) == {}
    assert "basket" not in site.stored(browser.token)
    assert browser.visit(who).content == b""
    assert site.count == 0


# Where a user is signed in


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
def test_L6_a_user_ends_all_other_sessions(site: Site, alice: User, bob: User, by_request: bool) -> None:
    here, there, theirs = signed_in(alice), signed_in(alice), signed_in(bob)

    def end_others(request: Any) -> int:
        current: Any = request if by_request else request.session
        assert revoke_sessions(alice, except_current=current, only=request.session.public_id) == 0
        return revoke_sessions(alice, except_current=current)

    assert here.visit(end_others).content == b"1"
    assert [browser.visit(who).content for browser in (here, there, theirs)] == [b"alice", b"", b"bob"]


def test_L6_all_sessions_of_a_user_end_and_nobody_elses(site: Site, alice: User, bob: User) -> None:
    browsers = [signed_in(user) for user in (alice, alice, bob)]
    assert revoke_sessions(alice) == 2
    assert [browser.visit(who).content for browser in browsers] == [b"", b"", b"bob"]
    assert revoke_sessions(alice) == 0
    assert sessions_of(alice) == []


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


async def test_signing_in_and_out_asynchronously(site: Site) -> None:
    alice = User(pk=101, username="alice", password="!")
    factory = AsyncRequestFactory()
    user_logged_in.disconnect(dispatch_uid="update_last_login")
    try:

        async def come(view: Callable[[Any], Any], token: str | None) -> tuple[Any, str | None]:
            request: Any = factory.get("/", headers={"user-agent": FIREFOX})
            if token is not None:
                request.COOKIES["sessionid"] = token

            async def respond(request: Any) -> HttpResponse:
                await view(request)
                return HttpResponse()

            answer: Any = SessionMiddleware(respond)(request)
            response = await answer
            morsel = response.cookies.get("sessionid")
            return request.session, token if morsel is None else morsel.value

        async def enter(request: Any) -> None:
            await alogin(request, alice, backend=MODEL_BACKEND)

        async def leave(request: Any) -> None:
            await alogout(request)

        _, first = await come(enter, None)
        assert [session.label for session in await asessions_of(alice)] == ["Firefox on Linux"]
        _, second = await come(enter, first)
        assert second != first
        assert dict(await site.session(first).aitems()) == {}
        _, third = await come(leave, second)
        assert third == ""
        assert await asessions_of(alice) == []
    finally:
        user_logged_in.connect(update_last_login, dispatch_uid="update_last_login")


@pytest.mark.parametrize("function", [sessions_of, revoke_sessions])
def test_an_engine_that_is_not_ours_cannot_say_whose_sessions_there_are(
    function: Callable[[User], object], change_settings: Callable[..., None]
) -> None:
    change_settings(SESSION_ENGINE="django.contrib.sessions.backends.cache")
    with pytest.raises(ImproperlyConfigured, match=r"sojourn\.django\.backends\.embedded"):
        function(User(pk=1))


# The cap


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


def test_L1_the_absolute_timeout_ends_a_session_whatever_happens_and_a_sign_in_restarts_it(
    make_site: Any, tmp_path: Any, alice: User, clock: FakeClock
) -> None:
    for engine in ("cache", "embedded"):
        make_site(engine, SOJOURN={"PATH": tmp_path / "p" / "s.sqlite3", "ABSOLUTE_TIMEOUT": 100})
        browser = signed_in(alice)
        began = clock.now()
        for second in range(10, 100, 10):
            clock.advance_to(began + second * 1000)
            browser.visit(put)
        clock.advance_to(began + 99_999)
        assert browser.visit(who).content == b"alice"
        browser.visit(sign_in(alice))
        again = clock.now()
        clock.advance_to(again + 99_999)
        assert browser.visit(put).status_code == 200
        assert browser.visit(who).content == b"alice"
        clock.advance_to(again + 100_000)
        ended = browser.visit(who)
        assert (ended.content, dict(ended.cookies)) == (b"", {})


def test_two_sign_ins_by_different_users_in_threads_never_mix(site: Site, users: dict[str, User]) -> None:
    """C2: each round both sign in with the cookie of one anonymous session, at the same time."""
    factory = RequestFactory()
    user_logged_in.disconnect(dispatch_uid="update_last_login")
    hashes = {str(user.pk): user.get_session_auth_hash() for user in users.values()}
    both = threading.Barrier(2)
    tokens: dict[str, str] = {}

    def enter(user: User, shared: str) -> None:
        def respond(request: HttpRequest) -> HttpResponse:
            request.session.get("basket")
            both.wait()
            login(request, user, backend=MODEL_BACKEND)
            return HttpResponse()

        request: Any = factory.get("/")
        request.COOKIES["sessionid"] = shared
        response: Any = SessionMiddleware(respond)(request)
        tokens[str(user.pk)] = response.cookies["sessionid"].value

    try:
        for _ in range(10):
            shared = site.saved(basket=["apple"]).session_key
            threads = [threading.Thread(target=enter, args=(user, shared)) for user in users.values()]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for pk, token in tokens.items():
                session = site.stored(token)
                assert (session["_auth_user_id"], session["_auth_user_hash"]) == (pk, hashes[pk])
            assert len(set(tokens.values())) == 2
            assert site.stored(shared) == {}
    finally:
        user_logged_in.connect(update_last_login, dispatch_uid="update_last_login")


async def test_many_requests_of_one_browser_at_once_are_all_answered(site: Site) -> None:
    key = (await asyncio.to_thread(site.saved, basket=[])).session_key

    async def read() -> list[str]:
        basket: list[str] = await site.session(key).aget("basket")
        return basket

    assert await asyncio.gather(*(read() for _ in range(50))) == [[]] * 50


def test_signing_out_without_a_session_is_no_error(site: Site) -> None:
    response = Browser().visit(sign_out)
    assert (response.status_code, dict(response.cookies)) == (200, {})


def test_djangos_test_client_signs_in_and_out(site: Site, alice: User) -> None:
    browser = Browser()
    browser.client.force_login(alice)
    assert browser.visit(who).content == b"alice"
    session = browser.client.session
    session["basket"] = ["apple"]
    session.save()
    assert browser.visit(lambda request: request.session["basket"]).content == b"['apple']"
    browser.client.logout()
    assert browser.visit(who).content == b""
    assert site.count == 0


def test_csrf_tokens_and_messages_live_in_the_session(
    site: Site, alice: User, change_settings: Callable[..., None]
) -> None:
    change_settings(
        CSRF_USE_SESSIONS=True,
        MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
    )
    browser = signed_in(alice)
    browser.visit(lambda request: messages.success(request, "Bought."))
    browser.visit(get_token)
    secret = site.stored(browser.token)["_csrftoken"]
    browser.visit(get_token)
    assert site.stored(browser.token)["_csrftoken"] == secret
    shown = browser.visit(lambda request: [str(message) for message in messages.get_messages(request)])
    assert shown.content == b"['Bought.']"
    again = browser.visit(lambda request: [str(message) for message in messages.get_messages(request)])
    assert again.content == b"[]"
