"""Every order in which two or three requests reach a store: nothing revived, nothing acknowledged lost.

Each test notes how many schedules it has played; the report sums them up.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.testing import pairs, triples
from sojourn.testing.clients import STARTS
from tests.model.stores import NAMES, STORES

if TYPE_CHECKING:
    from collections.abc import Callable

#: The triples are shared out among so many tests, which run at the same time.
SHARES = 4

#: Stores that every client can play on, and none of whose operations is gone into.
ABLE = [name for name, kind in STORES.items() if not kind.without and not kind.in_steps]

#: Set by ``make test-deep``, where there is time to play the triples under asyncio on every store.
DEEP = "SOJOURN_DEEP" in os.environ
#: Else on these, and on those where there are other orders: of an operation's own round trips.
UNDER_ASYNCIO = ["memory", "cached", *(name for name, kind in STORES.items() if kind.in_steps)]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", NAMES)
def test_C1_C2_T3_no_order_of_two_requests_revives_or_loses_anything(
    name: str, place: Any, start: str, record_property: Callable[[str, object], None]
) -> None:
    kind = STORES[name]
    interleaver = kind.interleaver(place)
    schedules = sum(interleaver.play(*clients, start=start) for clients in pairs(without=kind.without))
    interleaver.close()
    record_property("schedules", [name, "pairs", schedules])


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", NAMES)
def test_C1_C2_T3_no_order_of_three_requests_revives_or_loses_anything(
    name: str, place: Any, start: str, share: int, record_property: Callable[[str, object], None]
) -> None:
    kind = STORES[name]
    mine = list(triples(without=kind.without))[share::SHARES]
    interleaver = kind.interleaver(place)
    schedules = sum(interleaver.play(*clients, start=start, sample=kind.sample) for clients in mine)
    interleaver.close()
    record_property("schedules", [name, "triples", schedules])


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", NAMES)
async def test_C1_C2_T3_no_order_of_two_requests_under_asyncio_revives_or_loses_anything(
    name: str, place: Any, start: str, record_property: Callable[[str, object], None]
) -> None:
    kind = STORES[name]
    interleaver = kind.async_interleaver(place)
    schedules = 0
    for clients in pairs(without=kind.without):
        schedules += await interleaver.play(*clients, start=start)
    await interleaver.close()
    record_property("schedules", [f"{name}, asyncio", "pairs", schedules])


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", [name for name in NAMES if DEEP or name.values[0] in UNDER_ASYNCIO])
async def test_C1_C2_T3_no_order_of_three_requests_under_asyncio_revives_or_loses_anything(
    name: str, place: Any, start: str, share: int, record_property: Callable[[str, object], None]
) -> None:
    kind = STORES[name]
    mine = list(triples(without=kind.without))[share::SHARES]
    interleaver = kind.async_interleaver(place)
    schedules = 0
    for clients in mine:
        schedules += await interleaver.play(*clients, start=start, sample=kind.sample)
    await interleaver.close()
    record_property("schedules", [f"{name}, asyncio", "triples", schedules])


@pytest.mark.parametrize("name", ABLE)
def test_C1_the_sign_out_that_meets_a_renewal_ends_the_renewed_session(name: str, place: Any) -> None:
    """Before the sign-out looked where the session had gone, this one left it alive under its new token."""
    interleaver = STORES[name].interleaver(place)
    interleaver.replay("signed in: renew, logout: 0 1 0 1 1 1")
    interleaver.close()


@pytest.mark.parametrize("name", ABLE)
def test_T3_a_renewal_of_a_session_emptied_and_ended_meanwhile_is_told(name: str, place: Any) -> None:
    """Before, it got a session of its own although it had come signed in."""
    interleaver = STORES[name].interleaver(place)
    interleaver.replay("signed in: replace, renew, renew: 0 1 0 1 1 2 2 1")
    interleaver.close()
