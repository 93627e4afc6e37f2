"""Sojourn's middleware: when it loads and saves, what it tells the browser, and what becomes of failures."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.admin.checks import check_dependencies
from django.contrib.sessions.backends.base import UpdateError
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse, StreamingHttpResponse
from django.template import Context, Engine
from django.test import AsyncRequestFactory, RequestFactory

from sojourn.django import engine as engines
from sojourn.django.middleware import RETRY_AFTER, SessionMiddleware
from sojourn.errors import StoreTimeoutError, StoreUnavailableError
from sojourn.testing import Delay, Fail, Meanwhile
from tests.django.wire import OURS, Hand, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.django.site import Site
    from tests.django.wire import View

    MakeWire = Callable[..., Wire]

STOCK = "django.contrib.sessions.middleware.SessionMiddleware"
NAME = "sessionid"
UNKNOWN = "A" * 40


async def nothing(_request: Any, _session: Hand) -> None:
    pass


async def read(_request: Any, session: Hand) -> object:
    return await session.get("x")


async def flush(_request: Any, session: Hand) -> None:
    await session.flush()


def put(**values: Any) -> View:
    async def view(_request: Any, session: Hand) -> None:
        for name, value in values.items():
            await session.set(name, value)

    return view


async def saved(wire: Wire, **values: Any) -> str:
    """Return the token of a session that holds ``values``."""
    return (await wire.get(put(**values))).token


# --- when it loads and saves -------------------------------------------------------------------------


async def test_a_page_that_does_not_touch_the_session_asks_the_store_nothing(wire: Wire) -> None:
    token = await saved(wire, x=1)
    store = wire.watch()
    answer = await wire.get(nothing, cookie=f"{NAME}={token}")
    assert (answer.status, answer.cookie, store.calls) == (200, None, [])


async def test_a_page_that_reads_loads_once_and_sends_no_cookie(wire: Wire) -> None:
    token = await saved(wire, x=1)
    store = wire.watch()
    answer = await wire.get(read, cookie=f"{NAME}={token}")
    assert (answer.body, answer.cookie, store.counts) == ("1", None, {"load": 1})


async def test_a_page_that_changes_loads_once_and_writes_once(wire: Wire) -> None:
    token = await saved(wire, x=1)
    store = wire.watch()
    assert (await wire.get(put(x=2), cookie=f"{NAME}={token}")).token == token
    assert store.counts == {"load": 1, "update": 1}
    assert (await wire.get(read, cookie=f"{NAME}={token}")).body == "2"


async def test_a_new_session_is_written_once(wire: Wire) -> None:
    store = wire.watch()
    await wire.get(put(x=1))
    assert store.counts == {"create": 1}


async def test_no_thread_is_started_for_a_session_in_memory(make_site: Any, monkeypatch: Any) -> None:
    make_site("cache")
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)

    async def view(request: Any) -> HttpResponse:
        await request.session.aset("visits", await request.session.aget("visits", 0) + 1)
        return HttpResponse(await request.session.aget("visits"))

    middleware: Any = SessionMiddleware(view)
    response = await middleware(AsyncRequestFactory().get("/"))
    cookie = f"{NAME}={response.cookies[NAME].value}"
    again = await middleware(AsyncRequestFactory().get("/", headers={"cookie": cookie}))
    assert (again.content, started) == (b"2", [])


async def test_a_response_that_failed_saves_nothing(wire: Wire) -> None:
    async def view(_request: Any, session: Hand) -> HttpResponse:
        await session.set("x", 1)
        return HttpResponse(status=500)

    answer = await wire.get(view)
    assert (answer.status, answer.cookie, wire.site.count) == (500, None, 0)


async def test_D1_nothing_is_stored_and_no_cookie_sent_where_nothing_is_set(wire: Wire) -> None:
    for view in (nothing, read):
        for cookie in (None, "", f"{NAME}={UNKNOWN}", f"{NAME}=", f"{NAME}=short"):
            assert (await wire.get(view, cookie=cookie)).cookie is None
    assert (await wire.get(flush)).cookie is None
    assert wire.site.count == 0


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("value", [UNKNOWN, "short", "", "x" * 32, "~" * 5000])
async def test_an_unknown_cookie_is_left_alone(make_wire: MakeWire, value: str, every: bool) -> None:
    wire = make_wire(SESSION_SAVE_EVERY_REQUEST=every)

    async def cleared(_request: Any, session: Hand) -> None:
        await session.get("x")
        session.session.modified = True

    for view in (nothing, read, cleared):
        answer = await wire.get(view, cookie=f"{NAME}={value}")
        assert (answer.status, answer.cookie) == (200, None)
    assert wire.site.count == 0


async def test_T2_an_unknown_cookie_that_needs_a_session_gets_a_token_of_its_own(wire: Wire) -> None:
    answer = await wire.get(put(x=1), cookie=f"{NAME}={UNKNOWN}")
    assert answer.token != UNKNOWN
    assert not wire.site.stored(UNKNOWN)


async def test_saving_every_request_moves_the_expiry_of_a_page_that_does_not_touch_it(
    make_wire: MakeWire, clock: Any
) -> None:
    wire = make_wire(SESSION_SAVE_EVERY_REQUEST=True)
    token = await saved(wire, x=1)
    clock.advance(600)
    store = wire.watch()
    answer = await wire.get(nothing, cookie=f"{NAME}={token}")
    assert (answer.token, store.counts) == (token, {"load": 1, "touch": 1})
    assert answer["Vary"] == "Cookie"


SCENARIOS: dict[str, View] = {"nothing": nothing, "read": read, "put": put(x=2), "flush": flush}


def scenario(view: View) -> View:
    SCENARIOS[view.__name__] = view
    return view


@scenario
async def delete_a_key(_request: Any, session: Hand) -> None:
    await session.pop("x", None)


@scenario
async def until_the_browser_closes(_request: Any, session: Hand) -> None:
    await session.set_expiry(0)


@scenario
async def for_a_minute(_request: Any, session: Hand) -> None:
    await session.set_expiry(60)


@scenario
async def failing(_request: Any, session: Hand) -> HttpResponse:
    await session.set("x", 3)
    return HttpResponse(status=503)


@scenario
async def failing_after_the_end(_request: Any, session: Hand) -> HttpResponse:
    await session.flush()
    return HttpResponse(status=500)


@scenario
async def not_found(_request: Any, session: Hand) -> HttpResponse:
    await session.set("x", 3)
    return HttpResponse(status=404)


@scenario
async def renew(_request: Any, session: Hand) -> None:
    await session.cycle_key()


@scenario
async def flush_and_begin(_request: Any, session: Hand) -> None:
    await session.flush()
    await session.set("x", 4)


@scenario
async def without(request: Any, _session: Hand) -> None:
    del request.session


@pytest.mark.parametrize(
    "engine", ["sojourn.django.backends.cache", "django.contrib.sessions.backends.cache"]
)
@pytest.mark.parametrize(
    "more", [{}, {"SESSION_SAVE_EVERY_REQUEST": True}, {"SESSION_EXPIRE_AT_BROWSER_CLOSE": True}]
)
@pytest.mark.parametrize("known", [True, False], ids=["with a session", "without"])
@pytest.mark.parametrize("view", SCENARIOS.values(), ids=SCENARIOS)
async def test_the_rules_are_those_of_djangos_middleware(
    make_site: Any, view: View, known: bool, more: dict[str, Any], engine: str
) -> None:
    answers = []
    for middleware in (STOCK, OURS):
        site = make_site("cache", MIDDLEWARE=[middleware], ROOT_URLCONF="tests.django.wire", **more)
        if middleware == STOCK:
            settings.SESSION_ENGINE = engine
        wire = Wire(site, "wsgi")
        cookie = f"{NAME}={await saved(wire, x=1)}" if known else None
        answer = await wire.get(view, cookie=cookie)
        sent = (answer.cookie or "").lower()
        lifetime = [part.strip() for part in sent.split(";") if "max-age" in part]
        answers.append((answer.status, bool(sent), sent.startswith(f"{NAME}=;"), lifetime))
        del site
    stock, ours = (
        dict(zip(("status", "sent", "deleted", "lifetime"), answer, strict=True)) for answer in answers
    )
    stock["deleted"] = stock["deleted"] or stock["lifetime"] == ["max-age=0"]
    assert ours == stock


# --- start-up ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "instead"),
    [
        ("django.contrib.sessions.backends.file", "sojourn.django.backends.file"),
        ("django.contrib.sessions.backends.cache", "sojourn.django.backends.cache"),
        ("django.contrib.sessions.backends.signed_cookies", "sojourn.django.backends."),
        ("django.contrib.sessions.serializers", "sojourn.django.backends.embedded"),
    ],
)
def test_an_engine_that_is_not_ours_refuses_to_start(make_site: Any, engine: str, instead: str) -> None:
    make_site("cache", SESSION_ENGINE=engine)
    with pytest.raises(ImproperlyConfigured, match=f"write SESSION_ENGINE = '{instead}"):
        SessionMiddleware(lambda _: HttpResponse())


def test_the_admin_takes_it_for_djangos_own(make_site: Any) -> None:
    make_site("cache", MIDDLEWARE=[OURS], INSTALLED_APPS=[*settings.INSTALLED_APPS, "django.contrib.admin"])
    found = {error.id for error in check_dependencies()}
    assert "admin.E403" in found
    assert "admin.E410" not in found


# --- ended meanwhile ---------------------------------------------------------------------------------


async def test_C1_a_session_that_was_ended_meanwhile_stays_ended_and_the_answer_sets_no_cookie(
    wire: Wire,
) -> None:
    token = await saved(wire, x=1)

    async def view(request: Any, session: Hand) -> None:
        await session.set("x", 2)
        wire.site.session(token).delete()

    answer = await wire.get(view, cookie=f"{NAME}={token}")
    assert (answer.status, answer.cookie) == (400, None)
    assert not wire.site.stored(token)
    assert wire.site.count == 0


async def test_C1_a_session_whose_deadline_passes_meanwhile_stays_dead(wire: Wire, clock: Any) -> None:
    token = await saved(wire, x=1)

    async def view(request: Any, session: Hand) -> None:
        await session.set("x", 2)
        clock.advance(settings.SESSION_COOKIE_AGE)

    answer = await wire.get(view, cookie=f"{NAME}={token}")
    assert (answer.status, answer.cookie, wire.site.count) == (400, None, 0)


@pytest.mark.parametrize("middleware", [STOCK, OURS])
@pytest.mark.parametrize("every", [False, True])
async def test_C1_an_application_that_catches_it_gets_no_session_either(
    make_wire: MakeWire, middleware: str, every: bool
) -> None:
    wire = make_wire(MIDDLEWARE=[middleware], SESSION_SAVE_EVERY_REQUEST=every)
    token = await saved(wire, x=1)

    async def view(request: Any, session: Hand) -> str:
        await session.set("x", 2)
        wire.site.session(token).delete()
        with pytest.raises(UpdateError):
            await session.save()
        return "caught"

    answer = await wire.get(view, cookie=f"{NAME}={token}")
    assert (answer.cookie, wire.site.count) == (None, 0)
    assert answer.status == (400 if every and middleware == STOCK else 200)


async def test_C1_what_is_set_after_the_end_was_noticed_is_not_lost_silently(wire: Wire) -> None:
    token = await saved(wire, x=1)

    async def view(request: Any, session: Hand) -> None:
        await session.set("x", 2)
        wire.site.session(token).delete()
        with pytest.raises(UpdateError):
            await session.save()
        await session.set("y", 3)

    answer = await wire.get(view, cookie=f"{NAME}={token}")
    assert (answer.status, answer.cookie, wire.site.count) == (400, None, 0)


async def test_C1_an_interrupted_renewal_is_400_and_stores_nothing(wire: Wire) -> None:
    token = await saved(wire, _auth_user_id="1")

    async def view(request: Any, session: Hand) -> None:
        await session.get("x")
        wire.site.session(token).delete()
        await session.cycle_key()

    answer = await wire.get(view, cookie=f"{NAME}={token}")
    assert (answer.status, answer.cookie, wire.site.count) == (400, None, 0)


# --- the store does not answer -----------------------------------------------------------------------


def unavailable(answer: Any) -> bool:
    """Whether the answer is the 503 with all that belongs to it, and no cookie."""
    assert answer.cookie is None
    if answer.status != 503:
        return False
    assert answer["Retry-After"] == str(RETRY_AFTER)
    assert answer.cache_control == {"private", "no-store"}
    assert answer["Vary"] == "Cookie"
    return "try again" in answer.body and len(answer.body) < 100


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "sojourn" and record.levelno >= logging.ERROR
    ]


@pytest.mark.parametrize("error", [StoreUnavailableError, StoreTimeoutError])
@pytest.mark.parametrize("engine", ["cache", "embedded"])
async def test_F1_a_view_that_meets_a_store_that_does_not_answer_is_503(
    make_wire: MakeWire, engine: str, error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wire = make_wire(engine)
    token = await saved(wire, x=1)
    store = wire.watch()
    store.plan(Fail("*", times=None, error=error))
    assert unavailable(await wire.get(read, cookie=f"{NAME}={token}"))
    [message] = logged(caplog)
    assert message.startswith("The session store did not answer, so GET /")
    store.heal()
    answer = await wire.get(read, cookie=f"{NAME}={token}")
    assert (answer.status, answer.body) == (200, "1")


async def test_F1_a_page_that_does_not_touch_the_session_still_works(wire: Wire) -> None:
    token = await saved(wire, x=1)
    wire.watch().plan(Fail("*", times=None))
    answer = await wire.get(nothing, cookie=f"{NAME}={token}")
    assert (answer.status, answer.cookie) == (200, None)


@pytest.mark.parametrize("order", ["inside", "outside"])
async def test_F1_other_middleware_that_meets_it_is_503_where_ours_is_around_it(
    make_wire: MakeWire, order: str, caplog: pytest.LogCaptureFixture
) -> None:
    middleware = [OURS, "tests.django.wire.touch_first"]
    if order == "outside":
        middleware.insert(0, "django.middleware.common.CommonMiddleware")
    wire = make_wire(MIDDLEWARE=middleware)
    token = await saved(wire, x=1)
    wire.watch().plan(Fail("*", times=None))
    assert unavailable(await wire.get(nothing, cookie=f"{NAME}={token}"))
    assert len(logged(caplog)) == 1


async def test_F1_a_page_that_took_the_silence_for_no_is_not_shown(wire: Wire) -> None:
    token = await saved(wire, name="alice")
    wire.watch().plan(Fail("*", times=None))
    source = "{% if request.session.name or 0 %}hello{% else %}sign in{% endif %}"
    template = Engine().from_string(source)
    closed: list[bool] = []

    class Page(HttpResponse):
        def close(self) -> None:
            super().close()

    async def view(request: Any, session: Hand) -> HttpResponse:
        if wire.kind == "asgi":  # templates know plain sessions alone
            with pytest.raises(StoreUnavailableError):
                await session.get("name")
        response = Page(template.render(Context({"request": request})))
        response._resource_closers.append(lambda: closed.append(True))  # type: ignore[attr-defined]
        return response

    answer = await wire.get(view, cookie=f"{NAME}={token}")
    assert unavailable(answer)
    assert closed == [True]


async def test_F1_an_application_that_can_do_without_the_session_says_so(wire: Wire) -> None:
    token = await saved(wire, x=1)
    wire.watch().plan(Fail("*", times=None))

    async def view(request: Any, session: Hand) -> str:
        try:
            await session.get("x")
        except StoreUnavailableError:
            request.session.unavailable = None
        return "without"

    answer = await wire.get(view, cookie=f"{NAME}={token}")
    assert (answer.status, answer.body, answer.cookie) == (200, "without", None)


async def test_F1_a_logout_that_did_not_reach_the_store_does_not_look_like_one(wire: Wire) -> None:
    token = await saved(wire, x=1)
    store = wire.watch()
    store.plan(Fail("delete"))

    async def view(_request: Any, session: Hand) -> str:
        with pytest.raises(StoreUnavailableError):
            await session.flush()
        return "you are signed out"

    assert unavailable(await wire.get(view, cookie=f"{NAME}={token}"))
    assert (await wire.get(read, cookie=f"{NAME}={token}")).body == "1"


@pytest.mark.parametrize("operation", ["create", "update", "touch", "move"])
async def test_F4_a_save_that_failed_sends_no_cookie_and_shows_an_error(
    make_wire: MakeWire, clock: Any, operation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wire = make_wire(SOJOURN={"SLIDING": True})
    token = await saved(wire, x=1)
    clock.advance(600)
    views = {"create": put(y=1), "update": put(y=1), "touch": read, "move": renew}
    cookie = None if operation == "create" else f"{NAME}={token}"
    wire.watch().plan(Fail(operation))
    assert unavailable(await wire.get(views[operation], cookie=cookie))
    assert len(logged(caplog)) == 1
    assert token not in caplog.text
    assert (await wire.get(read, cookie=f"{NAME}={token}")).body == "1"


async def test_F4_a_file_another_process_has_locked_is_503_at_the_save(
    make_wire: MakeWire, tmp_path: Any
) -> None:
    path = tmp_path / "private" / "sessions.sqlite3"
    wire = make_wire("embedded", SOJOURN={"PATH": path, "TIMEOUT": 0.5})
    token = await saved(wire, x=1)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    assert unavailable(await wire.get(put(x=2), cookie=f"{NAME}={token}"))
    blocker.close()
    assert (await wire.get(read, cookie=f"{NAME}={token}")).body == "1"


async def test_F4_a_value_that_cannot_be_stored_is_an_error_and_no_cookie(wire: Wire) -> None:
    answer = await wire.get(put(x=object()))
    assert (answer.status, answer.cookie, wire.site.count) == (500, None, 0)


async def test_what_a_streamed_page_held_is_closed_with_the_503(wire: Wire) -> None:
    closed: list[bool] = []

    class Parts(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    async def view(_request: Any, session: Hand) -> StreamingHttpResponse:
        await session.set("x", 1)
        return StreamingHttpResponse(Parts([b"a", b"b"]))

    wire.watch().plan(Fail("create"))
    assert unavailable(await wire.get(view))
    assert closed == [True]


@pytest.mark.parametrize("debug", [False, True])
async def test_T12_no_token_is_in_a_log_or_an_error_page(
    make_wire: MakeWire, caplog: pytest.LogCaptureFixture, debug: bool
) -> None:
    wire = make_wire("embedded", DEBUG=debug, ALLOWED_HOSTS=["testserver"])
    caplog.set_level(logging.DEBUG)
    for operation in ("load", "update", "move", "delete"):
        token = await saved(wire, x=1)
        store = wire.watch()
        for fault in (Fail(operation), Meanwhile(operation, lambda: None), Delay(operation, seconds=0)):
            store.plan(fault)

        async def view(_request: Any, session: Hand) -> None:
            await session.set("x", 2)
            await session.save()
            await session.cycle_key()
            await session.flush()

        answer = await wire.get(view, cookie=f"{NAME}={token}")
        assert unavailable(answer)
        assert token not in answer.body + caplog.text


# --- sliding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("middleware", [STOCK, OURS])
async def test_L1_reading_slides_the_expiry_at_most_once_per_touch_interval(
    make_wire: MakeWire, clock: Any, middleware: str
) -> None:
    wire = make_wire(MIDDLEWARE=[middleware], SESSION_COOKIE_AGE=1000, SOJOURN={"SLIDING": True})
    token = await saved(wire, x=1)
    wire.watch()
    [place] = engines._places.values()

    def touches() -> int:  # under ASGI Django's middleware uses the plain store
        stores: tuple[Any, ...] = (place.store, place.async_store)
        return sum(store.counts["touch"] for store in stores)

    clock.advance(99)
    assert (await wire.get(read, cookie=f"{NAME}={token}")).cookie is None
    assert touches() == 0
    clock.advance(1)
    answer = await wire.get(read, cookie=f"{NAME}={token}")
    assert answer.token == token
    assert "Max-Age=1000" in (answer.cookie or "")
    assert touches() == 1
    await wire.get(read, cookie=f"{NAME}={token}")
    assert (await wire.get(nothing, cookie=f"{NAME}={token}")).cookie is None
    assert touches() == 1
    clock.advance(999)
    assert (await wire.get(read, cookie=f"{NAME}={token}")).body == "1"
    clock.advance(1000)
    assert (await wire.get(read, cookie=f"{NAME}={token}")).body == "None"


async def test_without_sliding_a_page_that_reads_writes_nothing(wire: Wire, clock: Any) -> None:
    token = await saved(wire, x=1)
    store = wire.watch()
    clock.advance(86_400)
    assert (await wire.get(read, cookie=f"{NAME}={token}")).cookie is None
    assert store.counts == {"load": 1}


# --- cancelled ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["cache", "embedded"])
@pytest.mark.parametrize("operation", ["load", "update", "move", "delete"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_C5_a_cancelled_request_leaves_the_session_as_it_was_or_as_it_was_to_be(
    make_site: Any, engine: str, operation: Any, after: bool
) -> None:
    wire = Wire(make_site(engine, MIDDLEWARE=[OURS], ROOT_URLCONF="tests.django.wire"), "asgi")
    token = await saved(wire, x=1)
    store = wire.watch()
    asked = asyncio.Event()

    async def note() -> None:
        asked.set()

    store.plan(Meanwhile(operation, note, after=after), Delay(operation, seconds=3600, after=after))

    async def view(_request: Any, session: Hand) -> None:
        await session.set("x", 2)
        if operation == "move":
            await session.cycle_key()
        if operation == "delete":
            await session.flush()

    given_up = await wire.get(view, cookie=f"{NAME}={token}", gone=asked.wait())
    assert given_up.status == 0
    store.heal()

    answer = await wire.get(read, cookie=f"{NAME}={token}")
    assert answer.body in {"update": {"1", "2"}, "load": {"1"}}.get(operation, {"1", "None"})
    again = await wire.get(put(x=3), cookie=f"{NAME}={token}")
    assert again.status == 200
    assert (await wire.get(read, cookie=f"{NAME}={again.token}")).body == "3"


# --- called by hand ----------------------------------------------------------------------------------


def test_it_can_be_called_as_djangos_can(make_site: Any) -> None:
    site: Site = make_site("cache")
    middleware = SessionMiddleware(lambda _: HttpResponse())
    request: Any = RequestFactory().get("/")
    middleware.process_request(request)
    request.session["x"] = 1
    response = middleware.process_response(request, HttpResponse())
    assert site.stored(response.cookies[NAME].value) == {"x": 1}
    request = RequestFactory().get("/", headers={"cookie": f"{NAME}={response.cookies[NAME].value}"})
    middleware.process_request(request)
    assert request.session["x"] == 1
    assert middleware.process_exception(request, ValueError()) is None


def test_a_session_that_is_not_ours_is_left_alone(make_site: Any) -> None:
    make_site("cache")
    middleware = SessionMiddleware(lambda _: HttpResponse())
    request: Any = RequestFactory().get("/")
    sessions: list[Any] = [{}, None]
    for request.session in sessions:
        assert not middleware.process_response(request, HttpResponse()).has_header("Vary")
