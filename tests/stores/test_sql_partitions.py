"""``partition_by="day"``: one partition for the sessions that end on one day, and its end."""

from __future__ import annotations

import logging
import secrets
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa

from sojourn.errors import ConfigurationError, SessionGoneError
from sojourn.keyring import Keyring
from sojourn.manager import CookieManager, Manager
from sojourn.policy import Policy
from sojourn.record import DAY, Record, dated_key, day_of
from sojourn.stores.from_url import from_url
from sojourn.stores.sql import SQLStore
from sojourn.testing import FakeClock
from sojourn.testing.records import new_record
from sojourn.token import is_token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sojourn.session import Session
    from tests.servers.postgresql import PostgreSQL

HOUR = 3_600
DAYS = 24 * HOUR
KEYRING = Keyring(["a secret for tests that is long enough to be one"])


class World:
    """A table of its own, looked at from outside."""

    def __init__(self, server: PostgreSQL, clock: FakeClock) -> None:
        self.server = server
        self.clock = clock
        self.url = f"postgresql://postgres@{server.address}/{server.database}"
        self.table = f"session_{secrets.token_hex(8)}"
        self.stores: list[SQLStore] = []

    def store(self, **options: Any) -> SQLStore:
        settings: dict[str, Any] = {"table": self.table, "clock": self.clock, "purge_every": None}
        store = SQLStore(self.url, **settings | options)
        self.stores.append(store)
        store.create_table()
        return store

    def partitioned(self, **options: Any) -> SQLStore:
        return self.store(partition_by="day", **options)

    def manager(self, store: SQLStore, *, absolute_timeout: int | None = 3 * DAYS) -> Manager:
        return Manager(store, KEYRING, policy=Policy(absolute_timeout=absolute_timeout), clock=self.clock)

    @property
    def today(self) -> int:
        return self.clock.now() // DAY

    def connection(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            f"host=127.0.0.1 port={self.server.port} user=postgres dbname={self.server.database}"
        )

    def parts(self) -> dict[str, int]:
        """Return how many rows each partition has, by what comes after the table's name."""
        listed = self.server.sql(
            f"SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = '{self.table}'::regclass"
        )
        return {
            name.removeprefix(f"{self.table}_"): int(self.server.sql(f"SELECT count(*) FROM {name}"))
            for name in listed.split()
        }

    def filled(self) -> dict[str, int]:
        return {name: rows for name, rows in self.parts().items() if rows}


@pytest.fixture
def world(postgresql: PostgreSQL, clock: FakeClock) -> Iterator[World]:
    world = World(postgresql, clock)
    yield world
    for store in world.stores:
        store.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def dated(world: World, in_days: int, **fields: Any) -> Record:
    """Return a record whose key names a day."""
    key = dated_key(secrets.token_hex(32), world.today + in_days)
    return new_record(world.clock, key=key, **fields)


def begun(manager: Manager, **values: Any) -> Session:
    session = manager.new_session()
    session.update(values)
    manager.commit(session)
    return session


def test_T1_a_token_names_the_day_on_which_its_session_ends_at_the_latest(world: World) -> None:
    session = begun(world.manager(world.partitioned()), a=1)
    assert session.record is not None
    assert session.token is not None
    assert is_token(session.token)
    assert len(session.token) == 40
    assert day_of(session.record.key) == world.today + 3
    assert session.record.public_id not in session.record.key[:12]
    assert world.manager(world.partitioned()).open(session.token)["a"] == 1


def test_sessions_that_end_on_one_day_lie_in_one_partition(world: World) -> None:
    store = world.partitioned()
    for timeout in (1, 1, 2):
        begun(world.manager(store, absolute_timeout=timeout * DAYS), a=1)
    assert world.filled() == {"20260102": 2, "20260103": 1}


def test_a_read_looks_into_one_partition(world: World) -> None:
    session = begun(world.manager(world.partitioned()), a=1)
    assert session.record is not None
    plan = world.server.sql(
        f"EXPLAIN SELECT payload FROM {world.table} WHERE lookup_key = '\\x{session.record.key}'"
    )
    assert plan.count("Scan") == 1
    assert f"{world.table}_20260104" in plan


