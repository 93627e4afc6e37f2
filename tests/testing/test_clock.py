"""The fake clock."""

from __future__ import annotations

import pytest

from sojourn.testing import FakeClock


def test_it_stands_still_until_told() -> None:
    clock = FakeClock(now=1_000)
    assert [clock.now(), clock.now()] == [1_000, 1_000]
    assert clock.monotonic() == clock.monotonic()


def test_advancing_moves_both_clocks_to_the_millisecond() -> None:
    clock = FakeClock(now=1_000)
    before = clock.monotonic()
    clock.advance(1.5)
    clock.advance(0.001)
    assert clock.now() == 2_501
    assert clock.monotonic() - before == pytest.approx(1.501)


def test_it_advances_to_an_instant() -> None:
    clock = FakeClock(now=1_000)
    clock.advance_to(3_333)
    assert clock.now() == 3_333
    assert clock.monotonic() == pytest.approx(2.333)


def test_stepping_moves_only_the_wall_clock() -> None:
    clock = FakeClock(now=10_000_000)
    clock.step(-3600)
    assert (clock.now(), clock.monotonic()) == (6_400_000, 0.0)


def test_time_does_not_pass_backwards() -> None:
    clock = FakeClock()
    with pytest.raises(ValueError, match="step"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="step"):
        clock.advance_to(clock.now() - 1)
