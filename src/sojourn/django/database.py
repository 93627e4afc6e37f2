"""The SQL store on Django's own connection.

The statements and what they mean are those of :mod:`sojourn.stores.sql`; here they go through the connection
that the request has anyway, in whatever transaction that is in.  What that takes:

* No savepoints.  A duplicate does not spoil a transaction, because ``create`` is no plain insert.
* Nothing that merely tidies up is done inside a transaction of the application's.
* The driver is called directly: Django's cursor costs as much again as a prepared statement.  Only when
  somebody listens (``DEBUG``, ``assertNumQueries``, ``execute_wrapper``) do statements go through it.
* A connection that does not answer in time is cut off and closed, and a transaction on it is lost with it.
"""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError
from django.db import IntegrityError, connections, transaction
from django.db.transaction import TransactionManagementError

from sojourn.django.deadline import connect, watch_of
from sojourn.errors import ConfigurationError, StoreTimeoutError, StoreUnavailableError
from sojourn.stores.sql.faults import LONGEST_PAUSE, TRIES, is_deadlock, is_missing_table
from sojourn.stores.sql.operations import Operations
from sojourn.stores.sql.partitions import Partitions
from sojourn.stores.sql.requests import Change, Read, TakenError, Transaction
from sojourn.stores.sql.statements import DIALECTS, Statements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from sojourn.clock import Clock
    from sojourn.django.psycopg3 import Psycopg
    from sojourn.record import Record, Version
    from sojourn.stores.sql.requests import Request, Steps
    from sojourn.stores.sql.watchdog import Watch

