"""Connections to the file: opened when needed, shared by all threads, never carried through a fork.

Why never: SQLite remembers per process which locks it holds on a file.  A forked child inherits that
memory but not the locks, so even a connection the child opens itself takes none, and what it writes is
lost when the last other process deletes the log under it.  (Tried: SQLite acknowledged the insert and
it was gone.)  So all connections are closed before a fork and opened again when needed, on both sides.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import quote
from weakref import WeakSet

from sojourn.errors import ConfigurationError, StoreTimeoutError, StoreUnavailableError
from sojourn.project import TIMEOUT
from sojourn.stores.embedded import place, sql
from sojourn.stores.embedded.faults import Retry, is_busy, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sojourn.clock import Clock

__all__ = ["Pool"]

T = TypeVar("T")

#: The most connections at once.  One writes at a time, so more would only wait for each other.
_SIZE = 8

_opening = threading.Lock()
_pools: WeakSet[Pool] = WeakSet()


class Pool:
    """At most eight connections of one kind; the one used last is used next.

    ``synchronous`` is when a commit waits for the disk: ``NORMAL`` at checkpoints, ``FULL`` always.
    ``log_pages`` is how long the log may be when they commit, before they copy it back themselves.
    ``timeout`` is how many seconds an operation may wait for locks, ``factory`` the connections' class.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Literal["NORMAL", "FULL"],
        timeout: float,
        factory: type[sqlite3.Connection],
        clock: Clock,
        log_pages: int = sql.LOG_PAGES,
    ) -> None:
        self._path = path
        self._settings = (
            f"PRAGMA synchronous = {synchronous}",
            f"PRAGMA wal_autocheckpoint = {log_pages}",
            *sql.SETTINGS,
        )
        self._timeout = timeout
        self._factory = factory
        self._clock = clock
        self._changed = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._opened: set[sqlite3.Connection] = set()
        self._opening = 0
        # Reasons to look closer when a connection comes back: threads that wait for one, forks, closed.
        self._alert = 0
        self._forking = 0
        self._closed = False
        self._inherited: tuple[sqlite3.Connection, ...] = ()
        _pools.add(self)

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return ``work(connection)``, tried again while another process holds the lock.

        ``work`` is one statement, or one transaction that it undoes if it fails.  Raises
        ``StoreTimeoutError`` when the lock was not to be had in time, ``StoreUnavailableError`` for any
        other failure of the file.
        """
        retry: Retry | None = None
        while True:
            try:  # the usual case, without a lock or a call
                connection = self._idle.pop()
            except IndexError:
                connection = self._open_or_wait()
            try:
                answer = work(connection)
            except sqlite3.Error as error:
                if not is_busy(error):
                    self._discard(connection)
                    raise unavailable(self._path, error) from error
                self._give_back(connection)
                if retry is None:
                    retry = Retry(self._path, self._timeout, self._clock)
                retry.sleep(error)
            except BaseException:
                self._discard(connection)
                raise
            else:
                self._idle.append(connection)
                if self._alert:
                    self._settle()
                return answer

    def attempt(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return ``work(connection)``, or ``None`` if it failed for any reason; never waits for locks."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return None
        try:
            answer = work(connection)
        except sqlite3.Error as error:
            if is_busy(error):
                self._give_back(connection)
            else:
                self._discard(connection)
            return None
        except BaseException:
            self._discard(connection)
            raise
        self._give_back(connection)
        return answer

    def close(self) -> None:
        """Close the connections, those in use when they come back; later operations are refused."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._alert += 1
            self._close_idle()
            self._changed.notify_all()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        self._idle.append(connection)
        if self._alert:
            self._settle()

    def _settle(self) -> None:
        """Look closer: see what waits for the connection that just came back."""
        with self._changed:
            if self._closed or self._forking:
                self._close_idle()
            self._changed.notify_all()

    def _discard(self, connection: sqlite3.Connection) -> None:
        with self._changed:
            self._close(connection)
            self._changed.notify_all()

    def _close_idle(self) -> None:
        while self._idle:
            self._close(self._idle.pop())

    def _close(self, connection: sqlite3.Connection) -> None:
        self._opened.discard(connection)
        with suppress(sqlite3.Error):
            connection.close()

    def _open_or_wait(self) -> sqlite3.Connection:
        """Return an idle or a new connection, waiting for one to come back if there are too many."""
        with self._changed:
            self._alert += 1
            try:
                connection = self._changed.wait_for(self._idle_or_room, self._timeout)
            finally:
                self._alert -= 1
            if not connection:
                raise StoreTimeoutError(
                    f"{self._path}: all {_SIZE} connections were busy for {self._timeout:g} s; "
                    f"use fewer threads or raise {TIMEOUT}"
                )
            if isinstance(connection, sqlite3.Connection):
                return connection
            self._opening += 1
        try:
            opened = self._open()
        except BaseException:
            with self._changed:
                self._opening -= 1
                self._changed.notify_all()
            raise
        with self._changed:
            self._opening -= 1
            self._opened.add(opened)
        return opened

    def _idle_or_room(self) -> sqlite3.Connection | bool:
        """Return an idle connection, whether there is room for one more, or raise if there never will be."""
        if self._closed:
            raise StoreUnavailableError(f"{self._path}: this store was closed; make a new one")
        if self._inherited:
            raise StoreUnavailableError(
                f"{self._path}: this process was forked while another thread was using the file, which "
                "cannot be made safe; fork before the store is used, or start processes with 'spawn'"
            )
        if self._forking:
            return False
        if self._idle:
            return self._idle.pop()
        return len(self._opened) + self._opening < _SIZE

    def _open(self) -> sqlite3.Connection:
        retry = Retry(self._path, self._timeout, self._clock)
        while True:
            try:
                with _opening:  # so that no thread closes the file it created under another's locks
                    place.prepare(self._path)
                    return self._connect()
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise unavailable(self._path, error) from error
                retry.sleep(error)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=rw",
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            factory=self._factory,
        )
        try:
            _begin(connection, self._path, self._settings)
        except BaseException:
            connection.close()
            raise
        return connection

    def before_fork(self) -> None:
        """Close all connections, waiting up to ``timeout`` for those in use."""
        with self._changed:
            self._alert += 1
            self._forking += 1
            self._close_idle()
            self._changed.wait_for(lambda: not self._opened and not self._opening, self._timeout)

    def after_fork_in_parent(self) -> None:
        """Let operations go on."""
        with self._changed:
            if self._forking:
                self._alert -= 1
                self._forking -= 1
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Begin anew; a connection that was in use all the same is kept, neither used nor closed."""
        self._inherited = (*self._inherited, *self._opened)
        self._changed = threading.Condition()
        self._idle = []
        self._opened = set()
        self._opening = 0
        self._forking = 0
        self._alert = int(self._closed)


def _begin(connection: sqlite3.Connection, path: Path, settings: Sequence[str]) -> None:
    """Make sure the file is ours and current, then set how this connection works."""
    ours, schema = _marks(connection)
    if (ours, schema) == (0, 0) and connection.execute(sql.IS_EMPTY).fetchone()[0]:
        _create_schema(connection)
        ours, schema = _marks(connection)
    if ours != sql.APPLICATION_ID:
        raise ConfigurationError(f"{path} is a database of another application; give another path")
    if schema != sql.SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path} was written by another release (its schema is {schema}, this one knows "
            f"{sql.SCHEMA_VERSION}); run one release on all workers, or give another path"
        )
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise ConfigurationError(f"{path}: its file system lacks what SQLite's log needs; give another path")
    for setting in settings:
        connection.execute(setting).fetchone()


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    schema: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return application, schema


def _create_schema(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")  # two processes may both have found the file empty
    try:
        if connection.execute(sql.IS_EMPTY).fetchone()[0]:
            for statement in sql.SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _before_fork() -> None:
    for pool in tuple(_pools):
        pool.before_fork()


def _after_fork_in_parent() -> None:
    for pool in tuple(_pools):
        pool.after_fork_in_parent()


def _after_fork_in_child() -> None:
    global _opening  # noqa: PLW0603 - a thread that held it is not here to release it
    _opening = threading.Lock()
    for pool in tuple(_pools):
        pool.after_fork_in_child()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
