"""The Valkey store when servers and networks fail.

Unavailable is not absent, nothing is sent twice that must not be, and what ended stays ended.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import OutOfMemoryError

from sojourn.clock import SystemClock
from sojourn.errors import StoreTimeoutError, StoreUnavailableError
from sojourn.stores.valkey import AsyncValkeyStore, ValkeyStore
from sojourn.stores.valkey.nodes import Node
from sojourn.stores.valkey.routing import ClusterRoutes
from sojourn.testing.records import new_record
from tests.servers.proxy import FAULTS, Fault, Proxy
from tests.servers.valkey import Cluster, Sentinels, Valkey, wait_until
from tests.stores.asking import INDEXED, ask_in_children, call, storm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sojourn.record import Record

CLOCK = SystemClock()

#: Seconds for an operation that gets no answer, so short because the tests wait for it.
SHORT = 0.25
#: Seconds between bytes of a slow answer, so that even the shortest takes longer.
PAUSE = 0.5
#: Seconds for all others, and before a test says that something hangs; a busy machine is no fault.
PATIENCE = 60.0


@contextmanager
def in_a_hurry(store: ValkeyStore | AsyncValkeyStore, seconds: float = SHORT) -> Iterator[None]:
    """Wait no longer than that for answers that will not come."""
    store._timeout = seconds
    try:
        yield
    finally:
        store._timeout = PATIENCE


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not connected"])
def test_F1_F3_each_operation_says_unavailable_within_its_deadline_and_recovers(
    valkey: Valkey, valkey_proxy: Proxy, fault: Fault, *, connected: bool
) -> None:
    """Nothing that is asked while the fault lasts finds, or denies, a session."""
    valkey_proxy.pause = PAUSE
    direct = ValkeyStore(valkey.address, timeout=PATIENCE)
    for operation in INDEXED:
        record = new_record(CLOCK)
        record = replace(record, version=direct.create(record))
        with closing(ValkeyStore(valkey_proxy.address, timeout=PATIENCE)) as store:
            if connected:
                assert store.load(record.key) == record
            valkey_proxy.fail(fault)
            with in_a_hurry(store), pytest.raises(StoreUnavailableError) as caught:
                call(store, operation, record)
            _is_clear(caught.value, fault, record, valkey_proxy)
            valkey_proxy.heal()
            again = new_record(CLOCK)
            store.update(again, store.create(again))
    direct.close()


def _is_clear(error: StoreUnavailableError, fault: Fault, record: Record, proxy: Proxy) -> None:
    assert record.key not in str(error)
    # Now and then noise looks like an answer, and only the operation sees that it is none.
    assert fault == "garbage" or proxy.address in str(error)
    if fault in ("blackhole", "slow"):
        assert type(error) is StoreTimeoutError


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not connected"])
async def test_F1_F3_asyncio_says_unavailable_within_its_deadline_and_recovers(
    valkey: Valkey, valkey_proxy: Proxy, fault: Fault, *, connected: bool
) -> None:
    valkey_proxy.pause = PAUSE
    direct = AsyncValkeyStore(valkey.address, timeout=PATIENCE)
    for operation in INDEXED:
        record = new_record(CLOCK)
        record = replace(record, version=await direct.create(record))
        store = AsyncValkeyStore(valkey_proxy.address, timeout=PATIENCE)
        if connected:
            assert await store.load(record.key) == record
        valkey_proxy.fail(fault)
        with in_a_hurry(store), pytest.raises(StoreUnavailableError) as caught:
            await call(store, operation, record)
        _is_clear(caught.value, fault, record, valkey_proxy)
        valkey_proxy.heal()
        again = new_record(CLOCK)
        await store.update(again, await store.create(again))
        await store.close()
    await direct.close()


async def test_F3_a_reply_that_trickles_in_is_not_waited_for(valkey_proxy: Proxy) -> None:
    """The deadline is that of the operation, however often a byte comes."""
    record = new_record(CLOCK, payload=bytes(5_000))
    store = ValkeyStore(valkey_proxy.address, timeout=PATIENCE)
    twin = AsyncValkeyStore(valkey_proxy.address, timeout=PATIENCE)
    store.create(record)
    assert await twin.load(record.key) is not None
    valkey_proxy.fail("slow")  # more than four minutes
    with in_a_hurry(store), pytest.raises(StoreTimeoutError):
        store.load(record.key)
    with in_a_hurry(twin), pytest.raises(StoreTimeoutError):
        await twin.load(record.key)
    store.close()
    await twin.close()


@pytest.mark.parametrize("after", range(0, 120, 7))
def test_F1_a_reply_broken_off_anywhere_is_no_answer(valkey: Valkey, valkey_proxy: Proxy, after: int) -> None:
    record = new_record(CLOCK, payload=bytes(200))
    with closing(ValkeyStore(valkey_proxy.address, timeout=PATIENCE)) as store:
        store.create(record)
        valkey_proxy.reset_after = after
        valkey_proxy.fail("reset")
        with pytest.raises(StoreUnavailableError):
            store.load(record.key)
        valkey_proxy.heal()
        assert store.load(record.key) is not None


@pytest.mark.parametrize("fault", ["reset", "garbage", "blackhole"])
async def test_F3_a_create_without_an_answer_is_never_sent_again(valkey_proxy: Proxy, fault: Fault) -> None:
    store = ValkeyStore(valkey_proxy.address, timeout=PATIENCE)
    twin = AsyncValkeyStore(valkey_proxy.address, timeout=PATIENCE)
    store.load(new_record(CLOCK).key)
    await twin.load(new_record(CLOCK).key)
    before = valkey_proxy.round_trips
    valkey_proxy.fail(fault)
    with in_a_hurry(store), pytest.raises(StoreUnavailableError):
        store.create(new_record(CLOCK))
    with in_a_hurry(twin), pytest.raises(StoreUnavailableError):
        await twin.create(new_record(CLOCK))
    wait_until(lambda: valkey_proxy.round_trips >= before + 2, "nothing was sent")
    valkey_proxy.heal()
    store.close()
    await twin.close()
    assert valkey_proxy.round_trips == before + 2


@pytest.mark.parametrize("topology", ["valkey", "valkey_cluster", "valkey_sentinels"])
async def test_a_connection_that_the_server_has_closed_meanwhile_costs_nobody_an_error(
    topology: str, request: pytest.FixtureRequest
) -> None:
    servers = request.getfixturevalue(topology)
    settings = _settings(servers)
    store, twin = ValkeyStore(**settings), AsyncValkeyStore(**settings)
    records = [new_record(CLOCK) for _ in range(20)]
    for record in records:
        store.create(record)
    await asyncio.gather(*[twin.load(record.key) for record in records])
    for server in _all_of(servers):
        server.ask("CLIENT", "KILL", "TYPE", "normal")
    await asyncio.sleep(0.01)  # as any server's loop it goes round meanwhile
    for record in records:
        assert store.load(record.key) is not None
        assert await twin.load(record.key) is not None
    store.close()
    await twin.close()


def _settings(servers: Valkey | Cluster | Sentinels) -> dict[str, Any]:
    """Return how a store reaches them."""
    if isinstance(servers, Valkey):
        return {"servers": servers.address, "timeout": PATIENCE}
    if isinstance(servers, Cluster):
        return {"servers": servers.addresses, "cluster": True, "timeout": PATIENCE}
    return {"servers": servers.addresses, "sentinel": servers.name, "timeout": PATIENCE}


def _all_of(servers: Valkey | Cluster | Sentinels) -> list[Valkey]:
    if isinstance(servers, Valkey):
        return [servers]
    return servers.nodes if isinstance(servers, Cluster) else servers.servers


def test_F3_waiting_for_a_connection_counts_against_the_deadline(valkey_proxy: Proxy) -> None:
    valkey_proxy.fail("blackhole")
    with closing(ValkeyStore(valkey_proxy.address, timeout=SHORT, max_connections=1)) as store:
        errors: list[str] = []

        def ask() -> None:
            with suppress(StoreTimeoutError):
                store.load(new_record(CLOCK).key)
                return
            errors.append("in time")

        _at_once([ask] * 4)
        assert errors == ["in time"] * 4
        assert valkey_proxy.accepted <= 4


def _at_once(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=one) for one in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("--maxmemory", "1"), "noeviction"),
        (("--min-replicas-to-write", "1"), "replicas"),
        (("--replicaof", "127.0.0.1 1"), "primary"),
    ],
)
def test_F1_a_server_that_takes_no_writes_is_unavailable_and_the_message_says_what_to_do(
    new_valkey: Callable[..., Valkey], settings: tuple[str, ...], told: str
) -> None:
    server = new_valkey(*settings)
    with closing(ValkeyStore(server.address, timeout=PATIENCE)) as store:
        with pytest.raises(StoreUnavailableError) as caught:
            store.create(new_record(CLOCK, subject=b"hers"))
        assert told in str(caught.value)


def test_a_wrong_password_and_a_forbidden_command_say_what_to_do(new_valkey: Callable[..., Valkey]) -> None:
    server = new_valkey("--requirepass", "right")
    record = new_record(CLOCK)
    for username, password, told in (
        (None, None, "check username and password"),
        (None, "canary", "check username and password"),
        ("nobody", "canary", "check username and password"),
    ):
        with closing(ValkeyStore(server.address, username=username, password=password)) as store:
            with pytest.raises(StoreUnavailableError) as caught:
                store.load(record.key)
            assert told in str(caught.value)
            assert "canary" not in str(caught.value)
    with closing(ValkeyStore(server.address, timeout=PATIENCE, password="right", database=3)) as store:
        store.create(record)
        assert store.load(record.key) is not None


def test_F5_a_server_that_is_started_again_needs_no_new_store(new_valkey: Callable[..., Valkey]) -> None:
    server = new_valkey("--appendonly", "yes", "--appendfsync", "always")
    record = new_record(CLOCK)
    with closing(ValkeyStore(server.address, timeout=PATIENCE)) as store:
        record = replace(record, version=store.create(record))
        server.kill()
        with pytest.raises(StoreUnavailableError):
            store.load(record.key)
        server.start()
        wait_until(lambda: _is_back(store, record.key), "the session is lost")
        assert store.load(record.key) == record


# C5


async def test_C5_a_storm_of_cancelled_calls_never_hands_a_reply_to_another(valkey: Valkey) -> None:
    store = AsyncValkeyStore(valkey.address, timeout=PATIENCE)
    assert await storm(store, rounds=100, calls=100, cancelled=50) >= 5_000
    await store.close()


def test_C5_children_forked_with_open_connections_never_get_each_others_replies(valkey: Valkey) -> None:
    with closing(ValkeyStore(valkey.address, timeout=PATIENCE)) as store:
        ask_in_children(store, children=4, calls=1_250, patience=PATIENCE)


# failover


class Load:
    """Threads that create sessions until told to stop, and remember which were acknowledged."""

    def __init__(self, stores: list[ValkeyStore]) -> None:
        self.acknowledged: list[Record] = []
        self.refused = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._create, args=(store,)) for store in stores]
        for thread in self._threads:
            thread.start()

    def _create(self, store: ValkeyStore) -> None:
        while not self._stop.wait(0.001):
            record = new_record(CLOCK)
            try:
                version = store.create(record)
            except StoreUnavailableError:
                self.refused += 1
            else:
                self.acknowledged.append(replace(record, version=version))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def _count_lost(store: ValkeyStore, records: list[Record]) -> int:
    return sum(store.load(record.key) is None for record in records)


def test_F5_after_a_failover_of_a_cluster_the_acknowledged_sessions_are_there(
    new_cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    stores = [ValkeyStore(new_cluster.addresses[1], cluster=True, timeout=PATIENCE) for _ in range(3)]
    load = Load(stores)
    wait_until(lambda: len(load.acknowledged) > 300, "nothing is created")
    before = list(load.acknowledged)
    victim = new_cluster.primary_of(b"sojourn:" + before[0].key.encode())
    for primary in new_cluster.nodes[:3]:
        primary.replicate()
    new_cluster.is_to_lose(victim)
    victim.kill()
    at_the_kill = len(load.acknowledged)
    probe = before[0].key
    wait_until(lambda: _is_back(stores[0], probe), "no replica takes over")
    wait_until(lambda: len(load.acknowledged) > at_the_kill + 100, "nothing is created after the failover")
    load.stop()
    assert _count_lost(stores[0], before) == 0
    lost = _count_lost(stores[1], load.acknowledged)
    with capsys.disabled():
        print(  # noqa: T201 - to be read
            f"\nCluster, a primary killed: {len(load.acknowledged)} sessions acknowledged under load, "
            f"{lost} of them lost to asynchronous replication, {load.refused} refused meanwhile; "
            f"0 of {len(before)} lost that a replica had"
        )
    for store in stores:
        store.close()


def test_F5_after_a_failover_by_sentinels_the_acknowledged_sessions_are_there(
    new_sentinels: Sentinels, capsys: pytest.CaptureFixture[str]
) -> None:
    addresses, name = new_sentinels.addresses, new_sentinels.name
    stores = [ValkeyStore(addresses, sentinel=name, timeout=PATIENCE) for _ in range(3)]
    hers = [new_record(CLOCK, subject=b"hers") for _ in range(50)]
    for record in hers:
        stores[0].create(record)
    primary, replica = new_sentinels.servers
    load = Load(stores)
    wait_until(lambda: len(load.acknowledged) > 100, "nothing is created")
    before = hers + load.acknowledged
    new_sentinels.is_to_lose(primary)
    primary.kill()
    at_the_kill = len(load.acknowledged)
    wait_until(lambda: replica.info("replication")["role"] == "master", "the replica does not take over")
    wait_until(lambda: len(load.acknowledged) > at_the_kill + 100, "nothing is created after the failover")
    load.stop()
    assert _count_lost(stores[0], before) == 0
    assert len(stores[0].find_subject(b"hers")) == 50
    lost = _count_lost(stores[1], load.acknowledged)
    with capsys.disabled():
        print(  # noqa: T201 - to be read
            f"\nSentinels, the primary killed: {len(load.acknowledged)} sessions acknowledged under load, "
            f"{lost} of them lost to asynchronous replication, {load.refused} refused meanwhile; "
            f"0 of {len(before)} lost that a replica had"
        )
    for store in stores:
        store.close()


def _is_back(store: ValkeyStore, key: str) -> bool:
    with suppress(StoreUnavailableError):
        return store.load(key) is not None
    return False


async def test_F5_a_primary_that_hangs_is_replaced_in_a_cluster_and_nobody_waits_for_it_for_ever(
    new_cluster: Cluster,
) -> None:
    """It takes connections and bytes, and never answers: as if its machine had lost its power."""
    victim = new_cluster.primary_of(b"sojourn:" + PROBE.encode())
    await _survives(new_cluster, victim, hangs_too=[])


async def test_F5_a_primary_that_hangs_is_replaced_by_sentinels_and_nobody_waits_for_it_for_ever(
    new_sentinels: Sentinels,
) -> None:
    """Likewise; the Sentinel that is asked first hangs with it."""
    await _survives(new_sentinels, new_sentinels.servers[0], hangs_too=new_sentinels.sentinels[:1])


def test_F5_that_a_node_is_gone_is_not_forgotten_when_another_refuses_something() -> None:
    gone, full = Node(None, "gone", 6379), Node(None, "full", 6379)
    routes = ClusterRoutes([gone, full])
    first = routes.ask(b"key", "SET")
    assert next(first).words == ("CLUSTER", "SLOTS")
    assert first.send([[0, 16_383, [b"gone", 6379]]]).place == gone
    second = routes.ask(b"key", "GET")
    assert next(second).words == ("GET",)
    with pytest.raises(StoreUnavailableError):
        second.throw(StoreUnavailableError("it hung up"))
    with pytest.raises(StoreUnavailableError, match="memory"):
        first.throw(OutOfMemoryError("OOM"))
    assert next(routes.ask(b"key", "GET")).words == ("CLUSTER", "SLOTS")


PROBE = "5" * 64


async def _survives(servers: Cluster | Sentinels, victim: Valkey, *, hangs_too: list[Valkey]) -> None:
    record = new_record(CLOCK, key=PROBE)
    with closing(ValkeyStore(**_settings(servers))) as patient:
        record = replace(record, version=patient.create(record))
    settings = {**_settings(servers), "timeout": 1.0}
    store, twin = ValkeyStore(**settings), AsyncValkeyStore(**settings)
    assert await _loaded(store, twin) == (record, record)
    servers.is_to_lose(victim)
    for server in (victim, *hangs_too):
        server.stop()
    with pytest.raises(StoreTimeoutError):
        store.load(PROBE)
    with pytest.raises(StoreTimeoutError):
        await twin.load(PROBE)
    assert await _loaded(store, twin) == (record, record)
    store.close()
    await twin.close()


async def _loaded(store: ValkeyStore, twin: AsyncValkeyStore) -> tuple[Record | None, Record | None]:
    """Ask until both stores answer."""
    while True:
        with suppress(StoreUnavailableError):
            return store.load(PROBE), await twin.load(PROBE)
        await asyncio.sleep(0.02)
