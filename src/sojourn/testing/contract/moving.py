"""The contract of ``move``: a session gets a new key, and lives under exactly one."""

from __future__ import annotations

from dataclasses import replace
from operator import methodcaller

import pytest

from sojourn.errors import ConflictError, DuplicateKeyError, SessionGoneError
from sojourn.record import Version
from sojourn.testing.contract.bench import AnyStore, Bench, ContractClock, created, failures, promise
from sojourn.testing.contract.keeping import every_kind_of_record
from sojourn.testing.records import new_record

__all__ = ["Moving"]


class Moving(Bench):
    """How a session is renewed."""

    @promise
    async def test_T3_after_a_move_exactly_the_new_key_lives(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        old, new = await created(store, new_record(clock, payload=b"old")), new_record(clock, payload=b"new")
        version = await store.move(old.key, old.version, new)
        assert await store.load(old.key) is None
        assert await store.load(new.key) == replace(new, version=version)

    @promise
    async def test_move_writes_the_whole_record(self, store: AnyStore, clock: ContractClock) -> None:
        for before, after in zip(
            every_kind_of_record(clock), reversed(every_kind_of_record(clock)), strict=True
        ):
            old = await created(store, before)
            version = await store.move(old.key, old.version, after)
            assert await store.load(after.key) == replace(after, version=version)

    @promise
    async def test_the_version_of_a_moved_record_is_a_first_one(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        old = await created(store, new_record(clock))
        new = new_record(clock, version=Version(7, 7))
        version = await store.move(old.key, old.version, new)
        assert version.counter == 1
        assert version.origin not in (old.version.origin, 7)
        assert await store.update(new, version) == version.next()

    @promise
    async def test_T3_the_old_key_is_dead_to_every_call_after_a_move(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        old, new = await created(store, new_record(clock)), new_record(clock)
        moved = replace(new, version=await store.move(old.key, old.version, new))
        with pytest.raises(SessionGoneError):
            await store.update(old, old.version)
        with pytest.raises(SessionGoneError):
            await store.move(old.key, old.version, new_record(clock))
        assert await store.touch(old.key, old.idle_deadline) is False
        assert await store.delete(old.key) is False
        assert await store.load(old.key) is None
        assert await store.load(new.key) == moved

    @promise
    async def test_move_replaces_an_expired_record_under_the_new_key(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        dead = await self.expired(store, clock, payload=b"dead")
        old, new = await created(store, new_record(clock)), new_record(clock, key=dead.key)
        version = await store.move(old.key, old.version, new)
        assert await store.load(new.key) == replace(new, version=version)
        assert await store.load(old.key) is None

    # refused

    @promise
    async def test_move_never_creates(self, store: AnyStore, clock: ContractClock) -> None:
        old, new = new_record(clock), new_record(clock)
        with pytest.raises(SessionGoneError) as caught:
            await store.move(old.key, Version.first(), new)
        assert caught.type is SessionGoneError
        assert [await store.load(key) for key in (old.key, new.key)] == [None, None]

    @promise
    async def test_C1_move_revives_no_deleted_session(self, store: AnyStore, clock: ContractClock) -> None:
        old, new = await created(store, new_record(clock)), new_record(clock)
        await store.delete(old.key)
        with pytest.raises(SessionGoneError):
            await store.move(old.key, old.version, new)
        assert [await store.load(key) for key in (old.key, new.key)] == [None, None]

    @promise
    async def test_C1_move_revives_no_expired_session(self, store: AnyStore, clock: ContractClock) -> None:
        old = await self.expired(store, clock)
        new = new_record(clock)
        with pytest.raises(SessionGoneError):
            await store.move(old.key, old.version, new)
        assert [await store.load(key) for key in (old.key, new.key)] == [None, None]

    @promise
    async def test_C2_move_from_an_outdated_version_is_a_conflict_and_changes_nothing(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        read = await created(store, new_record(clock, subject=b"s"))
        old = replace(read, version=await store.update(read, read.version))
        for version in (
            read.version,
            old.version.next(),
            Version(old.version.origin ^ 1, old.version.counter),
        ):
            new = new_record(clock)
            with pytest.raises(ConflictError) as caught:
                await store.move(old.key, version, new)
            assert caught.type is ConflictError
            assert await store.load(old.key) == old
            assert await store.load(new.key) is None

    @promise
    async def test_move_to_a_living_key_is_refused_and_changes_nothing(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        old = await created(store, new_record(clock, payload=b"old"))
        other = await created(store, new_record(clock, payload=b"other"))
        with pytest.raises(DuplicateKeyError) as caught:
            await store.move(old.key, old.version, new_record(clock, key=other.key, payload=b"new"))
        assert caught.type is DuplicateKeyError
        assert await store.load(old.key) == old
        assert await store.load(other.key) == other

    # racing

    @promise
    async def test_T3_of_racing_moves_from_one_key_exactly_one_succeeds(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds):
            old = await created(store, new_record(clock))
            new = [new_record(clock, payload=b"%d" % n) for n in range(self.racers)]
            answers = await self.race(*[methodcaller("move", old.key, old.version, one) for one in new])
            assert len(failures(answers)) == self.racers - 1
            assert {type(error) for error in failures(answers)} <= {SessionGoneError, ConflictError}
            assert await store.load(old.key) is None
            assert [await store.load(one.key) for one in new] == [
                replace(one, version=answer) if isinstance(answer, Version) else None
                for one, answer in zip(new, answers, strict=True)
            ]

    @promise
    async def test_C2_of_racing_moves_to_one_key_exactly_one_succeeds(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds):
            target = new_record(clock).key
            old = [await created(store, new_record(clock)) for _ in range(self.racers)]
            new = [new_record(clock, key=target, payload=b"%d" % n) for n in range(self.racers)]
            answers = await self.race(
                *[methodcaller("move", a.key, a.version, b) for a, b in zip(old, new, strict=True)]
            )
            assert [type(error) for error in failures(answers)] == [DuplicateKeyError] * (self.racers - 1)
            [kept] = [
                replace(b, version=answer)
                for b, answer in zip(new, answers, strict=True)
                if isinstance(answer, Version)
            ]
            assert await store.load(target) == kept
            assert [await store.load(a.key) for a in old] == [
                None if isinstance(answer, Version) else a for a, answer in zip(old, answers, strict=True)
            ]

    @promise
    async def test_C1_of_a_racing_move_and_delete_exactly_one_wins(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        """Either the delete ended the session, then nothing lives; or it came too late and says so."""
        for _ in range(self.rounds * 2):
            old, new = await created(store, new_record(clock)), new_record(clock)
            moved, deleted = await self.race(
                methodcaller("move", old.key, old.version, new), methodcaller("delete", old.key)
            )
            assert await store.load(old.key) is None
            if isinstance(moved, Version):
                assert deleted is False
                assert await store.load(new.key) == replace(new, version=moved)
            else:
                assert type(moved) in (SessionGoneError, ConflictError)
                assert deleted is True
                assert await store.load(new.key) is None

    @promise
    async def test_C2_of_a_racing_move_and_update_exactly_one_wins(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds * 2):
            old, new = await created(store, new_record(clock, payload=b"old")), new_record(clock)
            changed = replace(old, payload=b"changed")
            moved, updated = await self.race(
                methodcaller("move", old.key, old.version, new),
                methodcaller("update", changed, old.version),
            )
            if isinstance(moved, Version):
                assert type(updated) in (SessionGoneError, ConflictError)
                assert await store.load(old.key) is None
                assert await store.load(new.key) == replace(new, version=moved)
            else:
                assert type(moved) is ConflictError
                assert await store.load(old.key) == replace(changed, version=updated)
                assert await store.load(new.key) is None
