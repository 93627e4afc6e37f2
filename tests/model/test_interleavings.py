"""Every order in which two or three requests reach a store: nothing revived, nothing acknowledged lost.

Each test notes how many schedules it has played; the report sums them up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sojourn.testing import pairs, triples
from sojourn.testing.clients import STARTS
from tests.model.stores import STORES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: The triples are shared out among so many tests, which run at the same time.
SHARES = 4


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", STORES)
def test_C1_C2_T3_no_order_of_two_requests_revives_or_loses_anything(
    name: str, start: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    interleaver = STORES[name].interleaver(tmp_path)
    schedules = sum(interleaver.play(*clients, start=start) for clients in pairs())
    interleaver.close()
    record_property("schedules", [name, "pairs", schedules])


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", STORES)
def test_C1_C2_T3_no_order_of_three_requests_revives_or_loses_anything(
    name: str, start: str, share: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    mine = list(triples())[share::SHARES]
    interleaver = STORES[name].interleaver(tmp_path)
    schedules = sum(interleaver.play(*clients, start=start) for clients in mine)
    interleaver.close()
    record_property("schedules", [name, "triples", schedules])


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", STORES)
async def test_C1_C2_T3_no_order_of_two_requests_under_asyncio_revives_or_loses_anything(
    name: str, start: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    interleaver = STORES[name].async_interleaver(tmp_path)
    schedules = 0
    for clients in pairs():
        schedules += await interleaver.play(*clients, start=start)
    await interleaver.close()
    record_property("schedules", [f"{name}, asyncio", "pairs", schedules])


def test_C1_the_sign_out_that_meets_a_renewal_ends_the_renewed_session(tmp_path: Path) -> None:
    """Before the sign-out looked where the session had gone, this one left it alive under its new token."""
    for kind in STORES.values():
        interleaver = kind.interleaver(tmp_path)
        interleaver.replay("signed in: renew, logout: 0 1 0 1 1 1")
        interleaver.close()


def test_T3_a_renewal_of_a_session_emptied_and_ended_meanwhile_is_told(tmp_path: Path) -> None:
    """Before, it got a session of its own although it had come signed in."""
    for kind in STORES.values():
        interleaver = kind.interleaver(tmp_path)
        interleaver.replay("signed in: replace, renew, renew: 0 1 0 1 1 2 2 1")
        interleaver.close()
