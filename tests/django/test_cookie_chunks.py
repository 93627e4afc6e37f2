"""Sessions spread over several cookies, by Sojourn's middleware, under WSGI and ASGI."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from sojourn.cookie import MAX_COOKIE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.django.site import Site
    from tests.django.wire import Answer, Hand, Wire


@pytest.fixture
def wire(make_wire: Callable[..., Wire]) -> Wire:
    return make_wire("signed_cookies", SOJOURN={"MAX_COOKIES": 4})


class Jar:
    """The cookies of one browser, kept as RFC 6265 says."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    async def visit(self, wire: Wire, view: Any) -> Answer:
        sent = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await wire.get(view, cookie=sent or None)
        for header in answer.all("Set-Cookie"):
            assert len(header) <= MAX_COOKIE
            pair, *attributes = header.split("; ")
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer


def fill(octets: int) -> Any:
    noise = random.Random(octets).randbytes(octets // 2).hex()

    async def view(_request: Any, session: Hand) -> None:
        await session.set("filling", noise)

    return view


async def size(_request: Any, session: Hand) -> int:
    return len(await session.get("filling", ""))


async def flush(_request: Any, session: Hand) -> None:
    await session.flush()


async def test_a_session_grows_and_shrinks_over_several_cookies(wire: Wire) -> None:
    jar = Jar()
    seen = []
    for octets in (100, 12_000, 6_000, 18_000, 100):
        assert (await jar.visit(wire, fill(octets))).status == 200
        assert (await jar.visit(wire, size)).body == str(octets)
        seen.append(list(jar.cookies))
    one, two, three = ["sessionid"], ["sessionid", "sessionid-2"], ["sessionid", "sessionid-2", "sessionid-3"]
    assert seen == [one, three, two, [*three, "sessionid-4"], one]


async def test_L4_signing_out_deletes_every_one_of_them(wire: Wire) -> None:
    jar = Jar()
    await jar.visit(wire, fill(12_000))
    answer = await jar.visit(wire, flush)
    assert jar.cookies == {}
    assert len(answer.all("Set-Cookie")) == 3


async def test_a_missing_or_foreign_chunk_makes_no_session_and_all_are_left_alone(wire: Wire) -> None:
    jar, other = Jar(), Jar()
    await jar.visit(wire, fill(12_000))
    await other.visit(wire, fill(12_002))
    for change in ({"sessionid-2": ""}, {"sessionid-3": other.cookies["sessionid-3"]}):
        broken = Jar()
        broken.cookies = {name: value for name, value in (jar.cookies | change).items() if value}
        answer = await broken.visit(wire, size)
        assert (answer.status, answer.body) == (200, "0")
        assert answer.all("Set-Cookie") == []
    assert (await jar.visit(wire, size)).body == "12000"


async def test_T6_more_than_all_cookies_hold_is_an_error_and_the_former_ones_stay(wire: Wire) -> None:
    jar = Jar()
    await jar.visit(wire, fill(12_000))
    assert (await jar.visit(wire, fill(30_000))).status == 500
    assert (await jar.visit(wire, size)).body == "12000"


def test_djangos_middleware_sends_one_cookie_so_several_are_improperly_configured(make_site: Any) -> None:
    site: Site = make_site("signed_cookies", SOJOURN={"MAX_COOKIES": 2})
    with pytest.raises(ImproperlyConfigured, match=r"sojourn\.django\.middleware"):
        site.engine  # noqa: B018


@pytest.mark.parametrize("count", [0, -1, 21, True, "3"])
def test_a_number_of_cookies_that_cannot_be_is_improperly_configured(make_site: Any, count: Any) -> None:
    site: Site = make_site("signed_cookies", SOJOURN={"MAX_COOKIES": count})
    with pytest.raises(ImproperlyConfigured, match="MAX_COOKIES"):
        site.engine  # noqa: B018
