"""Statements on psycopg's connections under Django's: bound by the server, binary, prepared where it helps.

Django's cursors bind parameters in the client: a payload travels as hexadecimal text inside the statement,
which the server parses and plans each time.

psycopg's own cursors do better, but what they do around a prepared statement takes nearly as long as the
server takes to answer it.  So on a connection that lasts, a statement that is a transaction of its own goes
to libpq without one.  In a transaction psycopg's cursor is asked, for there a statement that is no longer
prepared (psycopg sends ``DEALLOCATE ALL`` after a rollback) would be an error, which spoils the
transaction.
"""

from __future__ import annotations

import struct
import threading
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from psycopg import Connection, Cursor
from psycopg.adapt import Transformer
from psycopg.errors import DuplicatePreparedStatement, InvalidSqlStatementName, error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus, Format, PipelineStatus, TransactionStatus

from sojourn.stores.lines import Lookout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg.pq.abc import PGresult

__all__ = ["Psycopg"]

#: Statements on one connection before any is prepared: a connection for one request is not worth it.
_WORTH_IT: Final = 5

#: A big integer.
_INTEGER: Final = struct.Struct(">q")


class Psycopg:
    """Carries out the statements of one database.

    ``frequent`` are those worth a way of their own.  Their parameters are byte strings, big integers or
    ``NULL``.
    """

    def __init__(self, options: dict[str, Any], *, frequent: Iterable[str]) -> None:
        #: Whether the project itself decides what is prepared.
        self._is_decided = bool({"server_side_binding", "prepare_threshold"} & options.keys())
        self._frequent = frozenset(frequent)
        self._known: WeakKeyDictionary[Connection[Any], _Prepared] = WeakKeyDictionary()
        self._last = _Last()

    def execute(
        self, driver: Connection[Any], statement: str, values: tuple[Any, ...], *, returns_rows: bool
    ) -> Any:
        """Return the rows of a statement, or how many it changed."""
        last = self._last
        if last.driver is not driver:
            last.driver, last.cursor = driver, Cursor(driver)
            last.cursor.format = Format.BINARY
            last.prepared = self._known.setdefault(driver, _Prepared())
        prepared = last.prepared
        if prepared.used < _WORTH_IT:
            prepared.used += 1
            if prepared.used == _WORTH_IT and not self._is_decided:
                prepared.is_possible = _may_prepare(driver)
        if prepared.is_possible and statement in self._frequent and _is_idle(driver):
            return prepared.execute(driver, statement, values, returns_rows=returns_rows)
        last.cursor.execute(statement, values)
        return last.cursor.fetchall() if returns_rows else last.cursor.rowcount


class _Prepared:
    """The statements that one connection has prepared, carried out without a cursor."""

    def __init__(self) -> None:
        #: How many statements it has had, up to ``_WORTH_IT``.
        self.used = 0
        #: Whether it may prepare any.
        self.is_possible = False
        #: What the server calls them.
        self._names: dict[str, bytes] = {}
        self._lookout: Lookout | None = None

    def execute(
        self, driver: Connection[Any], statement: str, values: tuple[Any, ...], *, returns_rows: bool
    ) -> Any:
        """Return the rows of a statement, or how many it changed.  It is a transaction of its own."""
        is_anew = statement not in self._names
        name = self._prepare(driver, statement) if is_anew else self._names[statement]
        result = self._ask(driver, name, values, looks=returns_rows)
        if result.status == ExecStatus.TUPLES_OK:
            rows = Transformer(driver)
            rows.set_pgresult(result)
            return rows.load_rows(0, result.ntuples, tuple)
        if result.status == ExecStatus.COMMAND_OK:
            return result.command_tuples
        error = error_from_result(result, encoding=driver.info.encoding)
        if not isinstance(error, InvalidSqlStatementName) or is_anew:
            raise error
        self._names.clear()  # somebody has deallocated them; nothing was done
        return self.execute(driver, statement, values, returns_rows=returns_rows)

    def _prepare(self, driver: Connection[Any], statement: str) -> bytes:
        """Have a statement prepared; return its name, which is that of no other statement anywhere."""
        first, *others = statement.split("%s")
        numbered = first + "".join(f"${number}{part}" for number, part in enumerate(others, 1))
        name = f"sojourn_{sha256(numbered.encode()).hexdigest()[:32]}"
        with suppress(DuplicatePreparedStatement):  # by another thread
            Cursor(driver).execute(f"PREPARE {name} AS {numbered}".encode(), prepare=False)
        self._names[statement] = name.encode()
        return self._names[statement]

    def _ask(self, driver: Connection[Any], name: bytes, values: tuple[Any, ...], *, looks: bool) -> PGresult:
        """Return what the server answers; ``looks``: which may be soon (see :mod:`sojourn.stores.lines`)."""
        pgconn = driver.pgconn
        parameters = [_INTEGER.pack(value) if type(value) is int else value for value in values]
        with driver.lock:
            try:
                pgconn.send_query_prepared(name, parameters, [Format.BINARY] * len(values), Format.BINARY)
                if looks and pgconn.flush() == 0:
                    if self._lookout is None:
                        self._lookout = Lookout(pgconn.socket)
                    if self._lookout.look():
                        pgconn.consume_input()
                results: list[PGresult] = driver.wait(execute(pgconn))
            except BaseException:  # the rest of an answer may still come: nobody else is to get it
                driver.close()
                raise
        return results[0]


class _Last(threading.local):
    """The connection that a thread used last, with a cursor, which takes a while to make."""

    driver: Connection[Any] | None = None
    cursor: Any  # a psycopg.Cursor, whose statements have to be literals for type checkers
    prepared: _Prepared


def _is_idle(driver: Connection[Any]) -> bool:
    """Whether a statement would be a transaction of its own, and nothing else is under way."""
    pgconn = driver.pgconn
    return (
        driver.autocommit
        and pgconn.transaction_status == TransactionStatus.IDLE
        and pgconn.pipeline_status == PipelineStatus.OFF
    )


def _may_prepare(driver: Connection[Any]) -> bool:
    """Have the server prepare statements, unless somebody may switch servers beneath the connection.

    That is so if the process that answers is another than the one that received the connection: then a pooler
    is in between, and the next statement may go to a server that has nothing prepared (pgbouncer in
    transaction mode).
    """
    [(process,)] = Cursor(driver).execute("SELECT pg_backend_pid()").fetchall()
    if process != driver.info.backend_pid:
        return False
    driver.prepare_threshold = 1
    return True
