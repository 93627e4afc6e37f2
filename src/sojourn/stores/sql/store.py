"""The SQL store for threads."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from sojourn.errors import StoreUnavailableError
from sojourn.stores.sql.engines import DRIVERS, OnEngine, arguments_of, parsed, session_table
from sojourn.stores.sql.requests import Change, TakenError
from sojourn.stores.sql.statements import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import URL, Engine

    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.stores.sql.requests import Request, Steps

__all__ = ["SQLStore"]

T = TypeVar("T")

_stores: WeakSet[SQLStore] = WeakSet()


class SQLStore(OnEngine):
    """A :class:`~sojourn.store.Store` in PostgreSQL, MariaDB, MySQL or SQLite, with index, purge and scan.

    ``database``: an address, such as ``postgresql://user:password@host:5432/name`` or ``mysql://…``, to which
    psycopg 3 and mysqlclient are taken unless it names another driver (``mysql+pymysql://``); or an engine of
    SQLAlchemy's, then without ``timeout`` and ``max_connections``, which are the engine's business.

    ``table`` and ``schema`` name the table; :meth:`create_table` makes it.  The Django app's migrations make
    the same one, and both may use it at once.

    ``timeout``: seconds an operation may take, with waiting for a connection.

    ``max_connections``: the most connections at once; they stay open.

    ``max_sessions_per_subject`` caps how many sessions a subject may have: the one being written stays, the
    oldest ``created_at`` of the others end, in the same transaction.  ``None``: no cap.

    ``purge_every``: after every that many creates the store removes up to 50 dead rows, so that no cron job
    is needed.  ``None``: only :meth:`purge` removes them.

    ``partition_by="day"``, on PostgreSQL: the sessions that end on one day at the latest lie in one
    partition, which goes as a whole when the day is over; no row is deleted one by one.  Tokens then name
    that day, so the manager needs an absolute timeout.  The database's role has to be the table's owner.  A
    table that is not partitioned (see :meth:`create_table`) is used as it is, and the log says so.

    Each operation is one statement, so atomic and one round trip; what takes more is said at each.  A
    statement that a deadlock undid is tried again, and a read whose connection was lost.

    Thread-safe.  Safe to fork: the child opens connections of its own.
    """

    def __init__(
        self,
        database: str | URL | Engine,
        *,
        table: str = TABLE,
        schema: str | None = None,
        timeout: float = 5.0,
        max_connections: int = 10,
        max_sessions_per_subject: int | None = None,
        purge_every: int | None = 10,
        partition_by: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._owns_engine = not isinstance(database, sa.Engine)
        if isinstance(database, sa.Engine):
            engine: Engine = database.execution_options(isolation_level="AUTOCOMMIT")
        else:
            url = parsed(database, DRIVERS)
            engine = sa.create_engine(
                url, **arguments_of(url, timeout=timeout, max_connections=max_connections)
            )
        super().__init__(
            engine,
            table=table,
            schema=schema,
            timeout=timeout,
            max_sessions_per_subject=max_sessions_per_subject,
            purge_every=purge_every,
            partition_by=partition_by,
            clock=clock,
        )
        self._engine = engine
        self._table = session_table(sa.MetaData(), table=table, schema=schema)
        _stores.add(self)

    def create_table(self) -> None:
        """Make the table, unless there is one; with ``partition_by``, partition the one there is.

        Raises ``StoreUnavailableError``.
        """
        try:
            self._table.create(self._engine, checkfirst=True)
        except SQLAlchemyError as error:
            raise self._failure(error, 0.0) from error
        self._run(self._partition())

    # Store

    def create(self, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.create`.  On MySQL one over a dead record takes three statements."""
        version = self._run(self._create(record))
        if self._is_time_to_sweep():
            self._run(self._sweep())
        return version

    def load(self, key: str) -> Record | None:
        """See :meth:`sojourn.store.Store.load`."""
        return self._run(self._load(key))

    def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`sojourn.store.Store.update`.  When it changes nothing a second statement tells why."""
        return self._run(self._update(record, expected_version))

    def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`sojourn.store.Store.touch`."""
        return self._run(self._touch(key, idle_deadline))

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.move`.  When it changes nothing a second statement tells why."""
        return self._run(self._move(old_key, expected_version, record))

    def delete(self, key: str) -> bool:
        """See :meth:`sojourn.store.Store.delete`."""
        return self._run(self._delete(key))

    def close(self) -> None:
        """Close the connections, but those of an engine that was given; later operations are refused."""
        self._closed = True
        if self._owns_engine:
            self._engine.dispose()

    # SubjectIndex

    def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`sojourn.store.SubjectIndex.find_subject`."""
        return self._run(self._find_subject(subject))

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`sojourn.store.SubjectIndex.delete_subject`.

        One statement ends them all; the one before removes what is dead already, so that it is not counted.
        """
        return self._run(self._delete_subject(subject, except_key))

    # Purge and Scan

    def purge(self, *, limit: int = 100) -> int:
        """See :meth:`sojourn.store.Purge.purge`.

        Removes 100 at a time, each time as a transaction of its own, and passes over rows that others lock.
        With ``partition_by``, first the partitions of days that are over, whole, whatever the limit is.
        """
        return self._run(self._purge(limit))

    def scan(self, *, after: str = "", limit: int = 100) -> Sequence[Record]:
        """See :meth:`sojourn.store.Scan.scan`."""
        return self._run(self._scan(after, limit))

    # Inside

    def _run(self, steps: Steps[T]) -> T:
        answer: Any = None
        error: TakenError | StoreUnavailableError | None = None
        try:
            while True:
                request = steps.send(answer) if error is None else steps.throw(error)
                error = None
                try:
                    answer = self._answer(request)
                except StoreUnavailableError as raised:
                    answer = 0
                    if not (isinstance(request, Change) and request.may_fail):
                        error = raised
                except TakenError as raised:
                    error = raised
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _answer(self, request: Request) -> Any:
        if self._closed:
            raise self._closed_error()
        began, tried = self._clock.monotonic(), 0
        while True:
            try:
                with self._engine.connect() as connection:
                    return self._carry_out(connection, request)
            except Exception as error:  # noqa: BLE001 - whatever it is, the database did not answer
                tried += 1
                time.sleep(self._pause(error, request, tried, began))

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent."""
        if self._owns_engine:
            self._engine.dispose(close=False)


def _after_fork_in_child() -> None:
    for store in tuple(_stores):
        store.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
