"""The contracts of what only some stores can do: find a subject's sessions, purge, scan."""

from __future__ import annotations

import secrets
from dataclasses import replace
from operator import methodcaller

import pytest

from sojourn.errors import ConflictError, DuplicateKeyError, SessionGoneError
from sojourn.testing.contract.bench import (
    AnyStore,
    Bench,
    ContractClock,
    created,
    failures,
    in_time,
    promise,
)
from sojourn.testing.records import new_record

__all__ = ["PurgeContract", "ScanContract", "SubjectIndexContract"]


class SubjectIndexContract(Bench):
    """What ``find_subject`` and ``delete_subject`` promise: beside StoreContract, if the store has them."""

    # find_subject

    @promise
    async def test_L6_a_subject_finds_its_sessions_oldest_first(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        now = clock.now()
        ages = (3000, 1000, 5000, 0, 2000)
        hers = [
            await created(store, new_record(clock, subject=b"hers", created_at=now - age)) for age in ages
        ]
        await store.create(new_record(clock, subject=b"his"))
        await store.create(new_record(clock, subject=None))
        assert list(await store.find_subject(b"hers")) == sorted(hers, key=lambda record: record.created_at)
        assert list(await store.find_subject(b"nobody's")) == []

    @promise
    @in_time
    async def test_L6_only_living_sessions_are_found(self, store: AnyStore, clock: ContractClock) -> None:
        subject = secrets.token_bytes(8)
        mortal = new_record(clock, subject=subject, lives=self.lifetime)
        await store.create(mortal)
        deleted = await created(store, new_record(clock, subject=subject))
        await store.delete(deleted.key)
        living = await created(store, new_record(clock, subject=subject))
        assert len(await store.find_subject(subject)) == 2
        clock.advance_to(self.surely_dead(mortal.idle_deadline))
        assert list(await store.find_subject(subject)) == [living]

    @promise
    async def test_L6_the_index_follows_updates_and_touches(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await created(store, new_record(clock, subject=None))
        for subject, others in ((b"a", b"b"), (b"b", b"a"), (b"b", b"a")):
            changed = replace(record, subject=subject)
            record = replace(changed, version=await store.update(changed, record.version))
            assert list(await store.find_subject(subject)) == [record]
            assert list(await store.find_subject(others)) == []
        await store.touch(record.key, record.idle_deadline + 1000)
        record = replace(record, idle_deadline=record.idle_deadline + 1000)
        assert list(await store.find_subject(b"b")) == [record]
        await store.update(replace(record, subject=None), record.version)
        assert list(await store.find_subject(b"b")) == []

    @promise
    async def test_L6_the_index_follows_moves(self, store: AnyStore, clock: ContractClock) -> None:
        first, second = new_record(clock, subject=b"a"), new_record(clock, subject=b"a")
        third = new_record(clock, subject=b"b")
        first = await created(store, first)
        second = replace(second, version=await store.move(first.key, first.version, second))
        assert list(await store.find_subject(b"a")) == [second]
        third = replace(third, version=await store.move(second.key, second.version, third))
        assert list(await store.find_subject(b"a")) == []
        assert list(await store.find_subject(b"b")) == [third]

    @promise
    async def test_L6_a_refused_call_leaves_the_index_as_it_was(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await created(store, new_record(clock, subject=b"a"))
        outdated = record.version.next()
        for expected, call in (
            (DuplicateKeyError, methodcaller("create", replace(record, subject=b"b"))),
            (ConflictError, methodcaller("update", replace(record, subject=b"b"), outdated)),
            (SessionGoneError, methodcaller("update", new_record(clock, subject=b"b"), outdated)),
            (ConflictError, methodcaller("move", record.key, outdated, new_record(clock, subject=b"b"))),
        ):
            with pytest.raises(expected):
                await call(store)
            assert list(await store.find_subject(b"a")) == [record]
            assert list(await store.find_subject(b"b")) == []

    @promise
    async def test_L6_a_key_created_anew_belongs_to_its_new_subject_only(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        old = await self.expired(store, clock, subject=b"a")
        record = await created(store, new_record(clock, key=old.key, subject=b"b"))
        assert list(await store.find_subject(b"a")) == []
        assert await store.delete_subject(b"a") == 0
        assert list(await store.find_subject(b"b")) == [record]

    # delete_subject

    @promise
    async def test_L6_all_sessions_of_a_subject_are_ended(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        hers = [await created(store, new_record(clock, subject=b"hers")) for _ in range(3)]
        others = [await created(store, new_record(clock, subject=subject)) for subject in (b"his", None)]
        assert await store.delete_subject(b"hers") == 3
        assert list(await store.find_subject(b"hers")) == []
        for record in hers:
            assert await store.load(record.key) is None
            with pytest.raises(SessionGoneError):
                await store.update(record, record.version)
        assert [await store.load(record.key) for record in others] == others
        assert await store.delete_subject(b"hers") == 0

    @promise
    async def test_L6_all_sessions_of_a_subject_but_one_are_ended(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        hers = [await created(store, new_record(clock, subject=b"hers")) for _ in range(3)]
        his = await created(store, new_record(clock, subject=b"his"))
        assert await store.delete_subject(b"hers", except_key=hers[1].key) == 2
        assert list(await store.find_subject(b"hers")) == [hers[1]]
        assert await store.delete_subject(b"hers", except_key=his.key) == 1
        assert list(await store.find_subject(b"hers")) == []
        assert await store.load(his.key) == his

    @promise
    async def test_L6_only_sessions_that_lived_are_counted_as_ended(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        await self.expired(store, clock, subject=b"s")
        await store.create(new_record(clock, subject=b"s"))
        assert await store.delete_subject(b"s") == 1

    @promise
    async def test_C1_a_racing_update_never_survives_the_end_of_all_sessions(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds):
            hers = [await created(store, new_record(clock, subject=b"hers")) for _ in range(4)]
            updates = [methodcaller("update", record, record.version) for record in hers]
            ended, *_ = await self.race(methodcaller("delete_subject", b"hers"), *updates)
            assert ended == 4
            assert [await store.load(record.key) for record in hers] == [None] * 4
            assert list(await store.find_subject(b"hers")) == []

    @promise
    async def test_C1_a_racing_move_never_survives_the_end_of_all_sessions(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        """A session that is being renewed ends under its old key or under its new one."""
        for _ in range(self.rounds * 2):
            old = await created(store, new_record(clock, subject=b"hers"))
            new = new_record(clock, subject=b"hers")
            ended, moved = await self.race(
                methodcaller("delete_subject", b"hers"), methodcaller("move", old.key, old.version, new)
            )
            assert ended == 1
            assert {type(error) for error in failures([moved])} <= {SessionGoneError, ConflictError}
            assert [await store.load(key) for key in (old.key, new.key)] == [None, None]
            assert list(await store.find_subject(b"hers")) == []


class PurgeContract(Bench):
    """What ``purge`` promises: beside StoreContract, if the store has it."""

    @promise
    async def test_D6_purge_removes_the_dead_and_never_the_living(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        lasting = [await created(store, new_record(clock)) for _ in range(3)]
        touched = await created(store, new_record(clock, lives=self.lifetime))
        mortal = [await created(store, new_record(clock, lives=self.lifetime)) for _ in range(2)]
        absolute = replace(new_record(clock), absolute_deadline=mortal[0].idle_deadline)
        await store.create(absolute)
        lasting.append(replace(touched, idle_deadline=touched.idle_deadline + 1_800_000))
        await store.touch(touched.key, lasting[-1].idle_deadline)
        clock.advance_to(self.surely_alive(touched.idle_deadline))
        assert await store.purge() == 0
        clock.advance_to(self.surely_dead(mortal[-1].idle_deadline))
        assert await store.purge() == 3
        assert await store.purge() == 0
        assert [await store.load(record.key) for record in (*mortal, absolute)] == [None] * 3
        assert [await store.load(record.key) for record in lasting] == lasting

    @promise
    async def test_D6_purge_removes_no_more_than_its_limit(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        mortal = [await created(store, new_record(clock, lives=self.lifetime)) for _ in range(5)]
        clock.advance_to(self.surely_dead(mortal[-1].idle_deadline))
        assert [await store.purge(limit=2) for _ in range(4)] == [2, 2, 1, 0]

    @promise
    async def test_L2_what_was_purged_stays_dead_when_the_clock_steps_back(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await self.expired(store, clock)
        assert await store.purge() == 1
        clock.step(-3600)
        assert await store.load(record.key) is None
        assert await store.touch(record.key, record.idle_deadline) is False

    @promise
    async def test_D6_a_racing_purge_never_removes_a_key_created_anew(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds):
            old = await self.expired(store, clock)
            record = new_record(clock, key=old.key)
            version, *_ = await self.race(methodcaller("create", record), *[methodcaller("purge")] * 3)
            assert await store.load(record.key) == replace(record, version=version)


class ScanContract(Bench):
    """What ``scan`` promises: beside StoreContract, if the store has it."""

    @promise
    async def test_scan_goes_through_all_records_in_key_order(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        records = [await created(store, new_record(clock, payload=b"%d" % n)) for n in range(7)]
        records.sort(key=lambda record: record.key)
        assert list(await store.scan()) == records
        for after, page in (
            ("", records[:3]),
            (records[2].key, records[3:6]),
            (records[5].key, records[6:]),
            (records[6].key, []),
        ):
            assert list(await store.scan(after=after, limit=3)) == page

    @promise
    async def test_scan_begins_after_the_key_given_living_or_not(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        records = [await created(store, new_record(clock)) for _ in range(3)]
        records.sort(key=lambda record: record.key)
        assert list(await store.scan(after=records[0].key)) == records[1:]
        await store.delete(records[0].key)
        assert list(await store.scan(after=records[0].key)) == records[1:]
        assert list(await store.scan(after=records[2].key)) == []

    @promise
    async def test_scan_shows_only_the_living_and_fills_its_pages_with_them(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        dead = [new_record(clock, key=f"{n:064x}", lives=self.lifetime) for n in range(4)]
        for record in dead:
            await store.create(record)
        deleted = await created(store, new_record(clock))
        await store.delete(deleted.key)
        living = [await created(store, new_record(clock, key=f"{n:064x}")) for n in range(4, 7)]
        clock.advance_to(self.surely_dead(dead[-1].idle_deadline))
        assert list(await store.scan(limit=2)) == living[:2]
        assert list(await store.scan()) == living

    @promise
    async def test_scan_of_an_empty_store_is_empty(self, store: AnyStore, clock: ContractClock) -> None:
        assert list(await store.scan()) == []
