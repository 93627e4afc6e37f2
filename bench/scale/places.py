"""Where the sessions are: servers and a file, started for the run, filled in bulk, and weighed.

Filling takes each store's own way of writing a record, many at a time.
"""

from __future__ import annotations

import re
import socket
import sqlite3
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

import redis

from sojourn.clock import SystemClock
from sojourn.record import DAY, Version, dated_key
from sojourn.stores.embedded import EmbeddedStore, sql
from sojourn.stores.memcached import MemcachedStore
from sojourn.stores.sql import SQLStore
from sojourn.stores.sql.statements import TABLE
from sojourn.stores.valkey import ValkeyStore
from sojourn.stores.valkey.scripts import CREATE
from tests.servers.mariadb import MariaDB
from tests.servers.memcached import Memcached
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import HOST
from tests.servers.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sojourn.record import Record

__all__ = ["BY_DAY", "PLACES", "Place"]

_BATCH: Final = 1_000
#: Seconds that filling may wait for a server.
_PATIENCE: Final = 600.0


class Place(Protocol):
    """A store that can be filled and weighed."""

    #: Its address, for :func:`sojourn.stores.from_url.from_url`.
    url: str
    #: What :meth:`size` counts.
    counts: str
    #: Whether keys are to name days.
    is_dated: bool

    def fill(self, records: Iterable[Record]) -> None:
        """Store all of them."""
        ...

    def size(self) -> int:
        """Return the bytes they take."""
        ...


class InPostgreSQL:
    """A table in a PostgreSQL of its default durability."""

    counts = "disk: the table and its indexes"

    def __init__(self, server: PostgreSQL, *, is_dated: bool) -> None:
        self._server = server
        self.is_dated = is_dated
        self._partition_by = "day" if is_dated else None
        self._database = f"postgresql://postgres@{server.address}/{server.database}"
        self.url = self._database + ("?partition_by=day" if is_dated else "")

    def fill(self, records: Iterable[Record]) -> None:
        """See :meth:`Place.fill`: by ``COPY``."""
        store = SQLStore(self._database, partition_by=self._partition_by, timeout=_PATIENCE)
        with closing(store), store._engine.connect() as connection:  # noqa: SLF001
            store.create_table()
            if store._partitions is not None:  # otherwise days that are over have none  # noqa: SLF001
                today = SystemClock().now() // DAY
                for day in range(today - 2, today + 16, 8):
                    store._run(store._partitions.make_room(dated_key("0" * 64, day)))  # noqa: SLF001
            driver: Any = connection.connection.driver_connection
            into, _, rest = _statement(store).partition(" VALUES ")
            into = into.removeprefix("INSERT INTO ").replace(" AS mine", "")
            with driver.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["bytea", "bytea", *["int8"] * 3, "bytea", "bytea", *["int8"] * 3])
                for row in _rows(store, records):
                    copy.write_row(row[: rest.count("%s", 0, rest.index(")"))])
        self._server.sql("VACUUM ANALYZE")  # as autovacuum does

    def size(self) -> int:
        """See :meth:`Place.size`."""
        sizes = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE "
        return int(self._server.sql(f"{sizes} '{TABLE}%'"))


class InMariaDB:
    """A table in a MariaDB of its default durability."""

    counts = "disk: the table and its indexes"
    is_dated = False

    def __init__(self, server: MariaDB) -> None:
        self._server = server
        self.url = f"mariadb://root@{server.address}/{server.database}"

    def fill(self, records: Iterable[Record]) -> None:
        """See :meth:`Place.fill`: by ``INSERT`` of many rows."""
        store = SQLStore(self.url, timeout=_PATIENCE)
        with closing(store), store._engine.connect() as connection:  # noqa: SLF001
            store.create_table()
            driver: Any = connection.connection.driver_connection
            statement, cursor = _statement(store), driver.cursor()
            for rows in _batches(_rows(store, records)):
                cursor.executemany(statement, rows)

    def size(self) -> int:
        """See :meth:`Place.size`."""
        folder = self._server.folder / "data" / self._server.database
        return sum(file.stat().st_size for file in folder.glob("*.ibd"))


class InAFile:
    """A file of the embedded store."""

    counts = "disk: the file"
    is_dated = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite://{path}"

    def fill(self, records: Iterable[Record]) -> None:
        """See :meth:`Place.fill`: by the statement of ``create``, many to a transaction."""
        with closing(EmbeddedStore(self._path)) as store:
            store.load("0" * 64)  # which makes the file
        with closing(sqlite3.connect(self._path)) as connection:
            for some in _batches(records):
                with connection:
                    connection.executemany(sql.CREATE, map(_embedded_row, some))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self) -> int:
        """See :meth:`Place.size`."""
        return self._path.stat().st_size