__all__ = ["AsyncDatabaseStore", "DatabaseStore"]

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseStore(Operations):
    """A :class:`~sojourn.store.Store` in the database ``alias`` of ``DATABASES``, with index, purge and scan.

    The table is that of the model :class:`sojourn.django.models.Session`.

    Inside ``transaction.atomic()`` an operation is part of that transaction, and undone with it.  Raises
    ``TransactionManagementError`` if that has to be rolled back already.

    ``timeout``: seconds a statement, or a transaction of the store's own, may take, with connecting and
    trying again.  After that the connection is closed, also if it is in the application's transaction, which
    has failed then.  SQLite has a ``timeout`` of its own in ``OPTIONS``.

    ``max_sessions_per_subject``, ``purge_every``, ``partition_by``: as for
    :class:`sojourn.stores.sql.SQLStore`.
    """

    def __init__(
        self,
        alias: str,
        *,
        timeout: float = 5.0,
        max_sessions_per_subject: int | None = None,
        purge_every: int | None = 10,
        partition_by: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        vendor = connections[alias].vendor
        for dialect in DIALECTS:
            if dialect == vendor:
                break
        else:
            raise ConfigurationError(
                f"sessions are not kept in {vendor}: name another database, SOJOURN = {{'DATABASE': ...}}, "
                f"of {', '.join(DIALECTS)}"
            )
        super().__init__(
            Statements(dialect=dialect, parameter="?" if dialect == "sqlite" else "%s"),
            max_sessions_per_subject=max_sessions_per_subject,
            purge_every=purge_every,
            partition_by=partition_by,
            clock=clock,
        )
        self.alias = alias
        self._timeout = timeout
        self._psycopg = _psycopg(connections[alias], self._statements)

    # Store

    def create(self, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.create`."""
        version = self._run(self._create(record))
        if self._is_time_to_sweep():
            if connections[self.alias].in_atomic_block:
                transaction.on_commit(self._sweep_now, using=self.alias)
            else:
                self._sweep_now()
        return version

    def load(self, key: str) -> Record | None:
        """See :meth:`sojourn.store.Store.load`."""
        # What nearly every request does takes no steps: they would cost a twentieth of it.
        connection, read = connections[self.alias], self._read(key)
        record, dead = self._found(read, self._answer(connection, read, self._timeout))
        if dead is not None:
            self._answer(connection, dead, self._timeout)
        return record

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
        """Do nothing: connections are Django's."""

    # SubjectIndex

    def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`sojourn.store.SubjectIndex.find_subject`."""
        return self._run(self._find_subject(subject))

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`sojourn.store.SubjectIndex.delete_subject`.  Two statements."""
        return self._run(self._delete_subject(subject, except_key))

    # Purge and Scan

    def purge(self, *, limit: int = 100) -> int:
        """See :meth:`sojourn.store.Purge.purge`.  Removes 100 at a time."""
        return self._run(self._purge(limit))

    def scan(self, *, after: str = "", limit: int = 100) -> Sequence[Record]:
        """See :meth:`sojourn.store.Scan.scan`."""
        return self._run(self._scan(after, limit))

    # Beside the protocols

    def partition(self) -> bool:
        """Partition the table by day, unless it is; return whether it was not.

        Stores without ``partition_by`` go on with it as before.  Raises ``ConfigurationError`` if there is no
        table, or no PostgreSQL.  Has no deadline: a large table takes its time.
        """
        return self._run(Partitions(self._statements).partition(), timeout=math.inf)

    def is_partitioned(self) -> bool:
        """Whether the table is, whatever the store was made with.  One read."""
        return self._run(Partitions(self._statements).are_found())

    # Inside

    def _sweep_now(self) -> None:
        self._run(self._sweep())

    def _run(self, steps: Steps[T], timeout: float | None = None) -> T:
        connection = connections[self.alias]
        seconds = self._timeout if timeout is None else timeout
        answer: Any = None
        error: TakenError | StoreUnavailableError | None = None
        try:
            while True:
                request = steps.send(answer) if error is None else steps.throw(error)
                error = None
                try:
                    answer = self._answer(connection, request, seconds)
                except (TakenError, StoreUnavailableError) as raised:
                    error = raised
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _answer(self, connection: BaseDatabaseWrapper, request: Request, seconds: float) -> Any:
        may_fail = isinstance(request, Change) and request.may_fail
        is_alone = isinstance(request, Transaction) and request.alone
        if (may_fail or is_alone) and connection.in_atomic_block:
            return 0
        watch, tried = watch_of(connection), 0
        watch.begin(connection.connection, seconds)
        try:
            while True:
                try:
                    self._make_ready(connection, request, watch)
                    return self._carry_out(connection, request)
                except TransactionManagementError:
                    raise
                except IntegrityError:
                    raise TakenError from None  # its message would show the key
                except DatabaseError as error:
                    if is_late := watch.is_over:
                        connection.close()  # who is served by it next connects anew
                    if may_fail:
                        return 0
                    if is_late:
                        raise self._late(seconds) from error
                    tried += 1
                    if not self._may_be_repeated(connection, request, error, tried):
                        raise self._failure(error) from error
                    time.sleep(random.uniform(0, LONGEST_PAUSE))  # noqa: S311 - jitter, not a secret
        finally:
            watch.end()

    def _make_ready(self, connection: BaseDatabaseWrapper, request: Request, watch: Watch) -> None:
        """Have a connection, in time."""
        if (
            isinstance(request, Transaction) or _is_listened_to(connection)
        ) and not connection.in_atomic_block:
            connection.close_if_health_check_failed()  # before Django does, and connects without a deadline
        if connection.connection is None and connection.vendor != "sqlite":
            connect(connection, watch)

    def _may_be_repeated(
        self, connection: BaseDatabaseWrapper, request: Request, error: DatabaseError, tried: int
    ) -> bool:
        """Whether the request did nothing, or may be done twice, and no transaction is undone with it."""
        if connection.in_atomic_block or tried >= TRIES:
            return False
        if is_deadlock(error.__cause__):
            return True
        if not isinstance(request, Read) or tried > 1:
            return False
        connection.close_if_unusable_or_obsolete()  # lost: the server was restarted since
        return connection.connection is None

    def _late(self, seconds: float) -> StoreTimeoutError:
        return StoreTimeoutError(
            f"the database {self.alias!r} did not answer within {seconds:g} s; check that it runs and can be "
            "reached, or raise SOJOURN['TIMEOUT']"
        )

    def _failure(self, error: DatabaseError) -> StoreUnavailableError | ConfigurationError:
        if is_missing_table(error, self._statements.table):
            return ConfigurationError(
                f"the database {self.alias!r} has no table {self._statements.table}: run manage.py migrate"
                + ("" if self.alias == "default" else f" --database {self.alias}")
            )
        said = str(error).partition("\n")[0]
        return StoreUnavailableError(f"the database {self.alias!r}: {said}")

    def _carry_out(self, connection: BaseDatabaseWrapper, request: Request) -> Any:
        if isinstance(request, Read):
            return self._execute(connection, request.statement, request.values, returns_rows=True)
        if isinstance(request, Change):
            return self._execute(connection, request.statement, request.values)
        if connection.in_atomic_block:
            return self._make_changes(connection, request)
        with transaction.atomic(using=self.alias):
            return self._make_changes(connection, request)

    def _make_changes(self, connection: BaseDatabaseWrapper, wanted: Transaction) -> int:
        hit = 0
        for number, change in enumerate(wanted.changes):
            count: int = self._execute(connection, change.statement, change.values)
            if number == wanted.main:
                hit = count
                if not hit:
                    break
        return hit

    def _execute(
        self,
        connection: BaseDatabaseWrapper,
        statement: str,
        values: tuple[Any, ...],
        *,
        returns_rows: bool = False,
    ) -> Any:
        """Return the rows of a statement, or how many it changed."""
        if _is_listened_to(connection):
            with connection.cursor() as listened:
                listened.execute(statement.replace("?", "%s"), values)
                return listened.fetchall() if returns_rows else listened.rowcount
        connection.ensure_connection()
        connection.validate_no_broken_transaction()
        with connection.wrap_database_errors:
            if self._psycopg is not None:
                return self._psycopg.execute(
                    connection.connection, statement, values, returns_rows=returns_rows
                )
            cursor: Any = connection.connection.cursor()
            cursor.execute(statement, values)
            return cursor.fetchall() if returns_rows else cursor.rowcount


def _is_listened_to(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.queries_logged or connection.execute_wrappers)


def _psycopg(connection: BaseDatabaseWrapper, statements: Statements) -> Psycopg | None:
    """Return what is faster than the driver's cursors, if that is psycopg 3."""
    if connection.vendor != "postgresql":
        return None
    from django.db.backends.postgresql.psycopg_any import is_psycopg3  # noqa: PLC0415 - needs the driver

    if not is_psycopg3:
        return None
    from sojourn.django.psycopg3 import Psycopg  # noqa: PLC0415 - likewise

    frequent = (
        statements.load,
        statements.create,
        statements.update,
        statements.update_keeping_subject,
        statements.touch,
        statements.move,
        statements.delete,
    )
    return Psycopg(connection.settings_dict.get("OPTIONS", {}), frequent=frequent)


class AsyncDatabaseStore:
    """A :class:`DatabaseStore` for asyncio; ``store`` stays usable beside it.

    Django's connections belong to threads, so operations run in the thread that the request's other database
    work runs in (``sync_to_async``), in its transaction if there is one.  A cancelled operation is done or
    not done: one that has begun is carried through unobserved.
    """

    def __init__(self, store: DatabaseStore) -> None:
        self.store = store

    async def create(self, record: Record) -> Version:
        """See :meth:`DatabaseStore.create`."""
        return await _in_thread(self.store.create, record)

    async def load(self, key: str) -> Record | None:
        """See :meth:`DatabaseStore.load`."""
        return await _in_thread(self.store.load, key)

    async def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`DatabaseStore.update`."""
        return await _in_thread(self.store.update, record, expected_version)

    async def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`DatabaseStore.touch`."""
        return await _in_thread(self.store.touch, key, idle_deadline)

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`DatabaseStore.move`."""
        return await _in_thread(self.store.move, old_key, expected_version, record)

    async def delete(self, key: str) -> bool:
        """See :meth:`DatabaseStore.delete`."""
        return await _in_thread(self.store.delete, key)

    async def close(self) -> None:
        """Do nothing: connections are Django's."""

    async def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`DatabaseStore.find_subject`."""
        return await _in_thread(self.store.find_subject, subject)

    async def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`DatabaseStore.delete_subject`."""
        return await _in_thread(self.store.delete_subject, subject, except_key=except_key)

    async def purge(self, *, limit: int = 100) -> int:
        """See :meth:`DatabaseStore.purge`."""
        return await _in_thread(self.store.purge, limit=limit)

    async def scan(self, *, after: str = "", limit: int = 100) -> Sequence[Record]:
        """See :meth:`DatabaseStore.scan`."""
        return await _in_thread(self.store.scan, after=after, limit=limit)


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await sync_to_async(call, thread_sensitive=True)(*args, **kwargs)
