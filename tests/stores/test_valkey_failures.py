"""The Valkey store when servers and networks fail.

Unavailable is not absent, nothing is sent twice that must not be, and what ended stays ended.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
import threading
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.clock import SystemClock
from sojourn.errors import StoreTimeoutError, StoreUnavailableError
from sojourn.stores.valkey import AsyncValkeyStore, ValkeyStore
from sojourn.testing.records import new_record
from tests.servers.proxy import FAULTS, Fault, Proxy
from tests.servers.valkey import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.record import Record
    from tests.servers.valkey import Cluster, Sentinels, Valkey

CLOCK = SystemClock()

#: Seconds an operation may take here: short, because the tests wait for it.
SHORT = 0.25
#: Seconds after which a test says that an operation hangs.
PATIENCE = 20.0
OPERATIONS = ("create", "load", "update", "touch", "move", "delete", "find", "delete all")


def call(store: Any, operation: str, record: Record) -> Any:
    """Ask ``store`` for ``operation``; ``record`` is as it is stored."""
    return {
        "create": lambda: store.create(new_record(CLOCK)),
        "load": lambda: store.load(record.key),
        "update": lambda: store.update(record, record.version),
        "touch": lambda: store.touch(record.key, record.idle_deadline),
        "move": lambda: store.move(record.key, record.version, new_record(CLOCK)),
        "delete": lambda: store.delete(record.key),
        "find": lambda: store.find_subject(b"hers"),
        "delete all": lambda: store.delete_subject(b"hers"),
    }[operation]()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "slow"])
def test_F1_F3_each_operation_says_unavailable_within_its_deadline_and_recovers(
    valkey: Valkey, valkey_proxy: Proxy, fault: Fault
) -> None:
    """Nothing that is asked while the fault lasts finds, or denies, a session."""
    with (
        closing(ValkeyStore(valkey.address, timeout=PATIENCE)) as direct,
        closing(ValkeyStore(valkey_proxy.address, timeout=SHORT)) as store,
    ):
        for operation in OPERATIONS:
            record = new_record(CLOCK)
            record = replace(record, version=direct.create(record))
            if operation != "load":  # which begins without a connection
                store.load(record.key)
            valkey_proxy.fail(fault)
            with pytest.raises(StoreUnavailableError) as caught:
                call(store, operation, record)
            assert record.key not in str(caught.value)
            assert valkey_proxy.address in str(caught.value)
            if fault == "blackhole":
                assert isinstance(caught.value, StoreTimeoutError)
            valkey_proxy.heal()
            with closing(ValkeyStore(valkey_proxy.address, timeout=PATIENCE)) as patient:
                patient.load(record.key)
            again = new_record(CLOCK)
            store._timeout = PATIENCE
            store.update(again, store.create(again))
            store._timeout = SHORT


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "slow"])
async def test_F1_F3_asyncio_says_unavailable_within_its_deadline_and_recovers(
    valkey: Valkey, valkey_proxy: Proxy, fault: Fault
) -> None:
    direct = AsyncValkeyStore(valkey.address, timeout=PATIENCE)
    store = AsyncValkeyStore(valkey_proxy.address, timeout=SHORT)
    async with asyncio.timeout(PATIENCE):
        for operation in OPERATIONS:
            record = new_record(CLOCK)
            record = replace(record, version=await direct.create(record))
            store._timeout = PATIENCE
            assert await store.load(record.key) == record
            store._timeout = SHORT
            valkey_proxy.fail(fault)
            with pytest.raises(StoreUnavailableError) as caught:
                await call(store, operation, record)
            assert valkey_proxy.address in str(caught.value)
            valkey_proxy.heal()
    store._timeout = PATIENCE
    again = new_record(CLOCK)
    await store.update(again, await store.create(again))
    await store.close()
    await direct.close()


async def test_F3_a_reply_that_trickles_in_is_not_waited_for(valkey: Valkey, valkey_proxy: Proxy) -> None:
    """The deadline is that of the operation, however often a byte comes."""
    record = new_record(CLOCK, payload=bytes(200))
    with closing(ValkeyStore(valkey.address, timeout=PATIENCE)) as direct:
        direct.create(record)
    valkey_proxy.fail("slow")
    with closing(ValkeyStore(valkey_proxy.address, timeout=SHORT)) as store, pytest.raises(StoreTimeoutError):
        store.load(record.key)
    twin = AsyncValkeyStore(valkey_proxy.address, timeout=SHORT)
    with pytest.raises(StoreTimeoutError):
        await twin.load(record.key)
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
def test_F3_a_create_without_an_answer_is_never_sent_again(valkey_proxy: Proxy, fault: Fault) -> None:
    with closing(ValkeyStore(valkey_proxy.address, timeout=PATIENCE)) as store:
        store.load(new_record(CLOCK).key)
        store._timeout = SHORT
        before = valkey_proxy.round_trips
        valkey_proxy.fail(fault)
        with pytest.raises(StoreUnavailableError):
            store.create(new_record(CLOCK))
        assert valkey_proxy.round_trips == before + 1


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
        thread.join(PATIENCE)
        assert not thread.is_alive()


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
        (None, None, "give password"),
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
    records = [new_record(CLOCK, payload=b"%d" % number) for number in range(50)]
    for record in records:
        await store.create(record)
    chance = random.Random(5)
    answered = 0

    async def ask() -> None:
        nonlocal answered
        record = chance.choice(records)
        loaded = await store.load(record.key)
        assert loaded is not None
        assert (loaded.key, loaded.payload) == (record.key, record.payload)
        answered += 1

    for _ in range(100):
        tasks = [asyncio.ensure_future(ask()) for _ in range(100)]
        await asyncio.sleep(0)
        for task in chance.sample(tasks, 50):
            await asyncio.sleep(0)
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
    assert answered >= 5_000
    await store.close()


def _ask_often(store: ValkeyStore, keys: dict[str, bytes], seed: int) -> bool:
    chance = random.Random(seed)
    for _ in range(1_250):
        key = chance.choice(list(keys))
        loaded = store.load(key)
        if loaded is None or (loaded.key, loaded.payload) != (key, keys[key]):
            return False
    return True


def test_C5_children_forked_with_open_connections_never_get_each_others_replies(valkey: Valkey) -> None:
    with closing(ValkeyStore(valkey.address, timeout=PATIENCE)) as store:
        keys = {}
        for number in range(20):
            record = new_record(CLOCK, payload=b"%d" % number)
            store.create(record)
            keys[record.key] = record.payload
        fork = multiprocessing.get_context("fork")
        children = [
            fork.Process(target=lambda seed=seed: sys.exit(not _ask_often(store, keys, seed)))
            for seed in range(4)
        ]
        for child in children:
            child.start()
        assert all(_ask_often(store, keys, seed) for seed in range(4, 8))
        for child in children:
            child.join(PATIENCE)
            assert child.exitcode == 0


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
            thread.join(PATIENCE)


def _count_lost(store: ValkeyStore, records: list[Record]) -> int:
    return sum(store.load(record.key) is None for record in records)


def test_F5_after_a_failover_of_a_cluster_the_acknowledged_sessions_are_there(
    new_cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    stores = [ValkeyStore(new_cluster.addresses[1], cluster=True, timeout=PATIENCE) for _ in range(3)]
    before = [new_record(CLOCK) for _ in range(300)]
    for record in before:
        stores[0].create(record)
    victim = new_cluster.primary_of(b"sojourn:" + before[0].key.encode())
    assert victim.ask("WAIT", 1, 5_000) == 1
    load = Load(stores)
    wait_until(lambda: len(load.acknowledged) > 100, "nothing is created")
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
    assert lost <= 30  # what was on its way to the replica
    for store in stores:
        store.close()


def test_F5_after_a_failover_by_sentinels_the_acknowledged_sessions_are_there(
    new_sentinels: Sentinels, capsys: pytest.CaptureFixture[str]
) -> None:
    addresses, name = new_sentinels.addresses, new_sentinels.name
    stores = [ValkeyStore(addresses, sentinel=name, timeout=PATIENCE) for _ in range(3)]
    before = [new_record(CLOCK, subject=b"hers") for _ in range(50)]
    for record in before:
        stores[0].create(record)
    primary, replica = new_sentinels.servers
    assert primary.ask("WAIT", 1, 5_000) == 1
    load = Load(stores)
    wait_until(lambda: len(load.acknowledged) > 100, "nothing is created")
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
            f"{lost} of them lost to asynchronous replication, {load.refused} refused meanwhile"
        )
    assert lost <= 30
    for store in stores:
        store.close()


def _is_back(store: ValkeyStore, key: str) -> bool:
    with suppress(StoreUnavailableError):
        return store.load(key) is not None
    return False
