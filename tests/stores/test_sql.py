"""What the SQL stores promise beyond the contract: round trips, caps, purging, names, what is kept."""

from __future__ import annotations

import secrets
import threading
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from sojourn.clock import SystemClock
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    DuplicateKeyError,
    SessionGoneError,
    StoreUnavailableError,
)
from sojourn.keyring import Keyring
from sojourn.manager import Manager
from sojourn.stores.sql import AsyncSQLStore, SQLStore
from sojourn.stores.sql.engines import session_table
from sojourn.testing import FakeClock
from sojourn.testing.records import new_record
from tests.stores.asking import refuses, saves_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sojourn.record import Record
    from tests.servers.mariadb import MariaDB
    from tests.servers.postgresql import PostgreSQL
    from tests.servers.proxy import Proxy

CLOCK = SystemClock()
SECRET = "a secret of the server's, long enough to be taken for one"
DAY = 86_400_000
#: Seconds a busy machine may take.
PATIENCE = 20.0


@dataclass(frozen=True)
class Database:
    """A database, and a table in it for one test."""

    url: str
    table: str

    def store(self, **settings: Any) -> SQLStore:
        store = SQLStore(self.url, table=self.table, **({"timeout": PATIENCE} | settings))
        store.create_table()
        return store

    def ask(self, statement: str) -> list[Any]:
        """Return the rows of a query; ``{table}`` is the table."""
        engine = sa.create_engine(SQLStore(self.url)._engine.url)
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(statement.format(table=self.table)).fetchall()
        engine.dispose()
        return list(rows)


SERVERS = [pytest.param(name, marks=pytest.mark.asks_for(name)) for name in ("postgresql", "mariadb")]


