"""Sessions in the memory of this process.

For tests, development and single-process servers: nothing outlives the process and no other process
sees it.  Records are kept as they are given: process memory holds every secret in clear anyway.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from heapq import heapify, heappop, heappush, nsmallest
from operator import attrgetter
from typing import TYPE_CHECKING
from weakref import WeakSet

from sojourn.clock import SystemClock
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    DuplicateKeyError,
    PayloadTooLargeError,
    SessionGoneError,
)
from sojourn.record import Record, Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.clock import Clock

__all__ = ["RECORD_OVERHEAD", "AsyncMemoryStore", "MemoryStore"]

#: Bytes counted for a record beside its payload and info: the objects, the key and the places in the
#: indexes.  Measured with tracemalloc on CPython 3.11: 860, of which 150 are the allocators' slack.
RECORD_OVERHEAD = 1024

#: Entries of the expiry queue that one create looks at.  Every create adds one entry, so garbage
#: shrinks four times as fast as it can grow.
_SWEEP = 4

_by_age = attrgetter("created_at", "key")


class MemoryStore:
    """A :class:`~sojourn.store.Store` in a dictionary, with subject index, purge and scan.

    Thread-safe: one lock around each operation, so each is atomic.  A forked child gets a copy of
    what the parent held and goes its own way.

    ``max_bytes`` bounds what is kept, a record counting as ``len(payload) + len(info) +
    RECORD_OVERHEAD``.  When it is reached expired records go first, then the least recently used
    living ones: those sessions end.  A record that could never fit is a ``PayloadTooLargeError``.

    ``max_sessions_per_subject`` caps how many sessions a subject may have; the one being written
    stays, the oldest ``created_at`` of the others end.  ``None``: no cap.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_sessions_per_subject: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make an empty store.  Raises ``ConfigurationError`` for a limit that leaves no room."""
        if max_bytes <= RECORD_OVERHEAD:
            msg = f"max_bytes={max_bytes} has no room for one record; give at least {RECORD_OVERHEAD + 1}"
            raise ConfigurationError(msg)
        if max_sessions_per_subject is not None and max_sessions_per_subject < 1:
            msg = f"max_sessions_per_subject={max_sessions_per_subject} admits nobody; give 1 or more or None"
            raise ConfigurationError(msg)
        self._max_bytes = max_bytes
        self._cap = max_sessions_per_subject
        self._clock: Clock = SystemClock() if clock is None else clock
        self._lock = threading.Lock()
        # What is kept, least recently used first.  All else below is derived from it.
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._bytes = 0
        self._subjects: dict[bytes, set[str]] = {}
        # A heap of (instant, key): each record has an entry no later than its expiry, some entries
        # are out of date.  Extending a deadline leaves it alone; it is corrected when it falls due.
        self._due: list[tuple[int, str]] = []
        _stores.add(self)

    @property
    def size(self) -> int:
        """Bytes in use, counted as for ``max_bytes``."""
        return self._bytes

    # Store

    def create(self, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.create`.  Also raises ``PayloadTooLargeError``."""
        self._check_size(record)
        version = Version.first()
        stored = record.at(version)
        now = self._clock.now()
        with self._lock:
            if self._living(record.key, now) is not None:
                msg = "create: a living session has this key already; create with a new token"
                raise DuplicateKeyError(msg)
            self._sweep(now, _SWEEP)
            self._put(stored, now)
        return version

    def load(self, key: str) -> Record | None:
        """See :meth:`sojourn.store.Store.load`."""
        now = self._clock.now()
        with self._lock:
            record = self._living(key, now)
            if record is not None:
                self._records.move_to_end(key)
            return record

    def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`sojourn.store.Store.update`.  Also raises ``PayloadTooLargeError``."""
        self._check_size(record)
        version = expected_version.next()
        stored = record.at(version)
        now = self._clock.now()
        with self._lock:
            self._expect(record.key, expected_version, now)
            self._put(stored, now)
        return version

    def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`sojourn.store.Store.touch`."""
        now = self._clock.now()
        with self._lock:
            record = self._living(key, now)
            if record is None:
                return False
            self._put(_with_idle_deadline(record, idle_deadline), now)
            return True

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.move`.  Also raises ``PayloadTooLargeError``."""
        self._check_size(record)
        version = Version.first()
        stored = record.at(version)
        now = self._clock.now()
        with self._lock:
            self._expect(old_key, expected_version, now)
            if self._living(record.key, now) is not None:
                msg = "move: a living session has the new key already; move to a new token"
                raise DuplicateKeyError(msg)
            self._drop(old_key)
            self._put(stored, now)
        return version

    def delete(self, key: str) -> bool:
        """See :meth:`sojourn.store.Store.delete`."""
        now = self._clock.now()
        with self._lock:
            if self._living(key, now) is None:
                return False
            self._drop(key)
            return True

    def close(self) -> None:
        """Do nothing: the records go when the store itself does."""

    # SubjectIndex

    def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`sojourn.store.SubjectIndex.find_subject`."""
        now = self._clock.now()
        with self._lock:
            return self._living_of(subject, now)

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`sojourn.store.SubjectIndex.delete_subject`."""
        now = self._clock.now()
        with self._lock:
            ended = [record.key for record in self._living_of(subject, now) if record.key != except_key]
            for key in ended:
                self._drop(key)
            return len(ended)

    # Purge and Scan

    def purge(self, *, limit: int = 100) -> int:
        """See :meth:`sojourn.store.Purge.purge`.  No need to call it: creating sessions purges."""
        now = self._clock.now()
        removed = 0
        with self._lock:
            while removed < limit and self._due and self._due[0][0] <= now:
                removed += self._sweep(now, 1)
        return removed

    def scan(self, *, after: str = "", limit: int = 100) -> Sequence[Record]:
        """See :meth:`sojourn.store.Scan.scan`."""
        now = self._clock.now()
        with self._lock:
            keys = [key for key in tuple(self._records) if key > after and self._living(key, now) is not None]
            return [self._records[key] for key in nsmallest(limit, keys)]

    def _check_size(self, record: Record) -> None:
        if _size(record) > self._max_bytes:
            msg = (
                f"a record of {len(record.payload)} bytes payload, {len(record.info)} bytes info counts as "
                f"{_size(record)} bytes, more than the whole store may hold ({self._max_bytes}); "
                "keep less in the session or raise max_bytes"
            )
            raise PayloadTooLargeError(msg)

    # Inside the lock

    def _living(self, key: str, now: int) -> Record | None:
        """Return the living record; a dead one is removed, so that it stays dead."""
        record = self._records.get(key)
        if record is None or now < record.expires_at:
            return record
        self._drop(key)
        return None

    def _living_of(self, subject: bytes, now: int) -> list[Record]:
        keys = tuple(self._subjects.get(subject, ()))
        found = [record for key in keys if (record := self._living(key, now)) is not None]
        return sorted(found, key=_by_age)

    def _expect(self, key: str, version: Version, now: int) -> None:
        record = self._living(key, now)
        if record is None:
            msg = "the session has ended; nothing was written"
            raise SessionGoneError(msg)
        if record.version != version:
            msg = "the session was written by somebody else since; load it and apply the change again"
            raise ConflictError(msg)

    def _put(self, record: Record, now: int) -> None:
        """Keep ``record`` under its key as the most recently used, then make everything fit."""
        key, subject, expires_at = record.key, record.subject, record.expires_at
        old = self._records.get(key)
        self._records[key] = record
        if old is not None:
            self._records.move_to_end(key)
            self._bytes -= _size(old)
        self._bytes += _size(record)
        if old is None or expires_at < old.expires_at:
            self._queue(expires_at, key)
        if old is None or old.subject != subject:
            if old is not None:
                self._forget_subject(old)
            if subject is not None:
                self._subjects.setdefault(subject, set()).add(key)
                if self._cap is not None:
                    self._enforce_cap(subject, key, self._cap, now)
        while self._bytes > self._max_bytes:
            if not self._sweep(now, _SWEEP):
                self._drop(next(iter(self._records)))

    def _enforce_cap(self, subject: bytes, key: str, cap: int, now: int) -> None:
        if len(self._subjects[subject]) > cap:
            others = [record for record in self._living_of(subject, now) if record.key != key]
            for record in others[: max(0, len(others) + 1 - cap)]:
                self._drop(record.key)

    def _drop(self, key: str) -> None:
        record = self._records.pop(key)
        self._bytes -= _size(record)
        self._forget_subject(record)

    def _forget_subject(self, record: Record) -> None:
        if record.subject is not None:
            keys = self._subjects[record.subject]
            keys.discard(record.key)
            if not keys:
                del self._subjects[record.subject]

    def _queue(self, expires_at: int, key: str) -> None:
        heappush(self._due, (expires_at, key))
        if len(self._due) > 2 * len(self._records) + 64:  # mostly leftovers of deleted records
            self._due = [(record.expires_at, key) for key, record in self._records.items()]
            heapify(self._due)

    def _sweep(self, now: int, entries: int) -> int:
        """Look at up to ``entries`` due entries of the expiry queue; return how many records went."""
        removed = 0
        while entries > 0 and self._due and self._due[0][0] <= now:
            entries -= 1
            _, key = heappop(self._due)
            record = self._records.get(key)
            if record is None:
                continue
            if now < record.expires_at:
                heappush(self._due, (record.expires_at, key))
            else:
                self._drop(key)
                removed += 1
        return removed

    def _after_fork_in_child(self) -> None:
        """Replace the lock; a thread that held it is not here to release it or finish its work."""
        half_done = self._lock.locked()
        self._lock = threading.Lock()
        if half_done:
            self._bytes = sum(map(_size, self._records.values()))
            self._due = [(record.expires_at, key) for key, record in self._records.items()]
            heapify(self._due)
            self._subjects = {}
            for key, record in self._records.items():
                if record.subject is not None:
                    self._subjects.setdefault(record.subject, set()).add(key)


class AsyncMemoryStore:
    """A :class:`MemoryStore` for asyncio, on the same records; ``store`` stays usable beside it.

    Starts no thread: an operation is dictionary work of some microseconds and never waits.
    """

    def __init__(self, store: MemoryStore) -> None:
        """Share the records of ``store``."""
        self.store = store

    async def create(self, record: Record) -> Version:
        """See :meth:`MemoryStore.create`."""
        return self.store.create(record)

    async def load(self, key: str) -> Record | None:
        """See :meth:`MemoryStore.load`."""
        return self.store.load(key)

    async def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`MemoryStore.update`."""
        return self.store.update(record, expected_version)

    async def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`MemoryStore.touch`."""
        return self.store.touch(key, idle_deadline)

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`MemoryStore.move`."""
        return self.store.move(old_key, expected_version, record)

    async def delete(self, key: str) -> bool:
        """See :meth:`MemoryStore.delete`."""
        return self.store.delete(key)

    async def close(self) -> None:
        """See :meth:`MemoryStore.close`."""

    async def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`MemoryStore.find_subject`."""
        return self.store.find_subject(subject)

    async def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`MemoryStore.delete_subject`."""
        return self.store.delete_subject(subject, except_key=except_key)

    async def purge(self, *, limit: int = 100) -> int:
        """See :meth:`MemoryStore.purge`."""
        return self.store.purge(limit=limit)

    async def scan(self, *, after: str = "", limit: int = 100) -> Sequence[Record]:
        """See :meth:`MemoryStore.scan`."""
        return self.store.scan(after=after, limit=limit)


def _size(record: Record) -> int:
    return len(record.payload) + len(record.info) + RECORD_OVERHEAD


def _with_idle_deadline(record: Record, idle_deadline: int) -> Record:
    return Record(
        key=record.key,
        payload=record.payload,
        created_at=record.created_at,
        idle_deadline=idle_deadline,
        absolute_deadline=record.absolute_deadline,
        subject=record.subject,
        info=record.info,
        version=record.version,
    )


_stores: WeakSet[MemoryStore] = WeakSet()


def _after_fork_in_child() -> None:
    for store in _stores:
        store._after_fork_in_child()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_after_fork_in_child)
