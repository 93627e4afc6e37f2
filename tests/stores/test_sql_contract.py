"""The contract, kept on PostgreSQL, MariaDB and SQLite, by each of the drivers; plain and asynchronous."""

from __future__ import annotations

import random
import secrets
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sojourn.record import dated_key
from sojourn.stores.sql import AsyncSQLStore, SQLStore
from sojourn.testing import (
    AsyncStoreContract,
    PurgeContract,
    ScanContract,
    StoreContract,
    SubjectIndexContract,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sojourn.clock import Clock
    from tests.servers.mariadb import MariaDB
    from tests.servers.postgresql import PostgreSQL

TODAY = int(time.time()) // 86_400


class InATable:
    """Every test has a table of its own."""

    clients = 2
    driver: ClassVar[str]
    url: str

    @pytest.fixture(autouse=True)
    def _table_of_its_own(self) -> None:
        self.table = f"session_{secrets.token_hex(8)}"


class OnPostgreSQL(InATable):
    @pytest.fixture(autouse=True)
    def _server(self, postgresql: PostgreSQL) -> None:
        self.url = f"{self.driver}://postgres@{postgresql.address}/{postgresql.database}"


class OnMariaDB(InATable):
    @pytest.fixture(autouse=True)
    def _server(self, mariadb: MariaDB) -> None:
        self.url = f"{self.driver}://root@{mariadb.address}/{mariadb.database}"


class OnSQLite(InATable):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.url = f"{self.driver}:///{tmp_path / 'sessions.db'}"


class DatedKeys:
    """The table is partitioned, and the contract's keys name one of three days."""

    options: ClassVar[dict[str, Any]] = {"partition_by": "day"}

    @pytest.fixture(autouse=True)
    def _dated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def token_hex(_: int) -> str:
            return dated_key(secrets.token_hex(32), TODAY + random.randrange(3))

        monkeypatch.setattr("sojourn.testing.records.secrets", SimpleNamespace(token_hex=token_hex))


class Plain(StoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    __test__ = False
    url: str
    table: str
    options: ClassVar[dict[str, Any]] = {}

    def make_store(self, clock: Clock) -> SQLStore:
        store = SQLStore(self.url, table=self.table, timeout=20.0, clock=clock, **self.options)
        store.create_table()
        return store


class Asynchronous(AsyncStoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    __test__ = False
    url: str
    table: str
    options: ClassVar[dict[str, Any]] = {}

    async def make_store(self, clock: Clock) -> AsyncSQLStore:
        store = AsyncSQLStore(self.url, table=self.table, timeout=20.0, clock=clock, **self.options)
        await store.create_table()
        return store


class TestPsycopg(OnPostgreSQL, Plain):
    __test__ = True
    driver = "postgresql"


class TestAsyncPsycopg(OnPostgreSQL, Asynchronous):
    __test__ = True
    driver = "postgresql+psycopg"


class TestAsyncpg(OnPostgreSQL, Asynchronous):
    __test__ = True
    driver = "postgresql"


class TestPartitioned(DatedKeys, OnPostgreSQL, Plain):
    __test__ = True
    driver = "postgresql"


class TestAsyncPartitioned(DatedKeys, OnPostgreSQL, Asynchronous):
    __test__ = True
    driver = "postgresql"


class TestMysqlclient(OnMariaDB, Plain):
    __test__ = True
    driver = "mysql"


class TestAsyncmy(OnMariaDB, Asynchronous):
    __test__ = True
    driver = "mariadb"


class TestSQLite(OnSQLite, Plain):
    __test__ = True
    driver = "sqlite"


class TestAiosqlite(OnSQLite, Asynchronous):
    __test__ = True
    driver = "sqlite"