@pytest.fixture(params=[*SERVERS, "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    table = f"session_{secrets.token_hex(8)}"
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path / 'sessions.db'}", table)
    return Database(address(request.getfixturevalue(request.param)), table)


def address(server: PostgreSQL | MariaDB, port: int | None = None) -> str:
    scheme, user = ("mysql", "root") if hasattr(server, "_socket") else ("postgresql", "postgres")
    return f"{scheme}://{user}@127.0.0.1:{port or server.port}/{server.database}"


@pytest.fixture
def store(database: Database) -> Iterator[SQLStore]:
    with closing(database.store()) as made:
        yield made


def created(store: SQLStore, clock: Any = CLOCK, **fields: Any) -> Record:
    record = new_record(clock, **fields)
    return replace(record, version=store.create(record))


# round trips


OPERATIONS: dict[str, Callable[[SQLStore, Record], object]] = {
    "load": lambda store, record: store.load(record.key),
    "load of nothing": lambda store, _: store.load(new_record(CLOCK).key),
    "create": lambda store, _: store.create(new_record(CLOCK, subject=b"hers")),
    "update": lambda store, record: store.update(record, record.version),
    "touch": lambda store, record: store.touch(record.key, record.idle_deadline + 1),
    "move": lambda store, record: store.move(record.key, record.version, new_record(CLOCK)),
    "delete": lambda store, record: store.delete(record.key),
    "find": lambda store, _: store.find_subject(b"hers"),
    "scan": lambda store, _: store.scan(),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_is_one_round_trip(
    request: pytest.FixtureRequest, server: str, operation: str
) -> None:
    proxy: Proxy = request.getfixturevalue(f"{server}_proxy")
    url = address(request.getfixturevalue(server), proxy.port)
    with closing(Database(url, f"session_{secrets.token_hex(8)}").store(purge_every=None)) as store:
        for _ in range(6):  # psycopg prepares a statement when it comes for the sixth time
            record = created(store, subject=b"hers")
            OPERATIONS[operation](store, record)
        record = created(store, subject=b"hers")
        before = proxy.round_trips
        OPERATIONS[operation](store, record)
        assert proxy.round_trips == before + 1


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_each_operation_of_asyncpg_is_one_round_trip(
    postgresql: PostgreSQL, postgresql_proxy: Proxy, operation: str
) -> None:
    table = f"session_{secrets.token_hex(8)}"
    store: Any = AsyncSQLStore(
        address(postgresql, postgresql_proxy.port), table=table, timeout=PATIENCE, purge_every=None
    )
    await store.create_table()
    for _ in range(2):  # asyncpg prepares a statement when it comes for the first time
        record = new_record(CLOCK, subject=b"hers")
        record = replace(record, version=await store.create(record))
        before = postgresql_proxy.round_trips
        call: Any = OPERATIONS[operation](store, record)
        await call
    assert postgresql_proxy.round_trips == before + 1
    await store.close()


# the cap


def test_L7_fifty_racing_sign_ins_never_leave_more_sessions_than_the_cap(database: Database) -> None:
    with closing(database.store(max_sessions_per_subject=5, max_connections=8)) as store:
        seen: list[int] = []

        def sign_in() -> None:
            anonymous = created(store)
            store.update(replace(anonymous, subject=b"hers"), anonymous.version)
            seen.append(len(store.find_subject(b"hers")))

        threads = [threading.Thread(target=sign_in) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(3 * PATIENCE)
        assert len(seen) == 50
        assert max(seen) <= 5  # at no moment more
        assert len(store.find_subject(b"hers")) == 5


def test_L7_the_oldest_of_the_others_ends_however_the_subject_comes(database: Database) -> None:
    with closing(database.store(max_sessions_per_subject=2)) as store:
        now = CLOCK.now()
        oldest = created(store, subject=b"hers", created_at=now - 9)
        newer = created(store, subject=b"hers", created_at=now - 5)
        store.create(new_record(CLOCK, subject=b"his"))
        first = created(store, subject=b"hers", created_at=now - 20)  # older, but the one being written
        assert {found.key for found in store.find_subject(b"hers")} == {newer.key, first.key}
        assert store.load(oldest.key) is None
        anonymous = created(store, created_at=now)
        version = store.update(anonymous, anonymous.version)
        store.update(replace(anonymous, subject=b"hers"), version)  # not with its first update
        assert {found.key for found in store.find_subject(b"hers")} == {newer.key, anonymous.key}
        other, new = created(store), new_record(CLOCK, subject=b"hers", created_at=now + 1)
        store.move(other.key, other.version, new)
        assert {found.key for found in store.find_subject(b"hers")} == {anonymous.key, new.key}
        assert len(store.find_subject(b"his")) == 1


def test_L7_a_save_that_keeps_the_subject_ends_nobody_and_a_refused_one_neither(database: Database) -> None:
    with closing(database.store()) as free, closing(database.store(max_sessions_per_subject=1)) as capped:
        hers = [created(free, subject=b"hers") for _ in range(3)]
        version = free.update(hers[0], hers[0].version)
        version = capped.update(replace(hers[0], payload=b"new"), version)
        assert len(capped.find_subject(b"hers")) == 3
        outdated = replace(new_record(CLOCK), subject=b"hers")
        for error, call in (
            (DuplicateKeyError, partial(capped.create, hers[1])),
            (ConflictError, partial(capped.update, hers[1], hers[1].version.next())),
            (SessionGoneError, partial(capped.update, outdated, hers[1].version)),
            (ConflictError, partial(capped.move, hers[1].key, version, outdated)),
            (DuplicateKeyError, partial(capped.move, hers[1].key, hers[1].version, hers[2])),
        ):
            with pytest.raises(error):
                call()
            assert len(capped.find_subject(b"hers")) == 3


# purging


def test_D6_a_session_touched_again_and_again_is_filed_anew_and_purged_when_it_is_dead(
    database: Database,
) -> None:
    clock = FakeClock()
    with closing(database.store(clock=clock, purge_every=None)) as store:
        touched, idle = created(store, clock), created(store, clock)
        for _ in range(4):
            clock.advance(1200)
            assert store.touch(touched.key, clock.now() + 1_800_000)
        filed = database.ask("SELECT purge_at FROM {table} ORDER BY purge_at")
        assert filed == [(idle.idle_deadline,), (touched.idle_deadline,)]  # no touch has moved it
        assert store.purge() == 1
        assert database.ask("SELECT purge_at FROM {table}") == [(clock.now() + 1_800_000,)]
        assert store.purge() == 0
        clock.advance(1801)
        assert store.purge() == 1


def test_D6_a_session_that_dies_earlier_than_it_was_to_is_purged_then(database: Database) -> None:
    clock = FakeClock()
    with closing(database.store(clock=clock, purge_every=None)) as store:
        touched, updated, again = (created(store, clock) for _ in range(3))
        soon = clock.now() + 60_000
        store.touch(touched.key, soon)
        store.update(replace(updated, idle_deadline=soon), updated.version)
        store.update(replace(again, idle_deadline=soon), store.update(again, again.version))
        clock.advance(60)
        assert store.purge() == 3


def test_D6_creating_sessions_removes_the_dead_without_a_cron_job(database: Database) -> None:
    clock = FakeClock()
    with closing(database.store(clock=clock)) as store:
        most = 0
        for _ in range(300):
            created(store, clock, lives=60.0)
            clock.advance(2)
            [(rows,)] = database.ask("SELECT count(*) FROM {table}") if _ % 25 == 24 else [(0,)]
            most = max(most, rows)
        assert 30 <= most <= 60  # thirty live at a time


def test_D6_purging_removes_thousands_and_never_a_live_one(database: Database) -> None:
    clock = FakeClock()
    with closing(database.store(clock=clock, purge_every=None)) as store:
        living = [created(store, clock) for _ in range(20)]
        for _ in range(450):
            store.create(new_record(clock, lives=60.0))
        touched = [created(store, clock, lives=60.0) for _ in range(250)]
        for record in touched:
            store.touch(record.key, clock.now() + DAY)
        clock.advance(60)
        assert store.purge(limit=400) == 400
        assert store.purge(limit=10_000) == 50
        assert all(store.load(record.key) is not None for record in living + touched)


@pytest.mark.parametrize("server", SERVERS)
def test_D6_purging_passes_over_rows_that_a_transaction_has_locked(
    request: pytest.FixtureRequest, server: str
) -> None:
    database = Database(address(request.getfixturevalue(server)), f"session_{secrets.token_hex(8)}")
    clock = FakeClock()
    with closing(database.store(clock=clock, purge_every=None)) as store:
        records = [created(store, clock, lives=60.0) for _ in range(3)]
        clock.advance(60)
        with store._engine.execution_options(isolation_level="READ COMMITTED").connect() as connection:
            lock = f"SELECT 1 FROM {database.table} WHERE lookup_key = %s FOR UPDATE"
            connection.exec_driver_sql(lock, (bytes.fromhex(records[0].key),))
            assert store.purge() == 2
            connection.rollback()
        assert store.purge() == 1


def test_touches_stay_off_the_indexes_on_postgresql(postgresql: PostgreSQL) -> None:
    """HOT updates, by the server's own count; also saves that change neither subject nor key."""
    database = Database(address(postgresql), f"session_{secrets.token_hex(8)}")
    with closing(database.store(purge_every=None, max_connections=1)) as store:
        records = [created(store, subject=b"hers", payload=bytes(300)) for _ in range(100)]
        later = 0
        for _ in range(10):
            for record in records:
                later += 1000
                store.touch(record.key, record.idle_deadline + later)
        for record in records:
            store.update(replace(record, payload=bytes(310)), record.version)
    query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = '{table}'"
    [(updates, hot)] = _once_reported(database, query, at_least=1_100)
    print(f"{hot} of {updates} updates were HOT")  # noqa: T201 - for the record
    assert updates == 1_100
    assert hot >= 0.98 * updates


def test_saves_that_keep_the_subject_stay_off_the_indexes_on_sqlite(tmp_path: Path) -> None:
    """By the trees that SQLite says each save opens to write to, the table's and the key's among them."""
    database = Database(f"sqlite:///{tmp_path / 'sessions.db'}", "sessions")
    saves: list[tuple[str, Any]] = []
    with closing(database.store(purge_every=None)) as store:

        @sa.event.listens_for(store._engine, "before_cursor_execute")
        def _(*sent: Any) -> None:
            if sent[2].startswith("UPDATE"):
                saves.append((sent[2], sent[3]))

        record = created(store, subject=b"hers")
        version = record.version
        for subject in (b"hers", b"hers", b"hers", b"his", b"his"):
            version = store.update(replace(record, subject=subject), version)
        assert [found.key for found in store.find_subject(b"his")] == [record.key]
        assert version.counter == 6
        with store._engine.connect() as connection:
            plans = [connection.exec_driver_sql(f"EXPLAIN {save}", values).all() for save, values in saves]
    trees = [sum(step.opcode == "OpenWrite" for step in plan) for plan in plans]
    # The first may be a sign-in; that with another subject is tried as if it had the same.
    assert trees == [4, 2, 2, 2, 4, 2]


def _once_reported(database: Database, query: str, *, at_least: int) -> list[Any]:
    """Ask until the server's statistics, which come late, tell of ``at_least`` so many rows."""
    waiting = threading.Event()
    for _ in range(round(PATIENCE / 0.05)):
        rows = database.ask(query)
        if rows and rows[0][0] >= at_least:
            return rows
        waiting.wait(0.05)
    raise AssertionError(f"the server reports {rows}")


# names


NAMES = ("", "a b", 'a"b', "a;drop table x", "a'--", "é", "A", "1a", "a.b", "a" * 49, "a\n", "a%s")


@pytest.mark.parametrize("name", NAMES)
def test_S8_a_table_or_schema_whose_name_could_mean_something_is_refused(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    for settings in ({"table": name}, {"schema": name}):
        with pytest.raises(ConfigurationError, match="lower-case letters, digits"):
            SQLStore(url, **settings)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="lower-case letters, digits"):
            session_table(sa.MetaData(), **settings)


@pytest.mark.parametrize(
    "value", [b"'; DROP TABLE x; --", b"\\'", b"%s%(a)s?:a$1", b"\x00\x1a\\\n\r\"'", b"\xff\xfe", b'{"a": 1}']
)
def test_S8_whatever_a_session_holds_is_a_parameter(store: SQLStore, value: bytes) -> None:
    record = created(store, payload=value, subject=value, info=value)
    assert store.load(record.key) == record
    assert list(store.find_subject(value)) == [record]
    record = replace(record, version=store.update(record, record.version))
    assert store.load(record.key) == record
    assert store.delete_subject(value) == 1


@pytest.mark.parametrize("key", ["", "zz", "0" * 63, "0" * 65, "'" * 64, "g" * 64, "%s" * 32, "\x00" * 64])
def test_S8_only_digests_are_keys(store: SQLStore, key: str) -> None:
    record = created(store)
    refuses(store, key, record)
    assert store.load(record.key) == record


def test_a_schema_of_its_own_keeps_the_table_apart(postgresql: PostgreSQL) -> None:
    schema = f"apart_{secrets.token_hex(4)}"
    postgresql.sql(f"CREATE SCHEMA {schema}")
    with closing(SQLStore(address(postgresql), schema=schema, timeout=PATIENCE)) as store:
        store.create_table()
        store.create_table()
        record = created(store)
        assert store.load(record.key) == record
        assert store.purge() == 0
        assert postgresql.sql(f"SELECT count(*) FROM {schema}.sojourn_session") == "1"


# what people are told


def test_a_table_that_is_missing_is_named_with_what_to_do(database: Database) -> None:
    with closing(SQLStore(database.url, table=database.table, timeout=PATIENCE)) as store:
        with pytest.raises(StoreUnavailableError, match="create_table") as caught:
            store.load(new_record(CLOCK).key)
        assert database.table in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "postgresql://user:password@host:5432/name"),
        ("oracle://host/name", "sessions are not kept in oracle"),
        ("postgresql://host", "names no database"),
        ("sqlite://", "MemoryStore"),
        ("sqlite:///:memory:", "MemoryStore"),
    ],
)
def test_an_address_that_will_not_do_is_refused(url: str, told: str) -> None:
    for kind in (SQLStore, AsyncSQLStore):
        with pytest.raises(ConfigurationError, match=told):
            kind(url)


