"""When sessions die: idle and absolute timeouts, touches, clocks that step."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from sojourn import AAL2, AAL3, Policy
from sojourn.errors import SessionGoneError
from sojourn.policy import EXPIRY_KEY, Action
from tests.core.sites import answer, key

if TYPE_CHECKING:
    from sojourn.testing import FakeClock
    from tests.core.sites import Site, World

_IDLE, _ABSOLUTE = 3_600, 36_000
_MINUTE = 60


def _site(world: World, *, sliding: bool = False, absolute: int | None = None) -> Site:
    return world.site(policy=Policy(idle_timeout=_IDLE, absolute_timeout=absolute, sliding=sliding))


# At the millisecond


@pytest.mark.parametrize("sliding", [False, True])
@pytest.mark.parametrize(("by", "lives"), [(-1, True), (0, False), (1, False)])
async def test_L1_a_session_is_dead_from_its_idle_deadline_on(
    world: World, clock: FakeClock, *, sliding: bool, by: int, lives: bool
) -> None:
    site = _site(world, sliding=sliding)
    began = clock.now()
    token = await site.new(a=1)
    clock.advance_to(began + _IDLE * 1_000 + by)
    assert await site.exists(token) == lives
    assert (await site.values(token) is not None) == lives
    assert await site.delete(token) == lives


@pytest.mark.parametrize(("by", "lives"), [(-1, True), (0, False), (1, False)])
async def test_L1_no_activity_moves_the_absolute_deadline(
    world: World, clock: FakeClock, *, by: int, lives: bool
) -> None:
    site = _site(world, sliding=True, absolute=_ABSOLUTE)
    began = clock.now()
    token = await site.new(_subject="ann", count=0)
    while clock.now() + 30 * _MINUTE * 1_000 < began + _ABSOLUTE * 1_000:
        clock.advance(30 * _MINUTE)
        session = await site.open(token)
        session["count"] += 1
        if session["count"] % 3 == 0:
            session.renew()
        assert await site.commit(session, saves=True) in (Action.UPDATE, Action.MOVE)
        assert session.token is not None
        token = session.token
    clock.advance_to(began + _ABSOLUTE * 1_000 + by)
    assert await site.exists(token) == lives
    assert (await site.values(token) is not None) == lives


@pytest.mark.parametrize("policy", [AAL2, AAL3])
async def test_L1_the_presets_hold(world: World, clock: FakeClock, policy: Policy) -> None:
    site = world.site(policy=policy)
    token = await site.new(a=1)
    clock.advance(policy.idle_timeout - 0.001)
    assert await site.exists(token)
    clock.advance(0.001)
    assert not await site.exists(token)
    began = clock.now()
    token = await site.new(a=1)
    assert policy.absolute_timeout is not None
    while clock.now() < began + policy.absolute_timeout * 1_000:
        await site.commit(await site.open(token))
        assert await site.exists(token)
        clock.advance(300)
    assert not await site.exists(token)


async def test_L1_a_session_that_died_during_the_request_is_not_saved(world: World, clock: FakeClock) -> None:
    for change in ("update", "renew", "touch", "end"):
        site = _site(world)
        token = await site.new(_subject="ann", a=1)
        session = await site.open(token)
        if change == "update":
            session["a"] = 2
        elif change == "renew":
            session.renew()
        elif change == "end":
            session.end()
        clock.advance(_IDLE)
        if change == "end":
            assert await site.commit(session) is Action.DELETE
        else:
            with pytest.raises(SessionGoneError):
                await site.commit(session, saves=True)
        assert session.token is None
        assert not session
        assert await site.values(token) is None


async def test_L1_a_limit_set_later_holds_for_sessions_that_have_none(world: World, clock: FakeClock) -> None:
    token = await _site(world).new(_subject="ann", a=1)
    site = _site(world, absolute=_MINUTE)
    clock.advance(_MINUTE - 0.001)
    assert await site.values(token) is not None
    clock.advance(0.001)
    assert await site.values(token) is None
    assert not await site.exists(token)


async def test_L1_a_sign_in_begins_the_absolute_timeout_anew_and_nothing_else_does(
    world: World, clock: FakeClock
) -> None:
    site = _site(world, absolute=_ABSOLUTE)
    began = clock.now()

    async def limit(token: str | None) -> float:
        assert token is not None
        deadline = (await world.record(token)).absolute_deadline
        assert deadline is not None
        return (deadline - began) / 1_000 - _ABSOLUTE

    token = await site.new(a=1)
    assert await limit(token) == 0
    clock.advance(60)
    session = await site.save(token, a=2)
    assert await limit(token) == 0
    session.renew()
    await site.commit(session)
    assert await limit(session.token) == 0
    session["_subject"] = "ann"  # somebody signs in
    await site.commit(session)
    assert await limit(session.token) == 60
    clock.advance(60)
    session["a"] = 3
    await site.commit(session)
    assert await limit(session.token) == 60
    session.renew(authenticated=True)  # and proves again who they are
    await site.commit(session)
    assert await limit(session.token) == 120
    clock.advance(60)
    session["_subject"] = "ben"  # somebody else
    await site.commit(session)
    assert await limit(session.token) == 180


# Nobody's sessions


@pytest.mark.parametrize("sliding", [False, True])
async def test_L1_a_session_that_is_nobodys_ends_sooner_and_a_sign_in_gives_it_the_full_time(
    world: World, clock: FakeClock, *, sliding: bool
) -> None:
    site = world.site(policy=Policy(idle_timeout=_IDLE, anonymous_timeout=_MINUTE, sliding=sliding))
    token = await site.new(a=1)
    clock.advance(_MINUTE - 0.001)
    assert await site.exists(token)
    clock.advance(0.001)
    assert not await site.exists(token)

    token = await site.new(a=1)
    for _ in range(5):  # activity keeps it
        clock.advance(_MINUTE - 6 if sliding else _MINUTE - 0.001)
        session = await site.open(token)
        if not sliding:
            session["a"] += 1
        assert await site.commit(session) is (Action.TOUCH if sliding else Action.UPDATE)
    session["_subject"] = "ann"
    session.renew()
    await site.commit(session)
    clock.advance(_IDLE - 0.001)
    assert await site.exists(session.token)
    clock.advance(0.001)
    assert not await site.exists(session.token)


async def test_an_expiry_the_application_gave_a_session_that_is_nobodys_goes_before_the_policys(
    world: World, clock: FakeClock
) -> None:
    site = world.site(policy=Policy(idle_timeout=_IDLE, anonymous_timeout=_MINUTE))
    basket = await site.new(basket=["apple"], **{EXPIRY_KEY: 10 * _MINUTE})
    until_the_browser_closes = await site.new(a=1, **{EXPIRY_KEY: 0})
    clock.advance(_MINUTE)
    assert not await site.exists(until_the_browser_closes)
    clock.advance(9 * _MINUTE - 0.001)
    assert await site.exists(basket)
    clock.advance(0.001)
    assert not await site.exists(basket)


async def test_a_session_somebody_signed_in_to_meanwhile_keeps_the_full_time(
    world: World, clock: FakeClock
) -> None:
    site = world.site(policy=Policy(idle_timeout=_IDLE, anonymous_timeout=_MINUTE))
    token = await site.new(a=1)
    session = await site.open(token)
    session["a"] = 2
    other = world.site(policy=site.manager.policy)
    site.meanwhile("update", lambda: other.save(token, _subject="ann"))
    assert await site.commit(session) is Action.UPDATE
    assert await site.values(token) == {"a": 2, "_subject": "ann"}
    clock.advance(_IDLE - 0.001)
    assert await site.exists(token)


# Touches


async def test_L1_a_session_that_is_read_lives_on_and_one_that_is_not_dies_in_time(
    world: World, clock: FakeClock
) -> None:
    site = _site(world, sliding=True)
    token = await site.new(a=1)
    for _ in range(20):
        clock.advance(_IDLE - 5 * _MINUTE - 0.001)  # less than the timeout less the touch interval
        session = await site.open(token)
        assert session.get("a") == 1
        await site.commit(session)
    clock.advance(_IDLE)
    assert await site.values(token) is None


async def test_L1_with_a_touch_interval_alive_before_timeout_less_interval_and_dead_after_timeout(
    world: World, clock: FakeClock
) -> None:
    interval = 5 * _MINUTE
    for last_read in (0, interval - 0.001, interval, 1.5 * interval):
        for idle, lives in ((_IDLE - interval, True), (_IDLE, False)):
            site = _site(world, sliding=True)
            token = await site.new(a=1)
            clock.advance(last_read)
            await site.commit(await site.open(token))
            clock.advance(idle)
            assert await site.exists(token) == lives, (last_read, idle)


async def test_reads_touch_at_most_once_per_interval_and_change_nothing_else(
    world: World, clock: FakeClock
) -> None:
    site = _site(world, sliding=True)
    token = await site.new(a=1)
    before = await world.record(token)
    for _ in range(30):  # half an hour of reading
        clock.advance(_MINUTE)
        await site.commit(await site.open(token))
    assert site.store.counts == {"load": 30, "touch": 6}
    after = await world.record(token)
    assert after.idle_deadline == before.idle_deadline + 30 * _MINUTE * 1_000
    assert replace(after, idle_deadline=before.idle_deadline) == before


async def test_reads_do_not_write_unless_reading_is_activity(world: World, clock: FakeClock) -> None:
    site = _site(world)
    token = await site.new(a=1)
    for _ in range(59):
        clock.advance(_MINUTE)
        await site.commit(await site.open(token))
    assert set(site.store.counts) == {"load"}
    clock.advance(_MINUTE)
    assert not await site.exists(token)


async def test_a_timeout_set_on_every_page_is_written_once_per_touch_interval(
    world: World, clock: FakeClock
) -> None:
    site = _site(world)
    token = await site.new(a=1, **{EXPIRY_KEY: _IDLE})
    last = clock.now() / 1_000 + _IDLE + 1_800
    for _ in range(30):  # Horizon: what is left until the Keystone token ends
        clock.advance(_MINUTE)
        session = await site.open(token)
        session[EXPIRY_KEY] = int(last - clock.now() / 1_000)
        await site.commit(session)
    assert site.store.counts["update"] <= 30 / 5  # so many touch intervals
    assert await site.exists(token)


async def test_another_timeout_counts_even_where_the_deadline_stays_about_the_same(
    world: World, clock: FakeClock
) -> None:
    site = _site(world)
    token = await site.new(a=1, **{EXPIRY_KEY: 7_200})
    clock.advance(7_000)
    await site.save(token, **{EXPIRY_KEY: 200})
    await site.save(token, a=2)
    clock.advance(200)
    assert not await site.exists(token)


async def test_an_instant_at_which_a_session_ends_is_not_moved_by_activity(
    world: World, clock: FakeClock
) -> None:
    site = _site(world, sliding=True)
    end = clock.now() + 600_000
    token = await site.new(a=1, **{EXPIRY_KEY: datetime.fromtimestamp(end / 1_000, UTC).isoformat()})
    for number in range(9):
        clock.advance(_MINUTE)
        session = await site.open(token)
        if number % 2:
            session["a"] += 1
        await site.commit(session, saves=True)
    assert set(site.store.counts) == {"load", "update"}
    clock.advance_to(end - 1)
    assert await site.exists(token)
    clock.advance_to(end)
    assert not await site.exists(token)


async def test_T7_the_server_ends_a_session_whatever_the_browser_keeps_sending(
    world: World, clock: FakeClock
) -> None:
    site = _site(world, absolute=_ABSOLUTE)
    token = await site.new(_subject="ann", a=1)
    clock.advance(_IDLE)
    for _ in range(3):
        session = await site.open(token)
        assert session.unknown_token
        session["a"] = 2
        await site.commit(session)
        assert session.token != token
        clock.advance(_ABSOLUTE)


# Clocks that step


@pytest.mark.parametrize("step", [-3_600, 3_600])
async def test_L2_a_session_that_was_found_dead_stays_dead_when_the_clock_steps(
    world: World, clock: FakeClock, step: int
) -> None:
    site = _site(world)
    late = await site.open(await site.new(_subject="ann", a=1))
    token = str(late.token)
    clock.advance(_IDLE)
    assert not await site.exists(token)
    clock.step(step)
    assert not await site.exists(token)
    late["a"] = 2
    with pytest.raises(SessionGoneError):
        await site.commit(late)
    assert await site.values(token) is None


async def test_L2_an_ended_or_renewed_session_stays_dead_when_the_clock_steps(
    world: World, clock: FakeClock
) -> None:
    site = _site(world)
    ended, renewed = await site.new(a=1), await site.new(a=1)
    await site.end(ended)
    session = await site.open(renewed)
    session.renew()
    await site.commit(session)
    for step in (-3_600, 7_200, -3_600):
        clock.step(step)
        assert not await site.exists(ended)
        assert not await site.exists(renewed)


async def test_L2_an_hour_forward_and_back_revives_nothing_that_was_asked_for(
    world: World, clock: FakeClock
) -> None:
    site = _site(world)
    token = await site.new(a=1)
    clock.step(3_600)
    assert await site.values(token) is None
    clock.step(-3_600)
    assert await site.values(token) is None


@pytest.mark.parametrize(("ahead", "lives"), [(0, True), (60_000, True), (60_001, False), (3_600_000, False)])
async def test_L2_a_session_that_began_more_than_a_minute_ahead_is_none_now_but_stays(
    world: World, clock: FakeClock, caplog: pytest.LogCaptureFixture, *, ahead: int, lives: bool
) -> None:
    caplog.set_level(logging.DEBUG, "sojourn")
    site = _site(world)
    token = await site.new(a=1)
    clock.step(-ahead / 1_000)
    session = await site.open(token)
    assert (session.record is not None) == lives
    assert session.unknown_token != lives
    assert [entry.levelno for entry in caplog.records] == ([] if lives else [logging.WARNING])
    assert set(site.store.counts) == {"load"}
    assert await answer(world.store.load(key(token))) is not None
    clock.step(ahead / 1_000)
    assert await site.values(token) == {"a": 1}


@pytest.mark.parametrize("renews", [False, True])
async def test_L2_T3_a_request_under_way_when_the_clock_is_set_back_still_merges_and_renews(
    world: World, clock: FakeClock, *, renews: bool
) -> None:
    """Before, the session was taken for gone; a renewal began another one, and the old token lived on."""
    site, other = world.site(), world.site()
    token = await site.new(a=1)
    session = await site.open(token)
    await other.save(token, theirs=1)
    clock.step(-3_600)
    session["mine"] = 1
    if renews:
        session.renew()
    await site.commit(session)
    clock.step(3_600)
    assert await site.values(session.token) == {"a": 1, "mine": 1, "theirs": 1}
    assert (await site.values(token) is None) == renews


async def test_L2_a_save_is_not_given_up_because_the_wall_clock_stepped(
    world: World, clock: FakeClock
) -> None:
    site, other = world.site(), world.site()
    token = await site.new(a=1)
    session = await site.open(token)
    session["mine"] = 1

    async def step() -> None:
        clock.step(50)
        await other.save(token, theirs=1)

    site.meanwhile("update", step)
    await site.commit(session)
    assert await site.values(token) == {"a": 1, "mine": 1, "theirs": 1}
