"""Signing in and out behind Django's own middleware."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth import alogin, alogout, login, update_session_auth_hash
from django.contrib.auth.models import User, update_last_login
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.test import AsyncRequestFactory, RequestFactory

from sojourn.django import asessions_of, sessions_of
from tests.django.site import FIREFOX, MODEL_BACKEND, Browser, sign_in, sign_out, with_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from sojourn.testing import FakeClock
    from tests.django.site import Site


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


@with_index
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


@with_index
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