def test_a_read_is_planned_once_on_connections_of_our_own_and_left_alone_on_others(world: World) -> None:
    own = world.partitioned()
    engine = sa.create_engine(own._engine.url)
    given = SQLStore(engine, table=world.table, partition_by="day", clock=world.clock)
    for store, mode in ((own, "force_generic_plan"), (given, "auto")):
        store.load("0" * 64)
        with store._engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW plan_cache_mode").scalar() == mode
    engine.dispose()


def test_a_renewed_session_moves_to_the_day_on_which_it_may_end_by_then(world: World) -> None:
    manager = world.manager(world.partitioned())
    session = begun(manager, a=1)
    old = session.token
    world.clock.advance(1 * DAYS)
    session.renew()
    manager.commit(session)
    assert world.filled() == {"20260105": 1}
    assert manager.open(session.token)["a"] == 1
    assert manager.open(old).token is None


def test_D6_a_day_that_is_over_goes_as_a_whole_and_nothing_before(world: World) -> None:
    store = world.partitioned()
    for in_days in (0, 1, 1, 1, 2):
        store.create(dated(world, in_days, lives=1))
    world.clock.step(DAYS - world.clock.now() // 1000 % DAYS)  # midnight
    world.clock.advance(HOUR - 1)
    assert store.purge() == 0
    world.clock.advance(1)
    assert store.purge() == 1
    world.clock.advance(1 * DAYS)
    assert store.purge() == 3
    assert world.filled() == {"20260103": 1}


def test_D6_a_session_that_lives_keeps_its_day(world: World) -> None:
    store = world.partitioned()
    living = dated(world, 0, lives=10 * DAYS)
    store.create(living)
    store.create(dated(world, 0, lives=1))
    world.clock.advance(5 * DAYS)
    assert store.purge() == 0
    assert store.load(living.key) is not None
    world.clock.advance(5 * DAYS)
    assert store.purge() == 2


def test_D6_the_dead_of_later_days_are_removed_one_by_one(world: World) -> None:
    store = world.partitioned()
    for in_days in (1, 2, 3):
        store.create(dated(world, in_days, lives=1))
    store.create(new_record(world.clock, lives=1))
    world.clock.advance(2)
    assert store.purge() == 3
    assert world.filled() == {"20260102": 1}  # tomorrow's goes with its day


def test_creating_sessions_removes_days_that_are_over(world: World) -> None:
    store = world.partitioned(purge_every=2)
    store.create(dated(world, 0, lives=1))
    world.clock.advance(2 * DAYS)
    for _ in range(2):
        store.create(dated(world, 1, lives=DAYS))
    assert world.filled() == {"20260104": 2}


def test_D6_purging_waits_for_no_reader_and_nobody_waits_behind_it(world: World) -> None:
    store = world.partitioned()
    store.create(dated(world, 0, lives=1))
    living = dated(world, 5, lives=10 * DAYS)
    store.create(living)
    world.clock.advance(3 * DAYS)
    with world.connection() as backup:
        backup.execute(f"SELECT count(*) FROM {world.table}")  # its locks stay until it ends
        purged: list[int] = []
        purging = threading.Thread(target=lambda: purged.append(store.purge()))
        purging.start()
        while purging.is_alive():
            assert store.load(living.key) is not None
        assert purged == [0]
    assert store.purge() == 1


def test_partitions_are_made_before_they_are_needed(world: World) -> None:
    store = world.partitioned()
    store.create(dated(world, 3))
    made = {f"2026010{day}" for day in range(4, 10)} | {"20260110", "20260111"}
    assert world.parts().keys() == made | {"undated", "default"}


def test_a_role_that_may_not_make_tables_keeps_sessions_in_the_default_partition(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.partitioned()
    role = f"role_{secrets.token_hex(4)}"
    world.server.sql(f"CREATE ROLE {role} LOGIN; GRANT ALL ON {world.table} TO {role}")
    url = f"postgresql://{role}@{world.server.address}/{world.server.database}"
    store = SQLStore(url, table=world.table, partition_by="day", clock=world.clock)
    with caplog.at_level(logging.WARNING, logger="sojourn"):
        for _ in range(3):
            record = dated(world, 3)
            store.create(record)
            assert store.load(record.key) is not None
    store.close()
    assert len(caplog.messages) == 1
    assert "have no partition of their own" in caplog.text
    assert "2026-01-04" in caplog.text
    assert world.filled() == {"default": 3}


def test_many_processes_may_make_the_same_partition_at_once(world: World) -> None:
    stores = [world.partitioned() for _ in range(8)]
    barrier = threading.Barrier(len(stores))
    records = [dated(world, 3) for _ in stores]

    def create(store: SQLStore, record: Record) -> None:
        barrier.wait()
        store.create(record)

    threads = [threading.Thread(target=create, args=pair) for pair in zip(stores, records, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(stores[0].load(record.key) is not None for record in records)
    assert sum(world.filled().values()) == len(stores)


def test_a_table_that_is_in_use_is_partitioned_and_nobody_is_signed_out(world: World) -> None:
    before = world.manager(world.store(), absolute_timeout=None)
    sessions = [begun(before, number=number) for number in range(3)]
    after = world.manager(world.partitioned())
    assert world.filled() == {"undated": 3}
    for number, session in enumerate(sessions):
        assert after.open(session.token)["number"] == number
    sessions[0]["more"] = True
    after.commit(sessions[0])
    sessions[1].renew()
    after.commit(sessions[1])
    assert world.filled() == {"undated": 2, "20260104": 1}
    assert after.open(sessions[0].token)["more"] is True


def test_going_back_keeps_everybody_too(world: World) -> None:
    session = begun(world.manager(world.partitioned()), a=1)
    plain = world.manager(world.store(), absolute_timeout=None)
    assert plain.open(session.token)["a"] == 1
    begun(plain, b=1)
    assert world.filled() == {"20260104": 1, "undated": 1}


def test_partitioning_twice_changes_nothing(world: World) -> None:
    store = world.partitioned()
    store.create(dated(world, 3))
    before = world.parts()
    store.create_table()
    assert world.parts() == before


def test_an_update_that_meets_a_renewal_finds_the_session_gone(world: World) -> None:
    store = world.partitioned()
    record = dated(world, 1)
    version = store.create(record)
    with world.connection() as other:
        key = dated_key(secrets.token_hex(32), world.today + 2)
        other.execute(
            f"UPDATE {world.table} SET lookup_key = '\\x{key}' WHERE lookup_key = '\\x{record.key}'"
        )
        raised: list[type[BaseException]] = []

        def update() -> None:
            try:
                store.update(record, version)
            except SessionGoneError as error:
                raised.append(type(error))

        updating = threading.Thread(target=update)
        updating.start()
        world.server.sql("SELECT pg_sleep(0.05)")  # it waits for the row by now, or comes later
        other.commit()
        updating.join()
    assert raised == [SessionGoneError]


def test_a_partitioned_table_lets_touches_be_hot_and_keeps_payloads_as_they_are(world: World) -> None:
    store = world.partitioned()
    store.create(dated(world, 3))
    options = world.server.sql(f"SELECT reloptions FROM pg_class WHERE relname = '{world.table}_20260104'")
    assert "fillfactor=80" in options
    storage = world.server.sql(
        "SELECT DISTINCT attstorage FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid "
        f"WHERE relname LIKE '{world.table}%' AND attname = 'payload'"
    )
    assert storage == "e"


def test_without_an_absolute_timeout_it_is_refused(world: World) -> None:
    with pytest.raises(ConfigurationError, match="set absolute_timeout"):
        world.manager(world.partitioned(), absolute_timeout=None)


def test_a_cookie_may_spill_into_a_table_that_is_not_partitioned_yet(world: World) -> None:
    world.store()
    store = SQLStore(world.url, table=world.table, partition_by="day", clock=world.clock)
    world.stores.append(store)
    policy = Policy(idle_timeout=60, absolute_timeout=3_600)
    manager = CookieManager(KEYRING, spill=store, policy=policy, clock=world.clock)
    session = begun(manager, noise=secrets.token_hex(8_000))
    assert len(session.token or "") == 40
    assert manager.open(session.token)["noise"] == session["noise"]


def test_an_absolute_timeout_beyond_the_days_that_tokens_can_name_is_refused(world: World) -> None:
    with pytest.raises(ConfigurationError, match="to at most 3153600000"):
        world.manager(world.partitioned(), absolute_timeout=10**10)
    manager = world.manager(world.partitioned(), absolute_timeout=36_500 * 86_400)
    session = manager.open(None)
    session["number"] = 1
    manager.commit(session)
    assert manager.open(session.token)["number"] == 1
    world.manager(world.store(), absolute_timeout=10**10)  # where tokens name no day


def test_it_is_refused_elsewhere_than_on_postgresql(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs PostgreSQL, and this is sqlite"):
        SQLStore(f"sqlite:///{tmp_path / 'sessions.db'}", partition_by="day")


@pytest.mark.parametrize(
    ("options", "said"),
    [({"partition_by": "hour"}, "give 'day' or None"), ({"table": "t" * 40}, "at most 39 characters")],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        SQLStore("postgresql://127.0.0.1/nowhere", **{"partition_by": "day"} | options)


def test_a_table_not_yet_partitioned_is_used_as_it_is_and_the_log_says_so_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    before = begun(world.manager(world.store(), absolute_timeout=None), a=1)
    store = SQLStore(world.url, table=world.table, partition_by="day", clock=world.clock)
    world.stores.append(store)
    manager = world.manager(store)
    with caplog.at_level(logging.WARNING, logger="sojourn"):
        sessions = [begun(manager, number=number) for number in range(3)]
        other = begun(manager, a=2)
        for session in (before, other):
            session.renew()
            manager.commit(session)
    assert len(caplog.messages) == 1
    assert "manage.py sojourn_partition" in caplog.text
    assert all(session.record and day_of(session.record.key) is None for session in sessions)
    store.create_table()
    assert world.filled() == {"undated": 5}
    assert [manager.open(session.token)["number"] for session in sessions] == [0, 1, 2]
    begun(manager, a=3)
    assert world.filled() == {"undated": 5, "20260104": 1}


def test_a_renewal_may_be_what_finds_the_table_not_partitioned(world: World) -> None:
    session = begun(world.manager(world.store(), absolute_timeout=None), a=1)
    manager = world.manager(SQLStore(world.url, table=world.table, partition_by="day", clock=world.clock))
    session.renew()
    manager.commit(session)
    assert session.record is not None
    assert day_of(session.record.key) is None
    assert manager.open(session.token)["a"] == 1
    manager.store.close()


def test_D6_a_table_not_yet_partitioned_is_purged_row_by_row(world: World) -> None:
    world.store().create(new_record(world.clock, lives=1))
    store = SQLStore(world.url, table=world.table, partition_by="day", clock=world.clock)
    world.stores.append(store)
    world.clock.advance(2)
    assert store.purge() == 1


def test_D6_a_partitioned_table_is_purged_by_stores_that_know_nothing_of_it(world: World) -> None:
    world.partitioned().create(dated(world, 3, lives=1))
    store = world.store()
    store.create(new_record(world.clock, lives=1))
    world.clock.advance(2)
    assert store.purge() == 2


def test_D6_a_large_day_is_counted_in_several_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.stores.sql.partitions._COUNTED", 2)
    store = world.partitioned()
    for in_days in (0, 0, 0, 0, 1, 1, 1):
        store.create(dated(world, in_days, lives=1))
    store.create(living := dated(world, 1, lives=10 * DAYS))
    world.clock.advance(3 * DAYS)
    assert store.purge() == 4
    assert world.filled() == {"20260102": 4}
    assert store.load(living.key) is not None


def test_an_address_may_ask_for_it(world: World) -> None:
    world.partitioned()
    store: Any = from_url(f"{world.url}?table={world.table}&partition_by=day", clock=world.clock)
    assert world.manager(store).store.partition_by == "day"  # type: ignore[attr-defined]
    store.close()
