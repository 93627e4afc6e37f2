"""The contract of ``create``, ``load``, ``delete`` and ``close``: how a session comes and goes."""

from __future__ import annotations

import secrets
from dataclasses import replace
from operator import methodcaller

import pytest

from sojourn.errors import DuplicateKeyError, SessionGoneError
from sojourn.record import UNSAVED, Record, Version
from sojourn.testing.contract.bench import AnyStore, Bench, ContractClock, created, failures, promise
from sojourn.testing.records import new_record

__all__ = ["Keeping", "every_kind_of_record"]


def every_kind_of_record(clock: ContractClock) -> list[Record]:
    """Return records with what a store might mistake: empty, absent, binary, long ago, far ahead."""
    now = clock.now()
    day = 86_400_000
    everything = bytes(range(256))
    return [
        new_record(clock),
        new_record(clock, payload=b""),
        new_record(clock, payload=everything),
        new_record(clock, payload=b"\r\nEND\r\n"),
        new_record(clock, payload="žluťoučký kůň".encode()),
        new_record(clock, absolute_deadline=now + 7_200_123),
        new_record(clock, absolute_deadline=now + 100_001, idle_deadline=now + 200_002),
        new_record(clock, created_at=now - 90 * day - 1, absolute_deadline=now + 90 * day + 1),
        new_record(clock, subject=everything[:32]),
        new_record(clock, subject=everything[224:], info=b"\x00"),
        new_record(clock, info=everything),
        new_record(
            clock, version=Version(7, 7), payload=b"", subject=b"s", info=b"", absolute_deadline=now + day
        ),
    ]


