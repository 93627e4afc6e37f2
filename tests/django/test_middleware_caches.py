"""T11: a page that was made with the session, or that sets its cookie, is no page for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.http import HttpResponse, HttpResponseNotModified

from sojourn.django.headers import keep_from_caches

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.django.wire import Hand, View, Wire

    MakeWire = Callable[..., Wire]

NAME = "sessionid"
SHARED = "public, max-age=600, s-maxage=600"
PLAIN, TOUCHED, COOKIE = "left alone", "touched", "with a cookie"


async def nothing(_request: Any, session: Hand) -> None:
    pass


async def is_in(request: Any, session: Hand) -> object:
    return await session.has_key("x") if session._use_async else "x" in request.session


async def get(_request: Any, session: Hand) -> object:
    return await session.get("x")


async def count(_request: Any, session: Hand) -> object:
    return len(await session.keys())


async def iterate(_request: Any, session: Hand) -> object:
    return list(await session.items())


async def expiry(_request: Any, session: Hand) -> object:
    return await session.get_expiry_age()


async def public_id(request: Any, session: Hand) -> object:
    await session.get("anything")
    return request.session.public_id


async def change(_request: Any, session: Hand) -> None:
    await session.set("x", 2)


async def renew(_request: Any, session: Hand) -> None:
    await session.cycle_key()


async def flush(_request: Any, session: Hand) -> None:
    await session.flush()


async def clear(request: Any, session: Hand) -> None:
    await session.get("x")
    request.session.clear()


MATRIX: list[tuple[View, str, str]] = [
    # the view, what it is with a session, what it is without
    (nothing, PLAIN, PLAIN),
    (is_in, TOUCHED, TOUCHED),
    (get, TOUCHED, TOUCHED),
    (count, TOUCHED, TOUCHED),
    (iterate, TOUCHED, TOUCHED),
    (expiry, TOUCHED, TOUCHED),
    (public_id, TOUCHED, TOUCHED),
    (change, COOKIE, COOKIE),
    (renew, COOKIE, COOKIE),
    (flush, COOKIE, TOUCHED),
    (clear, COOKIE, TOUCHED),
]


@pytest.mark.parametrize("known", [True, False], ids=["with a session", "without"])
@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row[0].__name__)
@pytest.mark.parametrize("given", [None, SHARED])
async def test_T11_what_a_page_does_with_the_session_decides_what_caches_may_do_with_it(
    wire: Wire, row: tuple[View, str, str], known: bool, given: str | None
) -> None:
    view, with_session, without = row
    sent = f"{NAME}={(await wire.get(change)).token}" if known else None

    async def page(request: Any, session: Hand) -> HttpResponse:
        answer = await view(request, session)
        return HttpResponse(str(answer), headers={} if given is None else {"Cache-Control": given})

    answer = await wire.get(page, cookie=sent)
    assert answer.status == 200
    said = {
        PLAIN: (None, set() if given is None else set(SHARED.split(", ")), False),
        TOUCHED: ("Cookie", {"private"} | (set() if given is None else {"max-age=600"}), False),
        COOKIE: ("Cookie", {"private", "no-store"} | (set() if given is None else {"max-age=600"}), True),
    }
    found = (answer["Vary"], answer.cache_control, answer.cookie is not None)
    assert found == said[with_session if known else without]


async def test_T11_a_page_that_only_slides_the_session_sends_the_cookie_and_is_stored_nowhere(
    make_wire: MakeWire, clock: Any
) -> None:
    wire = make_wire(SOJOURN={"SLIDING": True})
    token = (await wire.get(change)).token
    clock.advance(3600)
    answer = await wire.get(get, cookie=f"{NAME}={token}")
    assert answer.token == token
    assert (answer["Vary"], answer.cache_control) == ("Cookie", {"private", "no-store"})


@pytest.mark.parametrize("status", [204, 302, 304, 400, 404, 500, 503])
async def test_T11_holds_for_every_status(wire: Wire, status: int) -> None:
    token = (await wire.get(change)).token

    async def page(request: Any, session: Hand) -> HttpResponse:
        await session.get("x")
        if status == 304:
            return HttpResponseNotModified(headers={"Cache-Control": "public"})
        return HttpResponse(status=status, headers={"Cache-Control": "public"})

    answer = await wire.get(page, cookie=f"{NAME}={token}")
    assert (answer.status, answer["Vary"], answer.cache_control) == (status, "Cookie", {"private"})


async def test_T11_other_middleware_that_touches_the_session_counts(make_wire: MakeWire) -> None:
    wire = make_wire(
        MIDDLEWARE=["sojourn.django.middleware.SessionMiddleware", "tests.django.wire.touch_first"]
    )
    answer = await wire.get(nothing)
    assert (answer["Vary"], answer.cache_control) == ("Cookie", {"private"})


async def test_T11_an_unknown_cookie_that_is_left_alone_still_made_the_page(wire: Wire) -> None:
    answer = await wire.get(get, cookie=f"{NAME}={'A' * 40}")
    assert (answer["Vary"], answer.cache_control, answer.cookie) == ("Cookie", {"private"}, None)


@pytest.mark.parametrize(
    ("given", "touched", "with_cookie"),
    [
        (None, "private", "private, no-store"),
        ("", "private", "private, no-store"),
        ("public", "private", "private, no-store"),
        ("Public , MAX-AGE=60", "MAX-AGE=60, private", "MAX-AGE=60, private, no-store"),
        ("private", "private", "private, no-store"),
        ("private, max-age=60", "private, max-age=60", "private, max-age=60, no-store"),
        ('private="X-A, X-B", max-age=1', "max-age=1, private", "max-age=1, private, no-store"),
        ('no-cache="X, public"', 'no-cache="X, public", private', 'no-cache="X, public", private, no-store'),
        ("no-store", "no-store, private", "no-store, private"),
        ("no-cache, max-age=0", "no-cache, max-age=0, private", "no-cache, max-age=0, private, no-store"),
        ("s-maxage=60, immutable", "immutable, private", "immutable, private, no-store"),
        ("public,,", "private", "private, no-store"),
        ('x="open, public', 'x="open, private', 'x="open, private, no-store'),
        (
            "max-age=0, no-cache, no-store, must-revalidate, private",
            "max-age=0, no-cache, no-store, must-revalidate, private",
            "max-age=0, no-cache, no-store, must-revalidate, private",
        ),
    ],
)  # fmt: skip
def test_T11_nothing_the_application_said_is_weakened_and_public_does_not_survive(
    given: str | None, touched: str, with_cookie: str
) -> None:
    for entirely, expected in ((False, touched), (True, with_cookie)):
        response = HttpResponse(headers={} if given is None else {"Cache-Control": given})
        keep_from_caches(response, entirely=entirely)
        assert response["Cache-Control"] == expected
        keep_from_caches(response, entirely=entirely)
        assert response["Cache-Control"] == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "Cookie"),
        ("Accept-Language", "Accept-Language, Cookie"),
        ("cookie", "cookie"),
        ("*", "*"),
    ],
)
def test_T11_what_the_response_varied_on_it_still_varies_on(given: str | None, expected: str) -> None:
    response = HttpResponse(headers={} if given is None else {"Vary": given})
    keep_from_caches(response, entirely=False)
    assert response["Vary"] == expected


async def test_T11_djangos_cache_middleware_keeps_pages_of_nobody_and_none_of_a_user(
    make_wire: MakeWire,
) -> None:
    wire = make_wire(
        MIDDLEWARE=[
            "django.middleware.cache.UpdateCacheMiddleware",
            "sojourn.django.middleware.SessionMiddleware",
            "django.middleware.cache.FetchFromCacheMiddleware",
        ],
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "T11"},
        },
    )
    token = (await wire.get(change)).token
    cache: Any = caches["default"]
    for view in (get, change, renew):
        await wire.get(view, cookie=f"{NAME}={token}")
        assert not [key for key in cache._cache if "cache_page" in key]
    assert (await wire.get(nothing)).cache_control == {"max-age=600"}
    assert [key for key in cache._cache if "cache_page" in key]
    cache.clear()
