"""What each call of a store asks the database, and what it makes of the answers.  No I/O.

Each operation is a generator that yields requests and is sent the answers.  Whoever has a connection carries
them out: :class:`~sojourn.stores.sql.store.SQLStore` and its asynchronous twin by SQLAlchemy, the Django
engine on Django's.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sojourn.clock import SystemClock
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    DuplicateKeyError,
    SessionGoneError,
    StoreUnavailableError,
)
from sojourn.record import DAY, Record, Version
from sojourn.stores.sql.partitions import Partitions
from sojourn.stores.sql.requests import Change, Read, TakenError, Transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.clock import Clock
    from sojourn.stores.sql.requests import Steps, Values
    from sojourn.stores.sql.statements import Statements

__all__ = ["Operations"]

_DIGITS: Final = 64

#: Rows that one statement of purging removes at most: what a writer may have to wait for.
_BATCH: Final = 100

#: Rows that purging after a create removes at most.
_SWEEP: Final = 50

#: How long the row stays that a capped sign-in locks on MySQL: milliseconds.
_GATE_STAYS: Final = 86_400_000


class Operations:
    """The operations of a store, as generators of requests."""

    def __init__(
        self,
        statements: Statements,
        *,
        max_sessions_per_subject: int | None,
        purge_every: int | None,
        partition_by: str | None,
        clock: Clock | None,
    ) -> None:
        if max_sessions_per_subject is not None and max_sessions_per_subject < 1:
            raise ConfigurationError(
                f"max_sessions_per_subject={max_sessions_per_subject} admits nobody; give 1 or more or None"
            )
        if purge_every is not None and purge_every < 1:
            raise ConfigurationError(f"purge_every={purge_every} is no interval; give 1 or more or None")
        if partition_by not in (None, "day"):
            raise ConfigurationError(f"partition_by={partition_by!r} is unknown; give 'day' or None")
        self._statements = statements
        self._partitions = None if partition_by is None else Partitions(statements)
        #: The day on which sweeping looked for days that are over.
        self._looked_on = 0
        self._cap = max_sessions_per_subject
        self._purge_every = purge_every
        self._clock: Clock = SystemClock() if clock is None else clock
        self._created = 0

    @property
    def partition_by(self) -> str | None:
        """``"day"`` if sessions are kept by the day that their tokens name; the manager asks.

        ``None``, too, once a table that was to be partitioned was found not to be.
        """
        return "day" if self._partitions is not None and self._partitions.are_there else None

    def _create(self, record: Record) -> Steps[Version]:
        if not (yield from self._has_room(record)):
            raise DuplicateKeyError("create: the table is not partitioned by day; create with a new token")
        version = Version.first()
        now = self._clock.now()
        values = _row(record, version)
        try:
            hit = yield from self._write(Change(self._statements.create, self._new(values, now)), record, now)
        except TakenError:  # most likely by a dead record
            yield Change(self._statements.bury, (values[0], now))
            try:
                hit = yield from self._write(Change(self._statements.create, values), record, now)
            except TakenError:
                hit = 0
        if not hit:
            raise DuplicateKeyError("create: a living session has this key already; create with a new token")
        return version

    def _new(self, values: Values, now: int) -> Values:
        """Return what ``create`` takes: where it replaces a dead row itself, it has to know the time."""
        return values if self._statements.dialect == "mysql" else (*values, now)

    def _is_time_to_sweep(self) -> bool:
        """Whether this create is one after which dead rows are to be removed."""
        if self._purge_every is None:
            return False
        self._created += 1
        return self._created % self._purge_every == 0

    def _sweep(self) -> Steps[None]:
        """Remove some dead rows, if nothing is in the way."""
        now = self._clock.now()
        if self._partitions is not None and self._looked_on != now // DAY:
            self._looked_on = now // DAY
            with suppress(StoreUnavailableError):
                yield from self._partitions.drop_ended(now)
        statements = self._statements if self._partitions is None else self._partitions.next_to_sweep(now)
        due = self._due(now, _SWEEP)
        yield Change(statements.purge, due, may_fail=True)
        yield Change(statements.refile, due, may_fail=True)

    def _load(self, key: str) -> Steps[Record | None]:
        read = self._read(key)
        rows = yield read
        record, dead = self._found(read, rows)
        if dead is not None:
            yield dead
        return record

    def _update(self, record: Record, expected_version: Version) -> Steps[Version]:
        now = self._clock.now()
        key = _digest(record.key)
        subject, info, expires_at = record.subject, record.info or None, record.expires_at
        which = (key, *expected_version, now)
        content = (record.payload, record.created_at, record.idle_deadline, record.absolute_deadline)
        values = (*content, subject, info, expires_at, *which)
        hit = 0
        if expected_version.counter > 1:  # a sign-in comes with the first update, as a rule
            kept: Values | None = None
            if self._statements.dialect == "sqlite":
                kept = (*content, info, *which, subject, expires_at)
            elif self._cap is not None and subject is not None:
                kept = (*values, subject)
            if kept is not None:
                hit = yield Change(self._statements.update_keeping_subject, kept)
                if not hit:
                    yield from self._look(key, expected_version, now)
        if not hit:
            hit = yield from self._write(Change(self._statements.update, values), record, now)
        if not hit:
            yield from self._look(key, expected_version, now)
            raise _conflict()
        return expected_version.next()

    def _touch(self, key: str, idle_deadline: int) -> Steps[bool]:
        now = self._clock.now()
        digest = _digest(key)
        hit = yield Change(self._statements.touch, (idle_deadline, idle_deadline, digest, now))
        if not hit:
            yield Change(self._statements.bury, (digest, now), may_fail=True)
        return bool(hit)

    def _move(self, old_key: str, expected_version: Version, record: Record) -> Steps[Version]:
        if not (yield from self._has_room(record)):
            raise ConflictError("move: the table is not partitioned by day; move to a new token")
        version = Version.first()
        now = self._clock.now()
        old, values = _digest(old_key), _row(record, version)
        move = Change(self._statements.move, (*values, old, *expected_version, now))
        try:
            hit = yield from self._write(move, record, now)
        except TakenError:  # as above
            yield Change(self._statements.bury, (values[0], now))
            try:
                hit = yield from self._write(move, record, now)
            except TakenError:
                raise DuplicateKeyError(
                    "move: a living session has the new key already; move to a new token"
                ) from None
        if not hit:
            yield from self._look(old, expected_version, now)
            raise _conflict()
        return version

    def _delete(self, key: str) -> Steps[bool]:
        values = (_digest(key), self._clock.now())
        hit = yield Change(self._statements.delete, values)
        if not hit:
            yield Change(self._statements.bury, values, may_fail=True)
        return bool(hit)

    def _find_subject(self, subject: bytes) -> Steps[Sequence[Record]]:
        rows = yield Read(self._statements.find_subject, (subject,))
        now = self._clock.now()
        found = [_record(row) for row in rows]
        living = [record for record in found if now < record.expires_at]
        if len(living) < len(found):
            yield Change(self._statements.bury_subject, (subject, now), may_fail=True)
        return living

    def _delete_subject(self, subject: bytes, except_key: str | None) -> Steps[int]:
        now = self._clock.now()
        # What is dead already is not counted.
        yield Change(self._statements.bury_subject, (subject, now))
        kept = b"" if except_key is None else _digest(except_key)
        ended: int = yield Change(self._statements.delete_subject, (subject, kept))
        return ended

    def _purge(self, limit: int) -> Steps[int]:
        if self._partitions is None:
            return (yield from self._purge_rows(self._statements, limit))
        now = self._clock.now()
        removed = yield from self._partitions.drop_ended(now)
        for statements in self._partitions.swept(now):
            removed += yield from self._purge_rows(statements, limit - removed)
        return removed

    def _purge_rows(self, statements: Statements, limit: int) -> Steps[int]:
        removed = 0
        while removed < limit:
            now = self._clock.now()
            batch = min(_BATCH, limit - removed)
            dead: int = yield Change(statements.purge, self._due(now, batch))
            removed += dead
            if dead < batch:  # some of these are alive: out of the way with them
                filed: int = yield Change(statements.refile, self._due(now, _BATCH))
                if not dead and not filed:
                    break
        return removed

    def _partition(self) -> Steps[bool]:
        """Give the table parts, if it is to have some and has none; return whether that was so."""
        return False if self._partitions is None else (yield from self._partitions.partition())

    def _due(self, now: int, limit: int) -> Values:
        """Return what ``purge`` and ``refile`` take: MySQL is told which rows before it is told of what."""
        return (now, limit, now) if self._statements.dialect == "mysql" else (now, now, limit)

    def _scan(self, after: str, limit: int) -> Steps[Sequence[Record]]:
        rows = yield Read(self._statements.scan, (_digest(after) if after else b"", self._clock.now(), limit))
        return [_record(row) for row in rows]

    # Inside

    def _read(self, key: str) -> Read:
        """Return what a load asks."""
        return Read(self._statements.load, (_digest(key),))

    def _found(self, read: Read, rows: Sequence[Sequence[Any]]) -> tuple[Record | None, Change | None]:
        """Return the living record in the answer to ``read``, and how to remove one that is dead."""
        if not rows:
            return None, None
        record = _record(rows[0])
        now = self._clock.now()
        if now < record.expires_at:
            return record, None
        return None, Change(self._statements.bury, (*read.values, now), may_fail=True)

    def _has_room(self, record: Record) -> Steps[bool]:
        """See that there is a partition for the record; return whether its key may be stored."""
        return self._partitions is None or (yield from self._partitions.make_room(record.key))

    def _write(self, change: Change, record: Record, now: int) -> Steps[int]:
        """Write a record whose subject may be new to it, within the cap; return how many rows that were."""
        if self._cap is None or record.subject is None:
            hit: int = yield change
            return hit
        cap = (record.subject, _digest(record.key), now, self._cap - 1)
        changes = [change, Change(self._statements.cap_subject, cap)]
        if self._statements.gate is not None:
            changes.insert(0, Change(self._statements.gate, self._gate(record.subject, now)))
        hit = yield Transaction(tuple(changes), main=len(changes) - 2)
        return hit

    def _gate(self, subject: bytes, now: int) -> Values:
        digest = hashlib.sha256(b"sojourn sign-in\0" + subject).digest()
        if self._statements.dialect == "postgresql":
            return (int.from_bytes(digest[:8], "big", signed=True),)
        return (digest, b"", 0, 0, None, None, None, 0, 0, now + _GATE_STAYS)

    def _look(self, key: bytes, expected_version: Version, now: int) -> Steps[None]:
        """Raise what tells why a write changed nothing, unless the record is at ``expected_version``."""
        rows = yield Read(self._statements.load, (key,))
        record = _record(rows[0]) if rows else None
        if record is None or now >= record.expires_at:
            if record is not None:
                yield Change(self._statements.bury, (key, now), may_fail=True)
            raise SessionGoneError("the session has ended; nothing was written")
        if record.version != expected_version:
            raise _conflict()


def _conflict() -> ConflictError:
    return ConflictError("the session was written by somebody else since; load it and apply the change again")


def _digest(key: str) -> bytes:
    """Return ``key`` as the table holds it."""
    if len(key) != _DIGITS:
        raise ValueError("a key has 64 lower-case hexadecimal digits")
    return bytes.fromhex(key)


def _row(record: Record, version: Version) -> Values:
    """Return what ``create`` and ``move`` take first."""
    return (
        _digest(record.key),
        record.payload,
        record.created_at,
        record.idle_deadline,
        record.absolute_deadline,
        record.subject,
        record.info or None,
        *version,
        record.expires_at,
    )


def _record(row: Sequence[Any]) -> Record:
    key, payload, created_at, idle_deadline, absolute_deadline, subject, info, origin, counter = row
    # Some drivers return memory views.
    return Record(
        bytes(key).hex(),
        bytes(payload),
        created_at,
        idle_deadline,
        absolute_deadline,
        None if subject is None else bytes(subject),
        b"" if info is None else bytes(info),
        Version(origin, counter),
    )
