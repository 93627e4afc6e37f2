"""psycopg's own cursors on Django's connections: bound by the server, in binary, and prepared where it helps.

Django's cursors bind parameters in the client: a payload travels as hexadecimal text inside the statement,
which the server parses and plans each time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from psycopg import Connection, Cursor
from psycopg.pq import Format

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["Cursors"]

#: Statements on one connection before any is prepared: a connection for one request is not worth it.
_WORTH_IT: Final = 5


class _Kept(threading.local):
    """The cursor that a thread used last: to make one takes as long as a fifth of a statement."""

    driver: Connection[Any] | None = None
    cursor: Cursor[Any] | None = None


class Cursors:
    """Makes the cursors of one database."""

    def __init__(self, options: dict[str, Any]) -> None:
        #: Whether the project itself decides what is prepared.
        self._is_decided = bool({"server_side_binding", "prepare_threshold"} & options.keys())
        #: How many cursors each connection has had, up to ``_WORTH_IT``.
        self._made: WeakKeyDictionary[Connection[Any], int] = WeakKeyDictionary()
        self._kept = _Kept()

    def cursor(self, connection: BaseDatabaseWrapper) -> Cursor[Any]:
        """Return a cursor on the connection there is, good for one statement and its rows."""
        driver: Connection[Any] = connection.connection
        kept = self._kept
        if kept.driver is driver and kept.cursor is not None:
            return kept.cursor
        cursor = Cursor(driver)
        cursor.format = Format.BINARY
        made = self._made.get(driver, 0)
        if made < _WORTH_IT:
            self._made[driver] = made + 1
            if made + 1 == _WORTH_IT and not self._is_decided:
                _prepare_from_now_on(driver)
        else:
            kept.driver, kept.cursor = driver, cursor
        return cursor


def _prepare_from_now_on(driver: Connection[Any]) -> None:
    """Let the server prepare statements, unless somebody may switch servers beneath the connection.

    That is so if the process that answers is another than the one that received the connection: then a pooler
    is in between, and the next statement may go to a server that has nothing prepared (pgbouncer in
    transaction mode).
    """
    [(process,)] = Cursor(driver).execute("SELECT pg_backend_pid()").fetchall()
    if process == driver.info.backend_pid:
        driver.prepare_threshold = 1
