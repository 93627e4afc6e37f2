"""A table in parts, one for each day: what has ended goes with its part.  PostgreSQL only.

The keys of :func:`sojourn.record.dated_key` sort by the day that they name, so the table is partitioned by
ranges of its key, and every other statement stays as it is: a key leads to one part, and is unique.  The
parts of ``sojourn_session``::

    sojourn_session_20261224   keys that name this day, on which their records end at the latest
    sojourn_session_undated    keys that name none: from before, or taken over from Django
    sojourn_session_default    keys whose day has no part, so that an insert never fails; empty as a rule

Parts are made some days before they are needed, because PostgreSQL makes none for keys that lie in the
default part already.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from sojourn.errors import ConfigurationError, StoreUnavailableError
from sojourn.record import DAY, day_of
from sojourn.stores.sql.requests import Change, Read, TakenError, Transaction
from sojourn.stores.sql.statements import POSTGRESQL_SETTINGS, Statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.stores.sql.requests import Steps

__all__ = ["Partitions"]

logger = logging.getLogger("sojourn")

_EPOCH: Final = date(1970, 1, 1)

#: Days for which there are parts beyond the one that is needed.
_AHEAD: Final = 7
#: Milliseconds that a day is over before its part goes: clocks differ.
_GRACE: Final = 3_600_000
#: How often is tried to remove a part; each time readers wait for the lock's timeout, at most.
_TRIES: Final = 5
#: The most characters of the table's name that leave room for those of its parts, and of their indexes.
_LONGEST_NAME: Final = 39

#: Making and removing a part locks the whole table for a moment.  Whoever holds it longer, such as a backup,
#: is not waited for: everybody else would have to wait behind.  Ends with its transaction.
_SOON: Final = "SET LOCAL lock_timeout = '100ms'"

#: One read: the names of the parts.
_PARTS: Final = """
    SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass('{table}')
"""

#: One read of the records of a part after a key: how many they are, how many live, and their last key.
_COUNT: Final = """
    SELECT count(*), count(*) FILTER (WHERE {expires} > ?), max(encode(lookup_key, 'hex') COLLATE "C")
    FROM (SELECT * FROM {table} WHERE lookup_key > ? ORDER BY lookup_key LIMIT ?) AS counted
"""
#: How many it counts: each read is to end within the store's timeout, however large the part is.
_COUNTED: Final = 10_000

#: Removes a part, with all that is in it.
_DROP: Final = "DROP TABLE IF EXISTS {table}"

#: Makes the part of a day.
_ADD: Final = """
    CREATE TABLE IF NOT EXISTS {part} PARTITION OF {table}
    FOR VALUES FROM ('\\x{day:012x}') TO ('\\x{next:012x}')
