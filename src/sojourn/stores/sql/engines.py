"""What both SQLAlchemy stores share: engines made of an address, the table, what errors mean."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, Final

try:
    import sqlalchemy as sa
    from sqlalchemy import event
    from sqlalchemy.exc import (
        ArgumentError,
        DBAPIError,
        IntegrityError,
        NoSuchModuleError,
        SQLAlchemyError,
    )
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError
except ImportError as error:
    raise ImportError(
        "SQLStore needs SQLAlchemy 2: pip install 'sojourn[sql]', or '.[sql]' in a checkout of Sojourn"
    ) from error

from sojourn.errors import ConfigurationError, StoreTimeoutError, StoreUnavailableError
from sojourn.project import TIMEOUT
from sojourn.stores.sql.faults import LONGEST_PAUSE, TRIES, is_deadlock, is_missing_table
from sojourn.stores.sql.operations import Operations
from sojourn.stores.sql.requests import Change, Read, TakenError
from sojourn.stores.sql.statements import DIALECTS, POSTGRESQL_SETTINGS, TABLE, Statements, checked_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import URL, Connection, Dialect, Engine

    from sojourn.clock import Clock
    from sojourn.stores.sql.requests import Request, Transaction

__all__ = [
    "ASYNC_DRIVERS",
    "DRIVERS",
    "OnEngine",
    "arguments_of",
    "parsed",
    "session_table",
]

#: Drivers' clocks differ a little from ours.
_NEARLY: Final = 0.95

#: The drivers for an address that names none.
DRIVERS: Final[Mapping[str, str]] = {
    "postgresql": "psycopg",
    "mysql": "mysqldb",
    "mariadb": "mysqldb",
    "sqlite": "pysqlite",
}
ASYNC_DRIVERS: Final[Mapping[str, str]] = {
    "postgresql": "asyncpg",
    "mysql": "asyncmy",
    "mariadb": "asyncmy",
    "sqlite": "aiosqlite",
}

#: Where a driver's package has another name.
_PACKAGES: Final[Mapping[str, str]] = {"psycopg": "'psycopg[binary]'", "mysqldb": "mysqlclient"}

#: How SQLAlchemy's parameter styles are written.
_PARAMETERS: Final[Mapping[str, str]] = {
    "qmark": "?",
    "format": "%s",
    "pyformat": "%s",
    "numeric_dollar": "$",
}


def place(url: URL) -> str:
    """Return what messages call the database; no password."""
    if url.host is None:
        return f"the database {url.database}"
    return f"the database {url.database} at {url.host}" + ("" if url.port is None else f":{url.port}")


def parsed(url: str | URL, drivers: Mapping[str, str]) -> URL:
    """Return the address with a driver, which is one of ``drivers`` or of their kind.

    Raises ``ConfigurationError``.
    """
    try:
        found = sa.make_url(url)
    except (ArgumentError, ValueError):  # whose messages show the address, or what was taken for its port
        raise ConfigurationError(
            "this is no address of a database; write postgresql://user:password@host:5432/name, and special "
            "characters of the password as %40"
        ) from None
    kind, _, driver = found.drivername.partition("+")
    if kind not in drivers:
        raise ConfigurationError(
            f"sessions are not kept in {kind}; use {', '.join(f'{name}://' for name in drivers)}"
        )
    if not found.database or found.database == ":memory:":
        raise ConfigurationError(
            f"the {kind}:// address names no database; write it after the last slash, or use MemoryStore"
        )
    if "@" in (found.host or ""):  # what messages call the database would show it
        raise ConfigurationError(f"the {kind}:// address has two '@'; write %40 for the one in the password")
    found = found.set(drivername=f"{kind}+{driver or drivers[kind]}")
    is_async = drivers is ASYNC_DRIVERS
    try:
        dialect = found.get_dialect(_is_async=is_async)
        dialect.import_dbapi()
    except (NoSuchModuleError, ImportError) as error:
        name = driver or drivers[kind]
        raise ConfigurationError(
            f"the driver {name} is missing: pip install {_PACKAGES.get(name, name)}, or write "
            f"{kind}+another:// for another one that SQLAlchemy knows"
        ) from error
    if dialect.is_async != is_async:
        needed = "AsyncSQLStore" if dialect.is_async else "SQLStore"
        raise ConfigurationError(f"{driver} is a driver for {needed}; leave +{driver} out")
    return found


def arguments_of(url: URL, *, timeout: float, max_connections: int) -> dict[str, Any]:
    """Return what ``create_engine`` takes for the address.  Raises ``ConfigurationError``."""
    if timeout <= 0:
        raise ConfigurationError(f"timeout={timeout} leaves no time; give seconds, such as 5.0")
    if max_connections < 1:
        raise ConfigurationError(f"max_connections={max_connections} reaches nothing; give 1 or more")
    whole = math.ceil(timeout)
    of_mysql = {"connect_timeout": whole, "read_timeout": whole, "write_timeout": whole}
    connect_args: Mapping[str, dict[str, Any]] = {
        "psycopg": {"connect_timeout": max(2, whole)},
        "asyncpg": {"timeout": timeout, "command_timeout": timeout},
        "mysqldb": of_mysql,
        "pymysql": of_mysql,
        "asyncmy": {"connect_timeout": whole},
        "pysqlite": {"timeout": timeout},
        "aiosqlite": {"timeout": timeout},
    }
    return {
        "connect_args": connect_args.get(url.get_driver_name(), {}),
        "hide_parameters": True,
        # Each statement is its own transaction, without BEGIN, COMMIT and ROLLBACK on the wire.
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "pool_size": max_connections,
        "max_overflow": 0,
        "pool_timeout": timeout,
        "pool_use_lifo": True,
    }


def prepare(engine: Engine, timeout: float) -> None:
    """Set up the connections that ``engine`` will open."""
    if engine.dialect.name in ("mysql", "mariadb"):
        event.listen(engine, "connect", _read_committed)
    if engine.dialect.driver == "psycopg" and not engine.dialect.is_async:
        from sojourn.stores.sql.deadline import connect_with  # noqa: PLC0415 - psycopg is not always there

        event.listen(engine, "do_connect", connect_with(timeout))


def _read_committed(connection: Any, _: object) -> None:
    """Let statements lock the rows they change and no gaps between rows, where sign-ins would deadlock."""
    cursor = connection.cursor()
    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    cursor.close()


def _plan_once(connection: Any, _: object) -> None:
    """Keep the plan of a prepared statement for all partitions, instead of planning for one each time.

    (A read of a table with twenty partitions: 121 µs as PostgreSQL would have it, 83 so, 76 without any.)
    """
    cursor = connection.cursor()
    cursor.execute("SET plan_cache_mode = force_generic_plan")
    cursor.close()


def statements_for(dialect: Dialect, *, table: str, schema: str | None) -> Statements:
    """Return the statements as the engine's driver takes them.  Raises ``ConfigurationError``."""
    kind = "mysql" if dialect.name == "mariadb" else dialect.name
    for known in DIALECTS:
        if known == kind:
            parameter = _PARAMETERS[dialect.paramstyle]
            return Statements(dialect=known, parameter=parameter, table=table, schema=schema)
    raise ConfigurationError(f"sessions are not kept in {dialect.name}; use one of {', '.join(DIALECTS)}")


