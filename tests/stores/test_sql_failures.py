"""The SQL stores when servers and networks fail: unavailable is not absent, and nothing is done twice."""

from __future__ import annotations

import secrets
import threading
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from sojourn.clock import SystemClock
from sojourn.errors import StoreTimeoutError, StoreUnavailableError
from sojourn.stores.sql import AsyncSQLStore, SQLStore
from sojourn.testing.records import new_record
from tests.servers.proxy import FAULTS, Fault, Proxy
from tests.stores.asking import INDEXED, ask_in_children, call, storm

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.record import Record
    from tests.servers.mariadb import MariaDB
    from tests.servers.postgresql import PostgreSQL

CLOCK = SystemClock()

#: Seconds an operation may take here: short, because the tests wait for it.
SHORT = 1.0
#: Seconds after which a test says that an operation hangs.
PATIENCE = 20.0

#: Server, and the drivers for threads and for asyncio.
SERVERS = {
    "postgresql": ("postgresql+psycopg", "postgresql+asyncpg", "postgres"),
    "mariadb": ("mysql+mysqldb", "mysql+asyncmy", "root"),
}


def address(name: str, port: int, *, is_async: bool = False) -> str:
    return f"{SERVERS[name][is_async]}://{SERVERS[name][2]}@127.0.0.1:{port}/sessions"


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.asks_for(name)) for name in SERVERS])
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def server(request: pytest.FixtureRequest, name: str) -> PostgreSQL | MariaDB:
    running: PostgreSQL | MariaDB = request.getfixturevalue(name)
    return running


@pytest.fixture
def proxy(request: pytest.FixtureRequest, name: str) -> Proxy:
    made: Proxy = request.getfixturevalue(f"{name}_proxy")
    return made


@pytest.fixture
def table(name: str, server: PostgreSQL | MariaDB) -> str:
    made = f"session_{secrets.token_hex(8)}"
    with closing(SQLStore(address(name, server.port), table=made, timeout=PATIENCE)) as store:
        store.create_table()
    return made


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "slow"])
def test_F1_F3_each_operation_says_unavailable_within_its_deadline_and_recovers(
    name: str, server: PostgreSQL | MariaDB, proxy: Proxy, table: str, fault: Fault
) -> None:
    """Nothing that is asked while the fault lasts finds, or denies, a session."""
    with closing(SQLStore(address(name, server.port), table=table, timeout=PATIENCE)) as direct:
        operations = INDEXED if fault != "blackhole" else ("load", "create")  # each of them waits
        for operation in operations:
            record = new_record(CLOCK)
            record = replace(record, version=direct.create(record))
            with closing(SQLStore(address(name, proxy.port), table=table, timeout=SHORT)) as store:
                with suppress(StoreUnavailableError):  # on a busy machine
                    store.load(record.key)
                proxy.fail(fault)
                with pytest.raises(StoreUnavailableError) as caught:
                    call(store, operation, record)
                assert record.key not in str(caught.value)
                assert str(proxy.port) in str(caught.value)
                if fault == "blackhole":
                    assert isinstance(caught.value, StoreTimeoutError)
                proxy.heal()
                assert until_answered(store, record.key) is not None or operation in ("move", "delete")


def until_answered(store: SQLStore, key: str) -> Record | None:
    for _ in range(20):
        with suppress(StoreUnavailableError):
            return store.load(key)
    raise AssertionError("it does not recover")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "slow"])
async def test_F1_F3_asyncio_says_unavailable_within_its_deadline_and_recovers(
    name: str, server: PostgreSQL | MariaDB, proxy: Proxy, table: str, fault: Fault
) -> None:
    direct = AsyncSQLStore(address(name, server.port, is_async=True), table=table, timeout=PATIENCE)
    operations = INDEXED if fault != "blackhole" else ("load", "create")
    for operation in operations:
        record = new_record(CLOCK)
        record = replace(record, version=await direct.create(record))
        store = AsyncSQLStore(address(name, proxy.port, is_async=True), table=table, timeout=SHORT)
        with suppress(StoreUnavailableError):
            await store.load(record.key)
        proxy.fail(fault)
        with pytest.raises(StoreUnavailableError) as caught:
            await call(store, operation, record)
        assert str(proxy.port) in str(caught.value)
        proxy.heal()
        for _ in range(20):
            with suppress(StoreUnavailableError):
                await store.load(record.key)
                break
        else:
            pytest.fail("it does not recover")
        await store.close()
    await direct.close()