"""

#: What comes before PARTITION, so that it need not read the table: a promise that no key names a day, checked
#: while others go on reading and writing.
_PROMISE: Final = (
    "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}_is_undated",
    "ALTER TABLE {table} ADD CONSTRAINT {name}_is_undated CHECK (lookup_key >= '\\x00000001') NOT VALID",
)
_CHECK: Final = "ALTER TABLE {table} VALIDATE CONSTRAINT {name}_is_undated"

#: Turns the table into one with parts, itself the first of them: one transaction, in which no row moves.
_PARTITION: Final = (
    "ALTER TABLE {table} RENAME TO {name}_undated",
    "ALTER INDEX {prefix}{name}_pkey RENAME TO {name}_undated_pkey",
    "ALTER INDEX {prefix}{name}_purge_at RENAME TO {name}_undated_purge_at",
    "ALTER INDEX {prefix}{name}_subject RENAME TO {name}_undated_subject",
    "CREATE TABLE {table} (LIKE {table}_undated INCLUDING STORAGE) PARTITION BY RANGE (lookup_key)",
    "ALTER TABLE {table} ADD CONSTRAINT {name}_pkey PRIMARY KEY (lookup_key)",
    "CREATE INDEX {name}_purge_at ON {table} (purge_at)",
    "CREATE INDEX {name}_subject ON {table} (subject)",
    "ALTER TABLE {table} ATTACH PARTITION {table}_undated FOR VALUES FROM ('\\x00000001') TO (MAXVALUE)",
    "ALTER TABLE {table}_undated DROP CONSTRAINT {name}_is_undated",
    "CREATE TABLE {table}_default PARTITION OF {table} DEFAULT",
)


@dataclass(slots=True)
class Partitions:
    """The parts of one table, as one process knows them."""

    statements: Statements
    #: Whether the table has parts, as far as is known; one that has none yet is used as it is.
    are_there: bool = True
    #: Days for which there are parts, as far as is known.
    _days: frozenset[int] = frozenset()
    #: Whose turn it is to be swept.
    _turn: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be.  Raises ``ConfigurationError``."""
        if self.statements.dialect != "postgresql":
            raise ConfigurationError(
                "partition_by='day' (in Django, SOJOURN['PARTITION_BY']) needs PostgreSQL, and this is "
                f"{self.statements.dialect}: leave it out"
            )
        if len(self.statements.table) > _LONGEST_NAME:
            raise ConfigurationError(
                f"{self.statements.table!r} leaves no room for the names of its parts: use at most "
                f"{_LONGEST_NAME} characters"
            )

    def swept(self, now: int) -> list[Statements]:
        """Return the statements for each part from which the dead are removed one by one.

        Not those of days that are over soon: all that is in them goes at once.
        """
        if not self.are_there:
            return [self.statements]
        soon = now // DAY + 1
        names = ["undated", "default", *(_name(day) for day in sorted(self._days) if day > soon)]
        return [self._of(name) for name in names]

    def next_to_sweep(self, now: int) -> Statements:
        """Return one of :meth:`swept`, each time the next."""
        parts = self.swept(now)
        self._turn += 1
        return parts[self._turn % len(parts)]

    def make_room(self, key: str) -> Steps[bool]:
        """See that the day which ``key`` names has a part, and some days after it; asks once for all of them.

        What fails leaves the record to the default part, and is logged.  Return whether ``key`` may be
        stored: one that names a day may not while the table has no parts, for then it could not be given any.
        """
        day = day_of(key)
        if day is None or day in self._days:
            return True
        wanted = range(day, day + _AHEAD + 1)
        there = yield from self._there()
        if not self.are_there:
            return False
        failure: str | None = None
        for missing in sorted(set(wanted) - there):
            try:
                yield self._alone(*self._add(missing))
            except TakenError:  # made by somebody else just now, or
                failure = "some of them are in the default partition already"
            except StoreUnavailableError as error:
                failure = str(error)
                break
        there = yield from self._there()
        if day not in there and failure is not None:
            logger.warning("sessions that end on %s have no partition of their own: %s", _date(day), failure)
            there |= {day}  # said once
        self._days = there
        return True

    def drop_ended(self, now: int) -> Steps[int]:
        """Remove the parts of days that are over and in which nobody lives; return how many records went.

        Between the look and the end nobody can begin to live there: new keys name days to come, and nothing
        revives the dead.  A part that others use for longer than a moment stays until the next time.
        """
        removed = 0
        self._days = yield from self._there()
        for day in sorted(self._days):
            if (day + 1) * DAY + _GRACE > now:
                break
            part = self._of(_name(day))
            records = yield from self._count_dead(part, now)
            if records is None:
                continue  # somebody signed in again since the token was made
            for _ in range(_TRIES):
                try:
                    yield self._alone(part.written(_DROP))
                except StoreUnavailableError as error:
                    logger.info("the sessions that ended on %s are still there: %s", _date(day), error)
                else:
                    break
            self._days = yield from self._there()
            if day not in self._days:
                removed += records
        return removed

    def partition(self) -> Steps[bool]:
        """Give the table parts, unless it has some; return whether it had none.

        The table becomes the part of the keys that name no day: nothing is copied, and nobody has to wait.
        """
        if (yield from self.are_found()):
            return False
        yield self._alone(*map(self._text, _PROMISE))
        yield Change(self._text(_CHECK), ())
        yield self._alone(*map(self._text, _PARTITION), *_settings(self._of("default")))
        self.are_there = True
        return True

    def are_found(self) -> Steps[bool]:
        """Return whether the table has parts."""
        return bool((yield Read(self.statements.written(_PARTS), ())))

    # Inside

    def _count_dead(self, part: Statements, now: int) -> Steps[int | None]:
        """Return how many records a part has, or ``None`` if one of them lives."""
        dead, counted, last = 0, _COUNTED, b""
        while counted == _COUNTED:
            [(counted, living, key)] = yield Read(part.written(_COUNT), (now, last, _COUNTED))
            if living:
                return None
            dead += counted
            last = bytes.fromhex(key or "")
        return dead

    def _there(self) -> Steps[frozenset[int]]:
        """Return the days that have parts; that the table has none is said once."""
        table = self.statements.table
        names = {name for (name,) in (yield Read(self.statements.written(_PARTS), ()))}
        were_there, self.are_there = self.are_there, f"{table}_undated" in names
        if not self.are_there:
            if were_there:
                logger.warning(
                    "the table %s is not partitioned by day, so sessions are kept in it as it is: "
                    "call create_table() once, or in Django run manage.py sojourn_partition, then restart",
                    table,
                )
            return frozenset()
        dates = (name.removeprefix(f"{table}_") for name in names)
        return frozenset((date.fromisoformat(text) - _EPOCH).days for text in dates if text.isdecimal())

    def _add(self, day: int) -> Iterator[str]:
        part = self._of(_name(day))
        yield _ADD.format(part=part.name, table=self.statements.name, day=day, next=day + 1)
        yield from _settings(part)

    def _alone(self, *texts: str) -> Transaction:
        """Return the transaction that does this, or gives up soon."""
        changes = [Change(text, ()) for text in (_SOON, *texts)]
        return Transaction(tuple(changes), main=len(texts), alone=True)

    def _text(self, text: str) -> str:
        whole = self.statements
        prefix = "" if whole.schema is None else f"{whole.schema}."
        return text.format(table=whole.name, name=whole.table, prefix=prefix)

    def _of(self, name: str) -> Statements:
        """Return the statements for one part."""
        return _part(self.statements, name)


@lru_cache(maxsize=128)
def _part(whole: Statements, name: str) -> Statements:
    return replace(whole, table=f"{whole.table}_{name}")


def _name(day: int) -> str:
    return f"{_date(day):%Y%m%d}"


def _settings(part: Statements) -> Iterator[str]:
    return (text.format(table=part.name) for text in POSTGRESQL_SETTINGS)


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)
