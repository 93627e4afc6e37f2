"""Databases: part of ``python -m bench``, and alone: ``python -m bench.databases postgresql``.

Sojourn's ``db`` engine beside Django's, on the same connection settings, in one run, through their
``SessionStore``; likewise ``cached_db``, with memcached before PostgreSQL.  The connection stays open.
PostgreSQL and MariaDB are started for the run, with their default durability.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from django.conf import settings
from django.db import connection
from psycopg.pq import Format

from bench import operations, site, wsgi
from bench.contenders import DjangoEngine
from bench.data import SIGNED_IN
from bench.networked import AsInRequests, RawMemcached, servers
from bench.raw import payload_like
from sojourn.stores.sql.statements import Statements
from tests.servers import postgresql
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.contenders import Contender
    from bench.operations import Medians

__all__ = [
    "CACHED",
    "CONNECTING",
    "DJANGOS",
    "DJANGOS_CACHED",
    "OURS",
    "RAW",
    "RAW_GET",
    "measure",
]

DJANGOS = "Django db (PostgreSQL)"
OURS = "Sojourn db (PostgreSQL)"
RAW = "raw psycopg"
DJANGOS_CACHED = "Django cached_db"
CACHED = "Sojourn cached_db"
RAW_GET = "raw pymemcache, beside them"
#: What comes after a name where each request connects anew to the database, as it does by Django's default.
CONNECTING = ", connecting"

_FOREVER: Final = 1 << 50


def measure(*, rounds: int, page_rounds: int) -> tuple[Medians, Medians]:
    """Return what operations and pages take on PostgreSQL; nothing where it is not installed.

    In a process of its own, whose ``DATABASES`` has it in place of SQLite.
    """
    if postgresql.program("postgres") is None:
        return {}, {}
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (rounds, page_rounds))


def _measure(rounds: int, page_rounds: int) -> tuple[Medians, Medians]:
    with ExitStack() as stack:
        everybody = _contenders("postgresql", stack)
        measured = operations.measure(everybody, rounds=rounds)
        pages = wsgi.measure(everybody, rounds=page_rounds)
        connection.close()
        connection.settings_dict["CONN_MAX_AGE"] = 0
        connecting = wsgi.measure({name: everybody[name] for name in (DJANGOS, OURS)}, rounds=page_rounds)
    for page, by_size in pages.items():
        for size, taken in by_size.items():
            del taken[wsgi.NONE]  # measured beside the others, too
            for name in (DJANGOS, OURS):
                taken[name + CONNECTING] = connecting[page][size][name]
    return measured, pages


def _contenders(database: str, stack: ExitStack) -> dict[str, Contender]:
    """Return everybody on a server started now, with what belongs to it closed by ``stack``."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sojourn-bench-")))
    caches = stack.enter_context(servers(folder))
    site.set_up(folder, caches=caches, database=_started(database, stack))
    stack.callback(connection.close)
    found: dict[str, Contender] = {
        DJANGOS: DjangoEngine("django.contrib.sessions.backends.db"),
        OURS: DjangoEngine("sojourn.django.backends.db"),
    }
    if database != "postgresql":
        return found
    found[RAW] = RawPostgreSQL(stack)
    if "memcached" in caches:
        settings.SESSION_CACHE_ALIAS = "memcached"
        engine = "django.contrib.sessions.backends.cached_db"
        found[DJANGOS_CACHED] = AsInRequests(engine, alias="memcached")
        found[CACHED] = DjangoEngine("sojourn.django.backends.cached_db")
        found[RAW_GET] = RawMemcached(caches["memcached"]["LOCATION"])
    return found


def _started(name: str, stack: ExitStack) -> dict[str, Any] | None:
    """Return the entry of ``DATABASES`` for a server started now; ``None``: the benchmark's SQLite file."""
    if name == "sqlite":
        return None
    server = stack.enter_context(PostgreSQL() if name == "postgresql" else MariaDB())
    engine, user = ("postgresql", "postgres") if name == "postgresql" else ("mysql", "root")
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "HOST": "127.0.0.1",
        "PORT": server.port,
        "USER": user,
        "NAME": server.database,
        "CONN_MAX_AGE": None,
    }


