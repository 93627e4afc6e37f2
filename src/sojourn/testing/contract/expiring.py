"""The contract of deadlines: to the millisecond, final, and whatever the wall clock does.

With a server that decides (``expiry = "server"``) the same promises are tested to its ``grain``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sojourn.errors import DuplicateKeyError, SessionGoneError
from sojourn.testing.contract.bench import AnyStore, Bench, ContractClock, created, in_time, promise
from sojourn.testing.records import new_record

if TYPE_CHECKING:
    from sojourn.record import Record

__all__ = ["Expiring"]

_HOUR = 3600
_DAY = 24 * _HOUR


class Expiring(Bench):
    """When a session ends by itself."""

    async def dies_at(self, deadline: int, record: Record, store: AnyStore, clock: ContractClock) -> None:
        """Check that ``record``, just stored, lives until ``deadline`` and no longer."""
        clock.advance_to(self.surely_alive(deadline))
        assert self.is_touched(await store.load(record.key), record)
        clock.advance_to(self.surely_dead(deadline))
        assert await store.load(record.key) is None
        clock.advance_to(self.surely_dead(deadline) + 1)
        assert await store.load(record.key) is None

    @promise
    @in_time
    async def test_L1_a_session_lives_until_its_idle_deadline_and_no_longer(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await created(store, new_record(clock, lives=self.lifetime))
        await self.dies_at(record.idle_deadline, record, store, clock)

    @promise
    @in_time
    async def test_L1_a_session_lives_until_its_absolute_deadline_and_no_longer(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        deadline = new_record(clock, lives=self.lifetime).idle_deadline
        record = await created(store, new_record(clock, absolute_deadline=deadline))
        await self.dies_at(deadline, record, store, clock)

    @promise
    @in_time
    async def test_L1_the_idle_deadline_ends_a_session_before_its_absolute_one(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        later = new_record(clock).idle_deadline
        record = await created(store, new_record(clock, lives=self.lifetime, absolute_deadline=later))
        await self.dies_at(record.idle_deadline, record, store, clock)

    @promise
    @in_time
    async def test_L1_touch_moves_the_idle_deadline_later(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await created(store, new_record(clock, lives=self.lifetime))
        touched = replace(record, idle_deadline=record.idle_deadline + round(self.lifetime * 1500))
        assert await store.touch(record.key, touched.idle_deadline) is True
        clock.advance_to(self.surely_dead(record.idle_deadline))
        await self.dies_at(touched.idle_deadline, touched, store, clock)

    @promise
    @in_time
    async def test_L1_touch_moves_the_idle_deadline_earlier(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await created(store, new_record(clock))
        touched = replace(record, idle_deadline=new_record(clock, lives=self.lifetime).idle_deadline)
        assert await store.touch(record.key, touched.idle_deadline) is True
        await self.dies_at(touched.idle_deadline, touched, store, clock)

    @promise
    @in_time
    async def test_L1_touch_moves_no_absolute_deadline(self, store: AnyStore, clock: ContractClock) -> None:
        deadline = new_record(clock, lives=self.lifetime).idle_deadline
        record = await created(store, new_record(clock, absolute_deadline=deadline))
        touched = replace(record, idle_deadline=record.idle_deadline + 60_000)
        assert await store.touch(record.key, touched.idle_deadline) is True
        await self.dies_at(deadline, touched, store, clock)

    @promise
    @in_time
    async def test_L1_update_sets_both_deadlines(self, store: AnyStore, clock: ContractClock) -> None:
        early = new_record(clock, lives=self.lifetime).idle_deadline
        late = new_record(clock).idle_deadline
        updated = []
        for before, after in (
            ((late, None), (early, None)),
            ((late, None), (late, early)),
            ((early, None), (late, None)),
            ((late, early), (late, None)),
        ):
            fresh = new_record(clock, idle_deadline=before[0], absolute_deadline=before[1])
            record = await created(store, fresh)
            changed = replace(record, idle_deadline=after[0], absolute_deadline=after[1])
            updated.append(replace(changed, version=await store.update(changed, record.version)))
        clock.advance_to(self.surely_alive(early))
        assert [await store.load(record.key) for record in updated] == updated
        clock.advance_to(self.surely_dead(early))
        assert [await store.load(record.key) for record in updated] == [None, None, *updated[2:]]

    @promise
    @in_time
    async def test_L1_move_sets_both_deadlines(self, store: AnyStore, clock: ContractClock) -> None:
        early = new_record(clock, lives=self.lifetime).idle_deadline
        moved = []
        late = new_record(clock).idle_deadline
        for idle, absolute in ((early, None), (late, early), (late, None)):
            old = await created(store, new_record(clock))
            new = new_record(clock, idle_deadline=idle, absolute_deadline=absolute)
            moved.append(replace(new, version=await store.move(old.key, old.version, new)))
        clock.advance_to(self.surely_alive(early))
        assert [await store.load(record.key) for record in moved] == moved
        clock.advance_to(self.surely_dead(early))
        assert [await store.load(record.key) for record in moved] == [None, None, moved[2]]

    @promise
    @in_time
    async def test_L1_every_call_agrees_on_the_deadline(self, store: AnyStore, clock: ContractClock) -> None:
        """Just before it each call finds the session alive, from then on each finds it dead."""
        mortal = [await created(store, new_record(clock, lives=self.lifetime)) for _ in range(10)]
        deadline = mortal[0].idle_deadline
        lasting = [await created(store, new_record(clock)) for _ in range(2)]

        clock.advance_to(self.surely_alive(deadline))
        with pytest.raises(DuplicateKeyError):
            await store.create(mortal[0])
        with pytest.raises(DuplicateKeyError):
            await store.move(lasting[0].key, lasting[0].version, new_record(clock, key=mortal[1].key))
        await store.update(mortal[2], mortal[2].version)
        assert await store.touch(mortal[3].key, deadline) is True
        await store.move(mortal[4].key, mortal[4].version, new_record(clock))
        assert await store.delete(mortal[5].key) is True

        clock.advance_to(self.surely_dead(mortal[-1].idle_deadline))
        await store.create(new_record(clock, key=mortal[0].key))
        await store.move(lasting[1].key, lasting[1].version, new_record(clock, key=mortal[1].key))
        with pytest.raises(SessionGoneError):
            await store.update(mortal[6], mortal[6].version)
        assert await store.touch(mortal[7].key, clock.now() + 60_000) is False
        with pytest.raises(SessionGoneError):
            await store.move(mortal[8].key, mortal[8].version, new_record(clock))
        assert await store.delete(mortal[9].key) is False

    @promise
    async def test_L1_what_is_written_with_a_deadline_in_the_past_is_dead(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        past = clock.now() - _HOUR * 1000
        stillborn = await created(store, new_record(clock, idle_deadline=past))
        updated = await created(store, new_record(clock))
        await store.update(replace(updated, idle_deadline=past), updated.version)
        touched = await created(store, new_record(clock))
        assert await store.touch(touched.key, past) is True
        old, moved = await created(store, new_record(clock)), new_record(clock, idle_deadline=past)
        await store.move(old.key, old.version, moved)
        for record in (stillborn, updated, touched, old, moved):
            assert await store.load(record.key) is None
            assert await store.touch(record.key, clock.now() + 60_000) is False

    @promise
    async def test_L3_a_deadline_more_than_thirty_days_ahead_is_kept(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for days in (29, 30, 31, 400):
            far = await created(store, new_record(clock, lives=days * _DAY + 0.001))
            assert await store.load(far.key) == far
            further = replace(far, idle_deadline=far.idle_deadline + _DAY * 1000)
            assert await store.touch(far.key, further.idle_deadline) is True
            assert self.is_touched(await store.load(far.key), further)

    # the wall clock is set

    @promise
    async def test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        """Whichever call saw it."""
        mortal = [await created(store, new_record(clock, lives=self.lifetime)) for _ in range(5)]
        clock.advance_to(self.surely_dead(mortal[-1].idle_deadline))
        assert await store.load(mortal[0].key) is None
        assert await store.touch(mortal[1].key, clock.now() + 60_000) is False
        with pytest.raises(SessionGoneError):
            await store.update(mortal[2], mortal[2].version)
        with pytest.raises(SessionGoneError):
            await store.move(mortal[3].key, mortal[3].version, new_record(clock))
        assert await store.delete(mortal[4].key) is False
        clock.step(-_HOUR)
        for record in mortal:
            assert await store.load(record.key) is None
            assert await store.touch(record.key, record.idle_deadline) is False
            with pytest.raises(SessionGoneError):
                await store.update(record, record.version)

    @promise
    async def test_L2_no_session_ends_because_the_clock_steps_back(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await created(store, new_record(clock))
        clock.step(-_HOUR)
        assert await store.load(record.key) == record
        assert await store.update(record, record.version) == record.version.next()