@pytest.mark.parametrize("fault", ["reset", "garbage", "blackhole"])
def test_F3_a_create_without_an_answer_is_never_sent_again(
    name: str, server: PostgreSQL | MariaDB, proxy: Proxy, table: str, fault: Fault
) -> None:
    with closing(SQLStore(address(name, proxy.port), table=table, timeout=2.0)) as store:
        store.load(new_record(CLOCK).key)
        before = proxy.round_trips
        proxy.fail(fault)
        with pytest.raises(StoreUnavailableError):
            store.create(new_record(CLOCK))
        assert proxy.round_trips == before + 1


def test_F3_waiting_for_a_connection_counts_against_the_deadline(
    name: str, server: PostgreSQL | MariaDB, table: str
) -> None:
    url = address(name, server.port)
    with closing(SQLStore(url, table=table, timeout=SHORT, max_connections=1)) as store:
        record = new_record(CLOCK)
        until_answered(store, record.key)
        with store._engine.connect(), pytest.raises(StoreTimeoutError, match="max_connections"):
            store.load(record.key)


def test_F5_a_server_killed_under_load_loses_nothing_it_acknowledged(
    request: pytest.FixtureRequest, name: str
) -> None:
    """With its default durability; the store goes on by itself when the server is back."""
    running: PostgreSQL | MariaDB = request.getfixturevalue(f"new_{name}")()
    url = address(name, running.port)
    with closing(SQLStore(url, timeout=PATIENCE)) as store:
        store.create_table()
        acknowledged: list[Record] = []
        ended: list[Record] = []
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(0.001):
                record = new_record(CLOCK)
                with suppress(StoreUnavailableError):
                    record = replace(record, version=store.create(record))
                    acknowledged.append(record)
                    changed = replace(record, payload=b"changed")
                    acknowledged[-1:] = [replace(changed, version=store.update(changed, record.version))]
                    if record.key[0] in "0123" and store.delete(record.key):
                        ended.append(acknowledged.pop())

        worker = threading.Thread(target=work)
        worker.start()
        for _ in range(2):
            before = len(acknowledged)
            _wait_until(partial(_grew, acknowledged, before + 60))
            running.kill()
            running.start()
        before = len(acknowledged)
        _wait_until(partial(_grew, acknowledged, before + 20))
        stop.set()
        worker.join(PATIENCE)
        lost = [record for record in acknowledged if _is_lost(store, record)]
        revived = [record for record in ended if store.load(record.key) is not None]
        print(  # noqa: T201 - for the record
            f"{name} killed twice: {len(acknowledged)} sessions acknowledged, {len(lost)} lost, "
            f"{len(revived)} of {len(ended)} logouts undone"
        )
        assert (lost, revived) == ([], [])


def _grew(acknowledged: list[Record], beyond: int) -> bool:
    return len(acknowledged) > beyond


def _is_lost(store: SQLStore, record: Record) -> bool:
    loaded = store.load(record.key)
    if loaded == record:
        return False
    # The answer to an update may have been lost on its way, not the update.
    return loaded is None or loaded.version != record.version.next()


def _wait_until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(round(3 * PATIENCE / 0.01)):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("it does not go on")


# C5


async def test_C5_a_storm_of_cancelled_calls_never_hands_a_reply_to_another(
    name: str, server: PostgreSQL | MariaDB, table: str
) -> None:
    store = AsyncSQLStore(address(name, server.port, is_async=True), table=table, timeout=3 * PATIENCE)
    assert await storm(store, rounds=20, calls=30, cancelled=10) >= 400
    await store.close()


def test_C5_children_forked_with_open_connections_never_get_each_others_replies(
    name: str, server: PostgreSQL | MariaDB, table: str
) -> None:
    with closing(SQLStore(address(name, server.port), table=table, timeout=PATIENCE)) as store:
        ask_in_children(store, children=3, calls=200, patience=3 * PATIENCE)


def test_after_close_the_store_says_so(name: str, server: PostgreSQL | MariaDB, table: str) -> None:
    store = SQLStore(address(name, server.port), table=table)
    store.load(new_record(CLOCK).key)
    store.close()
    store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        store.load(new_record(CLOCK).key)
