"""The floor: what the driver alone takes for the operations a store cannot do without.

No tokens, no sealing, no values, no Django: keys and payloads of the right length are made beforehand.
"""

from __future__ import annotations

import random
import secrets
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bench.data import SIGNED_IN
from sojourn.sealing import OVERHEAD
from sojourn.stores.embedded import sql
from sojourn.values import MessagePackCodec, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["RawDict", "RawSqlite", "payload_like"]

T = TypeVar("T")

_FOREVER: Final = 1 << 50
_SUBJECT: Final = b"s" * 32
_INFO: Final = b"i" * 120


class RawSqlite:
    """The very statements of the embedded store, prepared by ``sqlite3``, under the same settings."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._saves = _connect(path, "NORMAL")
        self._finals = _connect(path, "FULL")

    def new(self, values: Mapping[str, Any]) -> str:
        """Insert a session of these values; return its key."""
        key = secrets.token_hex(32)
        payload = payload_like(values)
        subject, info = (_SUBJECT, _INFO) if SIGNED_IN.keys() <= values.keys() else (None, b"")
        now = _now()
        row = (key, payload, now, _FOREVER, None, subject, info, secrets.randbits(63), 1, now)
        retried(lambda: self._saves.execute(sql.CREATE, row))
        return key

    def login(self, key: str) -> str:
        """Read, move to a new key, then save the user under it; return the key."""
        _, payload, created_at, *_, origin, counter = self._load(key)
        new_key, now = secrets.token_hex(32), _now()
        moved = (new_key, payload, now, _FOREVER, None, None, b"", origin, 1, key, origin, counter, now)
        retried(lambda: self._finals.execute(sql.MOVE, moved))
        larger = payload + b"p" * len(str(SIGNED_IN))
        signed_in = (larger, created_at, _FOREVER, None, _INFO, _SUBJECT, new_key, origin, 1, now)
        retried(lambda: self._saves.execute(sql.UPDATE_SUBJECT, signed_in))
        return new_key

    def read(self, key: str) -> object:
        """Read a row."""
        return self._load(key)

    def open(self, key: str) -> tuple[Any, ...]:
        """Read a row."""
        return self._load(key)

    def save(self, opened: tuple[Any, ...]) -> None:
        """Save a row that was read, at the next version."""
        key, payload, created_at, deadline, absolute, subject, info, origin, counter = opened
        values = (payload, created_at, deadline, absolute, info, key, origin, counter, _now(), subject)
        retried(lambda: self._saves.execute(sql.UPDATE, values))

    def logout(self, key: str) -> None:
        """Read a row and delete it."""
        self._load(key)
        retried(lambda: self._finals.execute(sql.DELETE, (key, _now())))

    def _load(self, key: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._saves.execute(sql.LOAD, (key,)).fetchone()
        return row


class RawDict:
    """A dictionary under a lock."""

    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def new(self, values: Mapping[str, Any]) -> str:
        """Put a session of these values; return its key."""
        key = secrets.token_hex(32)
        payload = payload_like(values)
        with self._lock:
            self._rows[key] = payload
        return key

    def login(self, key: str) -> str:
        """Move what is under ``key`` to a new key; return that."""
        new_key = secrets.token_hex(32)
        with self._lock:
            self._rows[new_key] = self._rows.pop(key)
        return new_key

    def read(self, key: str) -> object:
        """Return what is under ``key``."""
        with self._lock:
            return self._rows[key]

    def open(self, key: str) -> tuple[str, bytes]:
        """Return ``key`` and what is under it."""
        with self._lock:
            return key, self._rows[key]

    def save(self, opened: tuple[str, bytes]) -> None:
        """Put what was opened back."""
        key, payload = opened
        with self._lock:
            self._rows[key] = payload

    def logout(self, key: str) -> None:
        """Remove what is under ``key``."""
        with self._lock:
            del self._rows[key]


def retried(work: Callable[[], T]) -> T:
    """Return ``work()``, tried again after a short random sleep while another process holds the lock."""
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        time.sleep(random.random() * 0.002)


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    retried(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
    if connection.execute(sql.IS_EMPTY).fetchone()[0]:
        for statement in sql.SCHEMA:
            connection.execute(statement)
    log = f"PRAGMA wal_autocheckpoint = {sql.LOG_PAGES}"
    for setting in (f"PRAGMA synchronous = {synchronous}", log, *sql.SETTINGS):
        connection.execute(setting).fetchone()
    return connection


_payloads: dict[int, bytes] = {}


def payload_like(values: Mapping[str, Any]) -> bytes:
    """Return as many bytes as ``values`` have when sealed, made once for each."""
    payload = _payloads.get(id(values))
    if payload is None:
        codec = MessagePackCodec()
        size = OVERHEAD + len(frame({key: codec.encode(key, value) for key, value in values.items()}))
        payload = _payloads[id(values)] = b"p" * size
    return payload


def _now() -> int:
    return time.time_ns() // 1_000_000
