"""The embedded store: every operation one statement on a SQLite file."""

from __future__ import annotations

import random
import sqlite3
import time
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sojourn.clock import SystemClock
from sojourn.errors import ConfigurationError, ConflictError, DuplicateKeyError, SessionGoneError
from sojourn.record import Record, Version
from sojourn.stores.embedded import place, sql
from sojourn.stores.embedded.pool import Pool

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from sojourn.clock import Clock

__all__ = ["EmbeddedStore"]

#: Rows one step of purging looks at, and so the most it removes in one transaction.
_WINDOW = 100

#: Seconds that purging leaves to writers between two batches.
_PAUSE = 0.005

#: What a ``move`` reports when the new key is taken.
_TAKEN = -1


class EmbeddedStore:
    """A :class:`~sojourn.store.Store` in one local SQLite file, with subject index, purge and scan.

    All threads and processes of one machine may share the file.  A killed process loses nothing that
    was acknowledged; a power failure may lose the saves of the last seconds, but no ``delete``,
    ``move`` or ``delete_subject``: those wait for the disk, and with them everything before.

    The file (0600) is made at first use, its folder (0700) too; construction opens nothing.  A folder
    that exists may be shared with a group, but not be writable for everybody.  ``ConfigurationError``,
    here or at first use, tells that a file cannot be taken: a symbolic link, ``..`` in the path,
    somebody else's, on a network file system, written by another application or another release.

    ``timeout`` (seconds): how long an operation waits for another process's lock before it raises
    ``StoreTimeoutError``.

    ``max_sessions_per_subject`` caps how many sessions a subject may have: the one being written stays,
    the oldest ``created_at`` of the others end, in the same transaction.  ``None``: no cap.

    ``purge_every``: with every that many creates the store looks at the next 100 rows and removes the
    dead ones, after the create and never waiting for a lock.  So dead rows are at most about a tenth
    of the file, and no cron job is needed.  ``None``: only :meth:`purge` removes them.

    ``factory`` is the class of the connections, for those who want to trace or to set them up.

    Safe to fork: the connections are closed before it and opened again when needed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout: float = 5.0,
        max_sessions_per_subject: int | None = None,
        purge_every: int | None = 10,
        clock: Clock | None = None,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        if timeout <= 0:
            raise ConfigurationError(f"timeout={timeout} leaves no time; give seconds, such as 5.0")
        if max_sessions_per_subject is not None and max_sessions_per_subject < 1:
            raise ConfigurationError(
                f"max_sessions_per_subject={max_sessions_per_subject} admits nobody; give 1 or more or None"
            )
        if purge_every is not None and purge_every < 1:
            raise ConfigurationError(f"purge_every={purge_every} is no interval; give 1 or more or None")
        self.path = place.local_path(path)
        self._cap = max_sessions_per_subject
        self._purge_every = purge_every
        self._clock: Clock = SystemClock() if clock is None else clock
        pool = partial(Pool, self.path, timeout=timeout, factory=factory, clock=self._clock)
        self._saves = pool(synchronous="NORMAL")
        self._finals = pool(synchronous="FULL")
        self._sweeps = pool(synchronous="NORMAL", log_pages=sql.PURGE_LOG_PAGES)
        self._created = 0
        self._swept: int | None = None  # purging goes on after the row of this id
        self._last_batch = float("-inf")
        self._close = weakref.finalize(self, _close_all, self._saves, self._finals, self._sweeps)

    # Store

    def create(self, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.create`.  One statement."""
        version = Version.first()
        now = self._clock.now()
        values = (*_values(record), *version, now)
        hit = self._write(sql.CREATE, values, record, now)
        if not hit:
            raise DuplicateKeyError("create: a living session has this key already; create with a new token")
        if self._purge_every is not None:
            self._created += 1
            if self._created % self._purge_every == 0:
                self._sweep_a_little(now)
        return version

    def load(self, key: str) -> Record | None:
        """See :meth:`sojourn.store.Store.load`.  One statement."""
        row = self._saves.run(lambda connection: connection.execute(sql.LOAD, (key,)).fetchone())
        if row is None:
            return None
        record = _record(row)
        now = self._clock.now()
        if now >= record.expires_at:
            self._bury(key, now)
            return None
        return record

    def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`sojourn.store.Store.update`.

        One statement; when it changes nothing a second tells why.  A third if the subject changes later
        than with the first update, by which a sign-in brings it.
        """
        version = expected_version.next()
        now = self._clock.now()
        content = (
            record.payload,
            record.created_at,
            record.idle_deadline,
            record.absolute_deadline,
            record.info,
        )
        row = (record.key, *expected_version, now)
        if record.subject is not None and expected_version.counter == 1:  # a sign-in, as a rule
            hit = self._write(sql.UPDATE_SUBJECT, (*content, record.subject, *row), record, now)
            if not hit:
                self._look(record.key, now)
        else:
            values = (*content, *row, record.subject)
            hit = self._saves.run(lambda connection: connection.execute(sql.UPDATE, values).rowcount)
            if not hit and self._look(record.key, now) == expected_version:
                hit = self._write(sql.UPDATE_SUBJECT, (*content, record.subject, *row), record, now)
        if not hit:
            raise _conflict()
        return version

    def _write(self, statement: str, values: tuple[Any, ...], record: Record, now: int) -> int:
        """Write a record whose subject may be new to it; return how many rows that were."""
        cap = self._cap_values(record, now)
        if cap is None:
            return self._saves.run(lambda connection: connection.execute(statement, values).rowcount)
        return self._saves.run(partial(_write_capped, statement, values, cap))

    def _cap_values(self, record: Record, now: int) -> tuple[Any, ...] | None:
        """Return what CAP_SUBJECT takes, or ``None`` if writing the record ends no other session."""
        if self._cap is None or record.subject is None:
            return None
        return (record.subject, record.key, now, self._cap - 1)

    def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`sojourn.store.Store.touch`.  One statement."""
        now = self._clock.now()
        values = (idle_deadline, key, now)
        if self._saves.run(lambda connection: connection.execute(sql.TOUCH, values).rowcount):
            return True
        self._bury(key, now)
        return False

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.move`.  One statement, so atomic; waits for the disk."""
        version = Version.first()
        now = self._clock.now()
        values = (*_values(record), *version, old_key, *expected_version, now)
        cap = self._cap_values(record, now)
        hit = self._finals.run(partial(_move, values, cap))
        if hit == _TAKEN:  # most likely by a dead record
            self._saves.run(lambda connection: connection.execute(sql.BURY, (record.key, now)))
            hit = self._finals.run(partial(_move, values, cap))
        if hit == _TAKEN:
            raise DuplicateKeyError("move: a living session has the new key already; move to a new token")
        if not hit:
            self._look(old_key, now)
            raise _conflict()
        return version

    def delete(self, key: str) -> bool:
        """See :meth:`sojourn.store.Store.delete`.  One statement; waits for the disk."""
        values = (key, self._clock.now())
        if self._finals.run(lambda connection: connection.execute(sql.DELETE, values).rowcount):
            return True
        self._finals.run(lambda connection: connection.execute(sql.BURY, values))
        return False

    def close(self) -> None:
        """Close the connections; later operations raise ``StoreUnavailableError``."""
        self._close()

    # SubjectIndex

    def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`sojourn.store.SubjectIndex.find_subject`.  One statement."""
        rows = self._saves.run(lambda connection: connection.execute(sql.FIND_SUBJECT, (subject,)).fetchall())
        now = self._clock.now()
        found = [_record(row) for row in rows]
        living = [record for record in found if now < record.expires_at]
        if len(living) < len(found):
            self._saves.attempt(lambda connection: connection.execute(sql.BURY_SUBJECT, (subject, now)))
        return living

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`sojourn.store.SubjectIndex.delete_subject`.

        One statement ends them all and waits for the disk.  The one before removes what is dead
        already, so that it is not counted.
        """
        now = self._clock.now()
        self._saves.run(lambda connection: connection.execute(sql.BURY_SUBJECT, (subject, now)))
        values = (subject, except_key)
        return self._finals.run(lambda connection: connection.execute(sql.DELETE_SUBJECT, values).rowcount)

    # Purge and Scan

    def purge(self, *, limit: int = 100) -> int:
        """See :meth:`sojourn.store.Purge.purge`.

        Goes on where the last call stopped and through the whole file at most once.  Removes 100 at a
        time and sleeps some milliseconds between batches, so that writers get their turn, and copies
        back itself what it adds to the log, so that none of them has to; no call is needed unless
        ``purge_every`` is ``None``.
        """
        now = self._clock.now()
        start = 0 if self._swept is None else self._swept
        at, removed, wrapped = start, 0, start == 0
        while removed < limit:
            window = min(_WINDOW, limit - removed)
            values = (now, at, window)
            last, seen, dead = self._sweeps.run(partial(_one, sql.SWEEP_LOOK, values))
            if dead:
                removed += self._remove_batch((at, last, now))
            at = last if seen == window else 0
            if wrapped and (at == 0 or (start and at >= start)):
                break
            wrapped = wrapped or at == 0
        self._swept = at
        return removed

    def scan(self, *, after: str = "", limit: int = 100) -> Sequence[Record]:
        """See :meth:`sojourn.store.Scan.scan`.  One statement."""
        values = (after, self._clock.now(), limit)
        rows = self._saves.run(lambda connection: connection.execute(sql.SCAN, values).fetchall())
        return [_record(row) for row in rows]

    # Beside the protocols

    def back_up(self, path: str | os.PathLike[str]) -> None:
        """Write a consistent copy to the new file ``path`` (0600) while the store is in use.

        Raises ``ConfigurationError`` if the path exists or would not do for a store either,
        ``StoreUnavailableError`` if the copy cannot be written.
        """
        target = Path(path).absolute()
        if not place.prepare(target):
            raise ConfigurationError(f"{target} exists already; give a new path for the copy")
        try:
            self._saves.run(lambda connection: connection.execute(sql.BACK_UP, (str(target),)))
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    # Inside

    def _look(self, key: str, now: int) -> Version:
        """Return the version of the living record, or raise ``SessionGoneError``."""
        row = self._saves.run(lambda connection: connection.execute(sql.LOAD, (key,)).fetchone())
        record = None if row is None else _record(row)
        if record is None or now >= record.expires_at:
            if record is not None:
                self._bury(key, now)
            raise SessionGoneError("the session has ended; nothing was written")
        return record.version

    def _bury(self, key: str, now: int) -> None:
        """Remove a record seen dead, if that is possible at once: "no session" is the answer anyway."""
        self._saves.attempt(lambda connection: connection.execute(sql.BURY, (key, now)))

    def _remove_batch(self, values: tuple[int, int, int]) -> int:
        wait = self._last_batch + _PAUSE - self._clock.monotonic()
        if wait > 0:
            time.sleep(wait)
        removed = self._sweeps.run(lambda connection: connection.execute(sql.SWEEP, values).rowcount)
        self._last_batch = self._clock.monotonic()
        return removed

    def _sweep_a_little(self, now: int) -> None:
        """Remove what is dead among the next rows; anything in the way leaves it to the next time."""
        if self._swept is None:  # somewhere, so that workers that live briefly cover the file together
            newest = self._saves.attempt(partial(_one, sql.NEWEST, ()))
            self._swept = 0 if newest is None else random.randrange(newest[0] + 1)  # noqa: S311
        at = self._swept
        look = self._saves.attempt(partial(_one, sql.SWEEP_LOOK, (now, at, _WINDOW)))
        if look is None:
            return
        last, seen, dead = look
        if dead:
            swept = (at, last, now)
            if self._saves.attempt(lambda connection: connection.execute(sql.SWEEP, swept)) is None:
                return
        self._swept = last if seen == _WINDOW else 0


def _values(record: Record) -> tuple[Any, ...]:
    """Return what CREATE and MOVE take first."""
    return (
        record.key,
        record.payload,
        record.created_at,
        record.idle_deadline,
        record.absolute_deadline,
        record.subject,
        record.info,
    )


def _record(row: tuple[Any, ...]) -> Record:
    key, payload, created_at, idle_deadline, absolute_deadline, subject, info, origin, counter = row
    return Record(
        key, payload, created_at, idle_deadline, absolute_deadline, subject, info, Version(origin, counter)
    )


def _one(statement: str, values: tuple[Any, ...], connection: sqlite3.Connection) -> tuple[Any, ...]:
    row: tuple[Any, ...] = connection.execute(statement, values).fetchone()
    return row


def _write_capped(
    statement: str, values: tuple[Any, ...], cap: tuple[Any, ...], connection: sqlite3.Connection
) -> int:
    """Write a record that has a subject and end the subject's sessions beyond the cap, atomically."""
    connection.execute(sql.BEGIN)
    try:
        hit = connection.execute(statement, values).rowcount
        if hit:
            connection.execute(sql.CAP_SUBJECT, cap)
        connection.execute(sql.COMMIT)
    except BaseException:
        connection.rollback()
        raise
    return hit


def _move(values: tuple[Any, ...], cap: tuple[Any, ...] | None, connection: sqlite3.Connection) -> int:
    try:
        if cap is None:
            return connection.execute(sql.MOVE, values).rowcount
        return _write_capped(sql.MOVE, values, cap, connection)
    except sqlite3.IntegrityError:
        return _TAKEN


def _conflict() -> ConflictError:
    return ConflictError("the session was written by somebody else since; load it and apply the change again")


def _close_all(*pools: Pool) -> None:
    for pool in pools:
        pool.close()