def session_table(metadata: sa.MetaData, *, table: str = TABLE, schema: str | None = None) -> sa.Table:
    """Return the table of sessions in ``metadata``, for a project that creates its tables by that (Alembic).

    The same as the Django app's migrations make.  Raises ``ConfigurationError`` for a name that is not safe.
    """
    if schema is not None:
        checked_name(schema)
    from sqlalchemy.dialects import mysql, oracle  # noqa: PLC0415 - only who creates tables needs them

    def binary(length: int) -> sa.types.TypeEngine[Any]:
        short = sa.LargeBinary().with_variant(mysql.VARBINARY(length), "mysql", "mariadb")
        return short.with_variant(oracle.RAW(length), "oracle")

    key = sa.LargeBinary().with_variant(mysql.BINARY(32), "mysql", "mariadb")
    made = sa.Table(
        checked_name(table),
        metadata,
        sa.Column("lookup_key", key.with_variant(oracle.RAW(32), "oracle"), primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("idle_deadline", sa.BigInteger, nullable=False),
        sa.Column("absolute_deadline", sa.BigInteger),
        sa.Column("purge_at", sa.BigInteger, nullable=False),
        sa.Column("version_origin", sa.BigInteger, nullable=False),
        sa.Column("version_counter", sa.BigInteger, nullable=False),
        sa.Column("subject", binary(64)),
        sa.Column("info", binary(256)),
        sa.Column(
            "payload", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False
        ),
        sa.Index(f"{table}_purge_at", "purge_at"),
        sa.Index(f"{table}_subject", "subject"),
        schema=schema,
    )
    for setting in POSTGRESQL_SETTINGS:
        statement: Any = sa.DDL(setting.format(table=made.fullname))  # type: ignore[no-untyped-call]
        event.listen(made, "after_create", statement.execute_if(dialect="postgresql"))
    return made


class OnEngine(Operations):
    """Operations carried out on an engine of SQLAlchemy's, in one way or the other."""

    #: Whether the engine was made for this store.
    _owns_engine: bool

    def __init__(
        self,
        engine: Engine,
        *,
        table: str,
        schema: str | None,
        timeout: float,
        max_sessions_per_subject: int | None,
        purge_every: int | None,
        partition_by: str | None,
        clock: Clock | None,
    ) -> None:
        super().__init__(
            statements_for(engine.dialect, table=table, schema=schema),
            max_sessions_per_subject=max_sessions_per_subject,
            purge_every=purge_every,
            partition_by=partition_by,
            clock=clock,
        )
        prepare(engine, timeout)
        if partition_by is not None and self._owns_engine:  # in others, other statements are planned, too
            event.listen(engine, "connect", _plan_once)
        self._where = place(engine.url)
        self._timeout = timeout
        self._closed = False

    def _carry_out(self, connection: Connection, request: Request) -> Any:
        """Send what ``request`` consists of; return the answer to it."""
        try:
            return self._send(connection, request)
        except IntegrityError:
            raise
        except BaseException:  # the rest of an answer may still come: nobody else is to get it
            connection.invalidate()
            raise

    def _send(self, connection: Connection, request: Request) -> Any:
        if isinstance(request, Read):
            return connection.exec_driver_sql(request.statement, request.values).fetchall()
        if isinstance(request, Change):
            return connection.exec_driver_sql(request.statement, request.values).rowcount
        connection.exec_driver_sql(self._statements.begin)
        try:
            hit = self._make_changes(connection, request)
            connection.exec_driver_sql("COMMIT")
        except IntegrityError:
            connection.exec_driver_sql("ROLLBACK")
            raise
        return hit

    def _make_changes(self, connection: Connection, transaction: Transaction) -> int:
        hit = 0
        for number, change in enumerate(transaction.changes):
            count = connection.exec_driver_sql(change.statement, change.values).rowcount
            if number == transaction.main:
                hit = count
                if not hit:
                    break
        return hit

    def _pause(self, error: Exception, request: Request, tried: int, began: float) -> float:
        """Return for how many seconds to wait before ``request`` is tried again, or raise what it came to.

        ``error`` is anything, for drivers raise anything when a server talks nonsense.  ``tried``: how often
        it was tried; ``began``: when, on the monotonic clock.
        """
        waited = self._clock.monotonic() - began
        if waited < self._timeout and tried < TRIES and _may_be_repeated(error, request):
            return random.uniform(0, LONGEST_PAUSE)  # noqa: S311 - jitter, not a secret
        # What SQLAlchemy's own error shows may be a key or a payload; the driver's is about the failure.
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(error, IntegrityError):
            raise TakenError from None  # its message would show the key
        raise self._failure(error, waited) from cause

    def _failure(self, error: Exception, waited: float) -> StoreUnavailableError:
        if isinstance(error, PoolTimeoutError):
            return StoreTimeoutError(
                f"all connections to {self._where} were busy for {self._timeout:g} s; raise max_connections"
            )
        if waited >= _NEARLY * self._timeout:
            return self._late()
        said = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]
        if not isinstance(error, SQLAlchemyError | OSError):
            said = "it answered nonsense; check that it is a database of this kind"
        if is_missing_table(error, self._statements.table):
            said += "; call create_table() once"
        return StoreUnavailableError(f"{self._where}: {said}")

    def _late(self) -> StoreTimeoutError:
        return StoreTimeoutError(
            f"{self._where} did not answer within {self._timeout:g} s; check that it runs and can be "
            f"reached, or raise {TIMEOUT}"
        )

    def _closed_error(self) -> StoreUnavailableError:
        return StoreUnavailableError("this store was closed; make a new one")


def _may_be_repeated(error: Exception, request: Request) -> bool:
    """Whether the request did nothing, or may be done twice: then trying again helps."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:  # the server was restarted since: a write may have been done
        return isinstance(request, Read)
    return is_deadlock(error.orig)