class Keeping(Bench):
    """How a session comes and goes."""

    # create

    @promise
    async def test_what_was_created_is_loaded(self, store: AnyStore, clock: ContractClock) -> None:
        record = new_record(clock)
        version = await store.create(record)
        assert await store.load(record.key) == replace(record, version=version)

    @promise
    async def test_every_field_comes_back_as_it_was_created(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        records = every_kind_of_record(clock)
        stored = [await created(store, record) for record in records]
        assert [await store.load(record.key) for record in records] == stored

    @promise
    async def test_an_empty_payload_is_a_payload(self, store: AnyStore, clock: ContractClock) -> None:
        record = await created(store, new_record(clock, payload=b""))
        assert await store.load(record.key) == record
        with pytest.raises(DuplicateKeyError):
            await store.create(record)
        version = await store.update(record, record.version)
        renewed = new_record(clock, payload=b"")
        await store.move(record.key, version, renewed)
        assert await store.touch(renewed.key, renewed.idle_deadline) is True
        assert await store.delete(renewed.key) is True

    @promise
    async def test_a_big_payload_comes_back_whole(self, store: AnyStore, clock: ContractClock) -> None:
        # Compared apart from the assertion: pytest would take minutes to tell how such payloads differ.
        record = await created(store, new_record(clock, payload=secrets.token_bytes(self.big_payload)))
        comes_back = await store.load(record.key) == record
        assert comes_back
        record = replace(record, payload=secrets.token_bytes(self.big_payload))
        version = await store.update(record, record.version)
        comes_back = await store.load(record.key) == replace(record, version=version)
        assert comes_back

    @promise
    async def test_the_version_of_a_new_record_is_a_first_one(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        records = [new_record(clock), new_record(clock, version=Version(7, 7))]
        versions = [await store.create(record) for record in records]
        assert [version.counter for version in versions] == [1, 1]
        assert len({version.origin for version in versions} | {UNSAVED.origin, 7}) == 4

    @promise
    async def test_create_refuses_a_living_key_and_leaves_its_record_untouched(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await created(store, new_record(clock, subject=b"hers"))
        with pytest.raises(DuplicateKeyError) as caught:
            await store.create(new_record(clock, key=record.key, payload=b"another", subject=b"his"))
        assert caught.type is DuplicateKeyError
        assert await store.load(record.key) == record

    @promise
    async def test_create_replaces_an_expired_record(self, store: AnyStore, clock: ContractClock) -> None:
        old = await self.expired(store, clock, payload=b"old", subject=b"s", info=b"i")
        record = await created(store, new_record(clock, key=old.key))
        assert record.version.origin != old.version.origin
        assert await store.load(old.key) == record

    @promise
    async def test_create_replaces_a_deleted_record(self, store: AnyStore, clock: ContractClock) -> None:
        old = await created(store, new_record(clock, payload=b"old", subject=b"s", info=b"i"))
        await store.delete(old.key)
        record = await created(store, new_record(clock, key=old.key))
        assert record.version.origin != old.version.origin
        assert await store.load(old.key) == record

    @promise
    async def test_C2_of_racing_creates_of_one_key_exactly_one_succeeds(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds):
            key = secrets.token_hex(32)
            records = [new_record(clock, key=key, payload=b"%d" % n) for n in range(self.racers)]
            answers = await self.race(*[methodcaller("create", record) for record in records])
            assert [type(error) for error in failures(answers)] == [DuplicateKeyError] * (self.racers - 1)
            [kept] = [
                replace(record, version=answer)
                for record, answer in zip(records, answers, strict=True)
                if isinstance(answer, Version)
            ]
            assert await store.load(key) == kept

    # load

    @promise
    async def test_an_unknown_key_loads_as_none(self, store: AnyStore, clock: ContractClock) -> None:
        assert await store.load(new_record(clock).key) is None

    @promise
    async def test_an_expired_record_loads_as_none(self, store: AnyStore, clock: ContractClock) -> None:
        record = await self.expired(store, clock)
        assert await store.load(record.key) is None

    @promise
    async def test_a_deleted_record_loads_as_none(self, store: AnyStore, clock: ContractClock) -> None:
        record = await created(store, new_record(clock))
        await store.delete(record.key)
        assert await store.load(record.key) is None

    @promise
    async def test_keys_that_differ_in_one_digit_are_different_keys(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        keys = ["0" * n + "1" + "0" * (63 - n) for n in range(64)]
        records = [await created(store, new_record(clock, key=key, payload=key.encode())) for key in keys]
        assert [await store.load(key) for key in keys] == records
        assert await store.delete(keys[-1]) is True
        assert [await store.load(key) for key in keys] == [*records[:-1], None]

    # delete

    @promise
    async def test_delete_tells_whether_the_session_lived(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await created(store, new_record(clock))
        other = await created(store, new_record(clock))
        assert await store.delete(record.key) is True
        assert await store.delete(record.key) is False
        assert await store.delete(new_record(clock).key) is False
        assert await store.load(other.key) == other

    @promise
    async def test_delete_of_an_expired_record_says_it_did_not_live(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        record = await self.expired(store, clock)
        assert await store.delete(record.key) is False

    @promise
    async def test_C1_what_was_deleted_stays_dead(self, store: AnyStore, clock: ContractClock) -> None:
        record = await created(store, new_record(clock))
        assert await store.delete(record.key) is True
        assert await store.load(record.key) is None
        with pytest.raises(SessionGoneError):
            await store.update(record, record.version)
        assert await store.touch(record.key, record.idle_deadline) is False
        renewed = new_record(clock)
        with pytest.raises(SessionGoneError):
            await store.move(record.key, record.version, renewed)
        assert await store.delete(record.key) is False
        assert [await store.load(key) for key in (record.key, renewed.key)] == [None, None]

    @promise
    async def test_C1_of_racing_deletes_exactly_one_ends_the_session(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for _ in range(self.rounds):
            record = await created(store, new_record(clock))
            answers = await self.race(*[methodcaller("delete", record.key)] * self.racers)
            assert sorted(answers) == [False] * (self.racers - 1) + [True]
            assert await store.load(record.key) is None

    # close

    @promise
    async def test_closing_twice_is_fine(self, store: AnyStore, clock: ContractClock) -> None:
        await store.create(new_record(clock))
        await store.close()
        await store.close()
