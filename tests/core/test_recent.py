"""Cookies opened lately: what is remembered of them, how much, and what is asked all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sojourn import Keyring, Policy
from sojourn.carriers.lineage import Lineage
from sojourn.carriers.recent import Opened, Recent
from sojourn.manager import CookieManager
from sojourn.record import Record
from tests.core.sites import SECRET

if TYPE_CHECKING:
    from sojourn.testing import FakeClock

HOUR = 3600


def opened(size: int) -> Opened:
    record = Record(key="0" * 64, payload=bytes(size), created_at=0, idle_deadline=1)
    return Opened(Lineage.new(), record, {}, until=1)


@pytest.fixture
def manager(clock: FakeClock) -> CookieManager:
    policy = Policy(idle_timeout=HOUR, absolute_timeout=2 * HOUR)
    return CookieManager(Keyring([SECRET], cookie_name="session"), policy=policy, clock=clock)


def cookie(manager: CookieManager, **values: object) -> str:
    session = manager.new_session()
    session.update(values)
    manager.commit(session)
    return session.token or ""


def test_what_is_used_stays_and_the_rest_is_forgotten() -> None:
    recent = Recent(octets=1000)
    used, unused = opened(90), opened(90)
    recent.put("the used one", used)
    recent.put("the unused one", unused)
    for number in range(100):
        recent.put(f"{number:10}", opened(90))
        assert recent.get("the used one") is used
    assert recent.get("the unused one") is None
    assert len(recent._young) + len(recent._old) <= 2 * 1000 // 100


def test_one_that_is_larger_than_all_there_is_room_for_is_not_kept() -> None:
    recent = Recent(octets=100)
    recent.put("small", opened(90))
    recent.put("large", opened(200))
    assert recent.get("large") is None
    assert recent.get("small") is not None


def test_L1_T7_the_deadlines_of_a_cookie_that_was_opened_before_count(
    manager: CookieManager, clock: FakeClock
) -> None:
    value = cookie(manager, a=1)
    assert manager.open(value)["a"] == 1
    clock.advance(HOUR - 1)
    assert manager.open(value)["a"] == 1
    clock.advance(1)
    assert manager.open(value).record is None


def test_L2_one_that_was_opened_before_is_no_session_if_it_begins_in_the_future(
    manager: CookieManager, clock: FakeClock
) -> None:
    value = cookie(manager, a=1)
    assert manager.open(value)["a"] == 1
    clock.step(-HOUR)
    assert manager.open(value).record is None


def test_what_a_request_changed_and_did_not_save_is_not_what_the_next_one_finds(
    manager: CookieManager,
) -> None:
    value = cookie(manager, basket=["apple"])
    for _ in range(3):
        session = manager.open(value)
        assert dict(session) == {"basket": ["apple"]}
        session["basket"].append("pear")
        session["more"] = True


def test_what_is_no_session_is_not_kept(manager: CookieManager) -> None:
    value = cookie(manager, a=1)
    for wrong in ("", "A" * 40, "A" * 400, value[:-4], value + "AAAA", value.swapcase()):
        assert manager.open(wrong).record is None
    assert not manager._recent._young


def test_T12_nothing_shows_what_is_kept(manager: CookieManager) -> None:
    value = cookie(manager, a="canary-5e1f0c")
    manager.open(value)
    kept = manager._recent
    assert kept.get(value) is not None
    for shown in (repr(kept), repr(kept.get(value)), str(vars(manager))):
        assert "canary" not in shown
        assert value[20:40] not in shown