class RawPostgreSQL:
    """The very statements of the store, prepared by psycopg, in binary, each a transaction of its own."""

    def __init__(self, stack: ExitStack) -> None:
        where = connection.settings_dict
        self._connection = stack.enter_context(
            psycopg.connect(
                host=where["HOST"],
                port=where["PORT"],
                user=where["USER"],
                dbname=where["NAME"],
                autocommit=True,
                prepare_threshold=0,
            )
        )
        self._cursor = self._connection.cursor()
        self._cursor.format = Format.BINARY
        self._statements = Statements(dialect="postgresql", parameter="%s")

    def new(self, values: Mapping[str, Any]) -> str:
        """Insert a session of these values; return its key."""
        key, now = secrets.token_bytes(32), _now()
        row = self._row(key, payload_like(values), is_signed_in=SIGNED_IN.keys() <= values.keys())
        self._cursor.execute(self._statements.create, (*row, now))
        return key.hex()

    def login(self, key: str) -> str:
        """Read, move to a new key, then save the user under it; return the key."""
        _, payload, *_, origin, counter = self._load(key)
        new_key = secrets.token_bytes(32)
        moved = self._row(new_key, payload)
        old = (bytes.fromhex(key), origin, counter, _now())
        self._cursor.execute(self._statements.move, (*moved, *old))
        larger = self._row(new_key, payload + b"p" * len(str(SIGNED_IN)), is_signed_in=True)
        self._save(larger, moved[7], moved[8])
        return new_key.hex()

    def read(self, key: str) -> object:
        """Read a row."""
        return self._load(key)

    def open(self, key: str) -> tuple[Any, ...]:
        """Read a row."""
        return self._load(key)

    def save(self, opened: tuple[Any, ...]) -> None:
        """Save a row that was read, at the next version."""
        self._save(opened, opened[7], opened[8])

    def logout(self, key: str) -> None:
        """Read a row and delete it."""
        self._load(key)
        self._cursor.execute(self._statements.delete, (bytes.fromhex(key), _now()))

    def _load(self, key: str) -> Any:
        return self._cursor.execute(self._statements.load, (bytes.fromhex(key),)).fetchone()

    def _save(self, row: tuple[Any, ...], origin: int, counter: int) -> None:
        key, payload, created_at, deadline, absolute, subject, info, *_ = row
        values = (payload, created_at, deadline, absolute, subject, info, deadline)
        self._cursor.execute(self._statements.update, (*values, key, origin, counter, _now()))

    def _row(self, key: bytes, payload: bytes, *, is_signed_in: bool = False) -> tuple[Any, ...]:
        subject, info = (b"s" * 32, b"i" * 120) if is_signed_in else (None, None)
        origin = secrets.randbits(63)
        return (key, payload, _now(), _FOREVER, None, subject, info, origin, 1, _FOREVER)


def _now() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.databases", description=__doc__)
    parser.add_argument("database", choices=("postgresql", "mariadb", "sqlite"))
    parser.add_argument("--quick", action="store_true", help="a rough look")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        everybody = _contenders(arguments.database, stack)
        medians = operations.measure(everybody, rounds=5 if arguments.quick else 40)
    print(f"{arguments.database}, medians in µs, and how many times Django's time is ours")
    for operation, by_size in medians.items():
        for size, taken in by_size.items():
            print(f"  {operation}, {size} B")
            for name, microseconds in taken.items():
                print(f"    {name.removesuffix(' (PostgreSQL)'):32}{microseconds:10.0f}")
            print(f"    {'db: Django ÷ Sojourn':32}{taken[DJANGOS] / taken[OURS]:10.1f}")


if __name__ == "__main__":
    main()
