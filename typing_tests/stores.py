"""What a store of one's own has to look like, and what is told from its capabilities."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from sojourn import AsyncManager, Keyring, Manager
from sojourn.record import Record, Version
from sojourn.store import (
    AsyncPurge,
    AsyncScan,
    AsyncStore,
    AsyncSubjectIndex,
    Purge,
    Scan,
    Store,
    SubjectIndex,
)
from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.testing import AsyncFaultyStore, FakeClock, FaultyStore


class Strangers:
    """A store that knows nothing of Sojourn but :class:`~sojourn.record.Record`: no base class."""

    def create(self, record: Record) -> Version:
        raise NotImplementedError

    def load(self, key: str) -> Record | None:
        raise NotImplementedError

    def update(self, record: Record, expected_version: Version) -> Version:
        raise NotImplementedError

    def touch(self, key: str, idle_deadline: int) -> bool:
        raise NotImplementedError

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        raise NotImplementedError

    def delete(self, key: str) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class AsyncStrangers:
    async def create(self, record: Record) -> Version:
        raise NotImplementedError

    async def load(self, key: str) -> Record | None:
        raise NotImplementedError

    async def update(self, record: Record, expected_version: Version) -> Version:
        raise NotImplementedError

    async def touch(self, key: str, idle_deadline: int) -> bool:
        raise NotImplementedError

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        raise NotImplementedError

    async def delete(self, key: str) -> bool:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


class StrangersThatPurges(Strangers):
    def purge(self, *, limit: int = 100) -> int:
        raise NotImplementedError


class WithoutMove:
    def create(self, record: Record) -> Version:
        raise NotImplementedError

    def load(self, key: str) -> Record | None:
        raise NotImplementedError


class LoadsBytes(Strangers):
    def load(self, key: str) -> bytes | None:  # type: ignore[override]
        raise NotImplementedError


def stores() -> None:
    store: Store
    store = Strangers()
    store = MemoryStore()
    store = EmbeddedStore("sessions.sqlite3", max_sessions_per_subject=5)
    store = FaultyStore(store)
    store = WithoutMove()  # type: ignore[assignment]
    store = LoadsBytes()  # type: ignore[assignment]
    store = AsyncStrangers()  # type: ignore[assignment]

    waited_for: AsyncStore
    waited_for = AsyncStrangers()
    waited_for = AsyncMemoryStore(MemoryStore())
    waited_for = AsyncEmbeddedStore(EmbeddedStore("sessions.sqlite3"))
    waited_for = AsyncFaultyStore(waited_for)
    waited_for = Strangers()  # type: ignore[assignment]


def managers(keyring: Keyring) -> None:
    Manager(Strangers(), keyring)
    AsyncManager(AsyncStrangers(), keyring)
    Manager(AsyncStrangers(), keyring)  # type: ignore[arg-type]
    Manager(WithoutMove(), keyring)  # type: ignore[arg-type]


def capabilities(memory: MemoryStore, embedded: EmbeddedStore, plain: Strangers) -> None:
    indexes: list[SubjectIndex] = [memory, embedded]
    purges: list[Purge] = [memory, embedded, StrangersThatPurges()]
    scans: list[Scan] = [memory, embedded]
    assert_type(indexes[0].find_subject(b"digest"), Sequence[Record])
    assert_type(indexes[0].delete_subject(b"digest", except_key=None), int)
    assert_type(purges[0].purge(limit=10), int)
    assert_type(scans[0].scan(after="", limit=10), Sequence[Record])
    indexes.append(plain)  # type: ignore[arg-type]
    purges.append(plain)  # type: ignore[arg-type]
    scans.append(plain)  # type: ignore[arg-type]


def async_capabilities(memory: AsyncMemoryStore, embedded: AsyncEmbeddedStore) -> None:
    indexes: list[AsyncSubjectIndex] = [memory, embedded]
    purges: list[AsyncPurge] = [memory, embedded]
    scans: list[AsyncScan] = [memory, embedded]
    purges.append(MemoryStore())  # type: ignore[arg-type]
    del indexes, purges, scans


def told_by_isinstance(store: Store) -> int:
    if isinstance(store, Purge):
        return store.purge(limit=10)
    return store.purge(limit=10)  # type: ignore[attr-defined,no-any-return]


def records(store: Store, clock: FakeClock) -> None:
    record = Record(key="0" * 64, payload=b"", created_at=clock.now(), idle_deadline=clock.now() + 1)
    record.payload = b"other"  # type: ignore[misc]
    version = store.create(record)
    assert_type(version, Version)
    assert_type(store.load(record.key), Record | None)
    assert_type(store.update(record, version), Version)
    assert_type(store.touch(record.key, 1), bool)
    assert_type(store.move(record.key, version, record), Version)
    assert_type(store.delete(record.key), bool)
    store.load(record.key).payload  # type: ignore[union-attr]