class InMemcached:
    """A memcached with room for everything."""

    counts = "memory: its pages and its hash table"
    is_dated = False

    def __init__(self, server: Memcached) -> None:
        self._server = server
        self.url = f"memcached://{server.address}/"

    def fill(self, records: Iterable[Record]) -> None:
        """See :meth:`Place.fill`: by the commands of ``create``, many to a round trip."""
        with (
            closing(MemcachedStore(self._server.address)) as store,
            socket.create_connection((HOST, self._server.port)) as connection,
            connection.makefile("rb") as replies,
        ):
            for some in _batches(records):
                requests = [next(store._create(record)).request for record in some]  # noqa: SLF001
                connection.sendall(b"".join(requests))
                refused = [reply for _ in some if not (reply := replies.readline()).startswith(b"HD")]
                assert not refused, refused[0]  # noqa: S101

    def size(self) -> int:
        """See :meth:`Place.size`."""
        asked = (self._server.ask(words, end=b"END\r\n") for words in (b"stats\r\n", b"stats slabs\r\n"))
        told = dict(re.findall(r"STAT (\S+) (\S+)", b"".join(asked).decode()))
        assert told["evictions"] == "0"  # noqa: S101
        return int(told["total_malloced"]) + int(told["hash_bytes"])


class InRedis:
    """A Redis or Valkey that keeps everything in memory."""

    counts = "memory: used_memory, the index of users included"
    is_dated = False

    def __init__(self, server: Valkey) -> None:
        self._server = server
        self.url = f"redis://{server.address}/0"
        self._empty = self._used()

    def fill(self, records: Iterable[Record]) -> None:
        """See :meth:`Place.fill`: by the script of ``create``, many to a round trip."""
        with (
            closing(ValkeyStore(self._server.address)) as store,
            redis.Redis(port=self._server.port) as client,
        ):
            client.script_load(CREATE.text)
            for some in _batches(records):
                pipeline = client.pipeline(transaction=False)
                for record in some:
                    pipeline.execute_command(*next(store._create(record)).words)  # noqa: SLF001
                answers = pipeline.execute()
                assert set(answers) == {1}, answers  # noqa: S101

    def size(self) -> int:
        """See :meth:`Place.size`."""
        return self._used() - self._empty

    def _used(self) -> int:
        return int(self._server.info("memory")["used_memory"])


def _statement(store: SQLStore) -> str:
    return store._statements.create  # noqa: SLF001 - there is no public way to many rows


def _rows(store: SQLStore, records: Iterable[Record]) -> Iterator[tuple[Any, ...]]:
    """Yield what the statement takes for each record, from the steps of ``create``."""
    return (next(store._create(record)).values for record in records)  # type: ignore[union-attr]  # noqa: SLF001


def _embedded_row(record: Record) -> tuple[Any, ...]:
    return (
        *(record.key, record.payload, record.created_at, record.idle_deadline, record.absolute_deadline),
        *(record.subject, record.info, *Version.first(), record.created_at),
    )


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(items)
    while some := list(islice(left, _BATCH)):
        yield some


@contextmanager
def _postgresql(_: Path, *, is_dated: bool = False) -> Iterator[Place]:
    with PostgreSQL("shared_buffers=1GB", "max_wal_size=4GB") as server:
        yield InPostgreSQL(server, is_dated=is_dated)


@contextmanager
def _mariadb(_: Path) -> Iterator[Place]:
    with MariaDB("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=1G") as server:
        yield InMariaDB(server)


@contextmanager
def _embedded(folder: Path) -> Iterator[Place]:
    folder.mkdir(mode=0o700)
    yield InAFile(folder / "sessions.sqlite3")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


@contextmanager
def _memcached(_: Path) -> Iterator[Place]:
    with Memcached("-m", "8192") as server:
        yield InMemcached(server)


@contextmanager
def _redis(folder: Path) -> Iterator[Place]:
    with Valkey(folder) as server:
        yield InRedis(server)


#: By name: what starts it, with a folder that is not there yet, and ends it.
PLACES: Final[Mapping[str, Callable[[Path], AbstractContextManager[Place]]]] = {
    "memcached": _memcached,
    "redis": _redis,
    "embedded": _embedded,
    "mariadb": _mariadb,
    "postgresql": _postgresql,
}

#: The same with a partition for each day.
BY_DAY: Final[Callable[[Path], AbstractContextManager[Place]]] = partial(_postgresql, is_dated=True)
