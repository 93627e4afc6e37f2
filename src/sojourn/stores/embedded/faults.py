"""What SQLite's errors mean: try again for a while, or tell people what to do."""

from __future__ import annotations

import random
import sqlite3
import time
from typing import TYPE_CHECKING

from sojourn.errors import StoreTimeoutError, StoreUnavailableError
from sojourn.project import TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

    from sojourn.clock import Clock

__all__ = ["Retry", "is_busy", "unavailable"]

#: Seconds of the longest sleep between two tries while somebody else holds the lock.  A writer holds
#: it for some 20 µs; SQLite's own waiting doubles up to 100 ms and starves whoever came first.
_LONGEST_SLEEP = 0.002

_BUSY = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL))

_WHAT_TO_DO = {
    sqlite3.SQLITE_FULL: "the disk is full or its quota used up: free some space; nothing else is needed",
    sqlite3.SQLITE_READONLY: "it cannot be written: check its permissions and that the disk is not read-only",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check that it and its folder exist and who may use them",
    sqlite3.SQLITE_PERM: "it cannot be opened: check that it and its folder exist and who may use them",
    sqlite3.SQLITE_IOERR: "the disk failed: look into the system log",
    sqlite3.SQLITE_CORRUPT: "it is damaged: stop the application and restore a backup, or move the file and "
    "its -wal and -shm away to begin with an empty one",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database: move it away, or give another path",
}


class Retry:
    """Short random sleeps until the deadline, counted from the first failure."""

    __slots__ = ("_clock", "_deadline", "_path", "_slept", "_timeout")

    def __init__(self, path: Path, timeout: float, clock: Clock) -> None:
        self._path = path
        self._timeout = timeout
        self._clock = clock
        self._deadline = clock.monotonic() + timeout
        self._slept = 0.0  # a clock held still must not make this endless

    def sleep(self, error: sqlite3.Error) -> None:
        """Sleep, or raise ``StoreTimeoutError`` from ``error`` if the time is over."""
        if self._slept >= self._timeout or self._clock.monotonic() >= self._deadline:
            raise StoreTimeoutError(
                f"{self._path}: another process held its lock for {self._timeout:g} s; look for one that "
                f"keeps a transaction open (a database browser, a backup tool), or raise {TIMEOUT}"
            ) from error
        pause = random.random() * _LONGEST_SLEEP  # noqa: S311 - chance, no secret
        self._slept += pause
        time.sleep(pause)


def unavailable(path: Path, error: sqlite3.Error) -> StoreUnavailableError:
    """Translate what SQLite raised; name the file and what to do."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    hint = _WHAT_TO_DO.get(code & 0xFF)
    if hint is None:
        name: str = getattr(error, "sqlite_errorname", type(error).__name__)
        hint = f"SQLite answered {name}: {error}"
    return StoreUnavailableError(f"{path}: {hint}")


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another connection is in the way, so that trying again helps."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY
