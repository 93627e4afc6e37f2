"""The contract of ``update`` and ``touch``: how a session changes, and that nothing is lost or revived."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import replace
from operator import methodcaller

import pytest

from sojourn.errors import ConflictError, DuplicateKeyError, SessionGoneError, StoreError
from sojourn.record import Version
from sojourn.testing.contract.bench import AnyStore, Bench, ContractClock, created, failures, promise
from sojourn.testing.contract.keeping import every_kind_of_record
from sojourn.testing.records import new_record

__all__ = ["Changing"]


class Changing(Bench):
    """How a session changes."""

    # update

    @promise
    async def test_update_replaces_the_whole_record(self, store: AnyStore, clock: ContractClock) -> None:
        for before, after in zip(
            every_kind_of_record(clock), reversed(every_kind_of_record(clock)), strict=True
        ):
            stored = await created(store, before)
            changed = replace(after, key=before.key)
            version = await store.update(changed, stored.version)
            assert await store.load(before.key) == replace(changed, version=version)

    @promise
    async def test_update_returns_the_next_version(self, store: AnyStore, clock: ContractClock) -> None:
        record = await created(store, new_record(clock))
        for _ in range(3):
            version = await store.update(record, record.version)
            assert version == record.version.next()
            assert version.supersedes(record.version)
            record = replace(record, version=version)
            assert await store.load(record.key) == record

    @promise
    async def test_C2_update_from_an_outdated_version_is_a_conflict_and_changes_nothing(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        old = await created(store, new_record(clock, payload=b"old", subject=b"s"))
        new = replace(
            old, payload=b"new", version=await store.update(replace(old, payload=b"new"), old.version)
        )
        late = replace(old, payload=b"late", subject=None, idle_deadline=old.idle_deadline + 1)
        for version in (
            old.version,
            new.version.next(),
            Version(new.version.origin ^ 1, new.version.counter),
        ):
            with pytest.raises(ConflictError) as caught:
                await store.update(late, version)
            assert caught.type is ConflictError
            assert await store.load(old.key) == new

    @promise
    async def test_C2_a_version_of_an_earlier_session_under_the_key_never_matches(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        earlier = await created(store, new_record(clock, payload=b"earlier"))
        await store.delete(earlier.key)
        later = await created(store, new_record(clock, key=earlier.key, payload=b"later"))
        with pytest.raises(ConflictError):
            await store.update(earlier, earlier.version)
        with pytest.raises(ConflictError):
            await store.move(earlier.key, earlier.version, new_record(clock))
        assert await store.load(earlier.key) == later

    @promise
    async def test_update_never_creates(self, store: AnyStore, clock: ContractClock) -> None:
        record = new_record(clock)
        for version in (record.version, Version.first()):
            with pytest.raises(SessionGoneError) as caught:
                await store.update(record, version)
            assert caught.type is SessionGoneError
            assert await store.load(record.key) is None

    @promise
    async def test_C1_update_revives_no_deleted_session(self, store: AnyStore, clock: ContractClock) -> None:
        record = await created(store, new_record(clock))
        await store.delete(record.key)
        for version in (record.version, record.version.next()):
            with pytest.raises(SessionGoneError):
                await store.update(record, version)
            assert await store.load(record.key) is None

    @promise
    async def test_C1_update_revives_no_expired_session(self, store: AnyStore, clock: ContractClock) -> None:
        record = await self.expired(store, clock)
        extended = replace(record, idle_deadline=clock.now() + 1_800_000)
        for version in (record.version, record.version.next()):
            with pytest.raises(SessionGoneError):
                await store.update(extended, version)
            assert await store.load(record.key) is None

    @promise
    async def test_C2_of_racing_updates_from_one_version_exactly_one_succeeds(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds):
            record = await created(store, new_record(clock))
            changed = [replace(record, payload=b"%d" % n) for n in range(self.racers)]
            answers = await self.race(*[methodcaller("update", one, record.version) for one in changed])
            assert [type(error) for error in failures(answers)] == [ConflictError] * (self.racers - 1)
            [kept] = [
                replace(one, version=answer)
                for one, answer in zip(changed, answers, strict=True)
                if isinstance(answer, Version)
            ]
            assert await store.load(record.key) == kept

    @promise
    async def test_C2_no_change_is_lost_when_racing_updates_retry(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        key = (await created(store, new_record(clock, payload=b"0"))).key
        each = 5

        async def add_one(client: AnyStore) -> None:
            for _ in range(100 * self.racers):
                record = await client.load(key)
                assert record is not None
                counted = replace(record, payload=b"%d" % (int(record.payload) + 1))
                with contextlib.suppress(ConflictError):
                    await client.update(counted, record.version)
                    return
            pytest.fail("every update is a conflict")

        async def count(client: AnyStore) -> None:
            for _ in range(each):
                await add_one(client)

        await self.race(*[count] * self.racers)
        record = await store.load(key)
        assert record is not None
        assert int(record.payload) == each * self.racers

    @promise
    async def test_C1_a_racing_update_never_undoes_a_delete(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds):
            record = await created(store, new_record(clock))
            update = methodcaller("update", record, record.version)
            deleted, *answers = await self.race(methodcaller("delete", record.key), *[update] * 3)
            assert deleted is True
            assert {type(error) for error in failures(answers)} <= {SessionGoneError, ConflictError}
            assert await store.load(record.key) is None

    # touch

    @promise
    async def test_touch_sets_the_idle_deadline_and_nothing_else(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for record in every_kind_of_record(clock):
            stored = await created(store, record)
            for shift in (60_001, -30_003):
                touched = replace(stored, idle_deadline=stored.idle_deadline + shift)
                assert await store.touch(record.key, touched.idle_deadline) is True
                assert self.is_touched(await store.load(record.key), touched)

    @promise
    async def test_C2_touch_leaves_the_version_so_that_no_update_conflicts_with_it(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await created(store, new_record(clock))
        await store.touch(record.key, record.idle_deadline + 1000)
        assert await store.update(record, record.version) == record.version.next()

    @promise
    async def test_touch_never_creates(self, store: AnyStore, clock: ContractClock) -> None:
        record = new_record(clock)
        assert await store.touch(record.key, record.idle_deadline) is False
        assert await store.load(record.key) is None

    @promise
    async def test_C1_touch_revives_no_deleted_session(self, store: AnyStore, clock: ContractClock) -> None:
        record = await created(store, new_record(clock))
        await store.delete(record.key)
        assert await store.touch(record.key, record.idle_deadline) is False
        assert await store.load(record.key) is None

    @promise
    async def test_C1_touch_revives_no_expired_session(self, store: AnyStore, clock: ContractClock) -> None:
        record = await self.expired(store, clock)
        assert await store.touch(record.key, clock.now() + 1_800_000) is False
        assert await store.load(record.key) is None

    @promise
    async def test_C1_a_racing_touch_never_undoes_a_delete(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds):
            record = await created(store, new_record(clock))
            touch = methodcaller("touch", record.key, record.idle_deadline + 1000)
            deleted, *_ = await self.race(methodcaller("delete", record.key), *[touch] * 3)
            assert deleted is True
            assert await store.load(record.key) is None

    @promise
    async def test_C2_a_racing_touch_never_undoes_an_update(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds):
            record = await created(store, new_record(clock, payload=b"old"))
            changed = replace(record, payload=b"new")
            touch = methodcaller("touch", record.key, record.idle_deadline + 1000)
            version, *touched = await self.race(methodcaller("update", changed, record.version), *[touch] * 3)
            assert version == record.version.next()
            assert touched == [True] * 3
            loaded = await store.load(record.key)
            assert loaded is not None
            assert (loaded.payload, loaded.version) == (b"new", version)

    # errors

    @promise
    async def test_T12_no_error_shows_a_key_or_a_payload(self, store: AnyStore, clock: ContractClock) -> None:
        record = await created(store, new_record(clock, payload=b"canary"))
        other = await created(store, new_record(clock, payload=b"canary"))
        absent = new_record(clock, payload=b"canary")
        outdated = record.version.next()
        for expected, call in (
            (DuplicateKeyError, methodcaller("create", record)),
            (ConflictError, methodcaller("update", record, outdated)),
            (SessionGoneError, methodcaller("update", absent, outdated)),
            (ConflictError, methodcaller("move", record.key, outdated, absent)),
            (SessionGoneError, methodcaller("move", absent.key, outdated, new_record(clock))),
            (DuplicateKeyError, methodcaller("move", record.key, record.version, other)),
        ):
            with pytest.raises(StoreError) as caught:
                await call(store)
            assert caught.type is expected
            shown = "".join(traceback.format_exception(caught.value))  # with the errors it came from
            for secret in (record.key, other.key, absent.key, "canary"):
                assert secret not in shown