@pytest.mark.parametrize(
    "settings",
    [{"timeout": 0.0}, {"max_connections": 0}, {"max_sessions_per_subject": 0}, {"purge_every": 0}],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        SQLStore(f"sqlite:///{tmp_path / 's.db'}", **settings)


def test_an_engine_of_the_applications_own_is_used_and_left_open(database: Database) -> None:
    engine = sa.create_engine(SQLStore(database.url)._engine.url)
    with closing(SQLStore(engine, table=database.table)) as store:
        store.create_table()
        record = created(store, subject=b"hers")
        assert store.load(record.key) == record
        store.move(record.key, record.version, new_record(CLOCK, subject=b"hers"))
        assert len(store.find_subject(b"hers")) == 1
    with engine.connect() as connection:  # still the application's, with its own transactions
        connection.exec_driver_sql(f"DELETE FROM {database.table}")
        connection.rollback()
        rows = connection.exec_driver_sql(f"SELECT count(*) FROM {database.table}").fetchall()
    assert rows == [(1,)]
    engine.dispose()


# through the manager


def test_C2_four_hundred_of_four_hundred_saves_are_kept(database: Database) -> None:
    with closing(database.store()) as one, closing(database.store()) as other:
        assert saves_kept(one, other, patience=60.0) == 400


@pytest.mark.parametrize("server", SERVERS)
def test_S1_no_file_of_the_server_holds_plaintext_or_a_token(
    request: pytest.FixtureRequest, server: str
) -> None:
    running = request.getfixturevalue(f"new_{server}")()
    with closing(SQLStore(address(running), timeout=PATIENCE)) as store:
        store.create_table()
        manager = Manager(store, Keyring([SECRET]))
        session = manager.new_session()
        session["canary"] = "canary of a value" * 200
        session["_subject"] = "canary of a user"
        manager.commit(session)
        token = str(session.token)
        key = bytes.fromhex(session.record.key if session.record is not None else "")
    running.kill()  # what is not in the table's file yet is in the log
    files = [path for path in running.folder.rglob("*") if path.is_file()]
    dumped = b"".join(path.read_bytes() for path in files)
    assert key in dumped
    for secret in (b"canary", token.encode(), SECRET.encode()):
        assert secret not in dumped
