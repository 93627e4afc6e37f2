"""The memcached store: what lies in memcached, what goes over the wire, its connections and its limits.

The general promises are in the store contract, failures have tests of their own.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import secrets
import ssl
import threading
import time
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import AsyncManager, Keyring, Manager
from sojourn.clock import SystemClock
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    PayloadTooLargeError,
    SessionGoneError,
    StoreUnavailableError,
)
from sojourn.record import Version
from sojourn.store import AsyncPurge, AsyncScan, AsyncSubjectIndex, Purge, Scan, SubjectIndex
from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.stores.memcached.nodes import nodes_of, owner
from sojourn.testing import FakeClock
from sojourn.testing.records import new_record
from tests.servers.certificates import self_signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.memcached import Memcached
    from tests.servers.proxy import Proxy

CLOCK = SystemClock()
KEYRING = Keyring(["a secret for tests: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"])
DAY = 24 * 3600

#: Seconds; a busy machine is no fault.
PATIENCE = 20.0


@pytest.fixture
def store(memcached_proxy: Proxy) -> Iterator[MemcachedStore]:
    with closing(MemcachedStore(memcached_proxy.address, timeout=PATIENCE)) as store:
        yield store


class Wire:
    """Counts round trips."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._before = proxy.round_trips

    def trips(self) -> int:
        before, self._before = self._before, self._proxy.round_trips
        return self._before - before


# Round trips


def test_one_operation_is_one_round_trip_and_a_move_is_two(
    store: MemcachedStore, memcached_proxy: Proxy
) -> None:
    wire = Wire(memcached_proxy)
    record = new_record(CLOCK, subject=b"s", info=b"i", absolute_deadline=CLOCK.now() + 3_600_000)
    version = store.create(record)
    assert wire.trips() == 1
    version = store.update(record, version)
    assert wire.trips() == 1
    loaded = store.load(record.key)
    assert loaded == replace(record, version=version)
    assert wire.trips() == 1
    version = store.update(record, loaded.version)
    assert wire.trips() == 1
    assert store.touch(record.key, record.idle_deadline + 1000) is True
    assert wire.trips() == 1
    loaded = store.load(record.key)
    assert loaded is not None
    assert wire.trips() == 1
    renewed = new_record(CLOCK)
    version = store.move(record.key, loaded.version, renewed)
    assert wire.trips() == 2
    store.update(renewed, version)
    assert wire.trips() == 1
    assert store.delete(renewed.key) is True
    assert wire.trips() == 1
    assert store.load(renewed.key) is None
    assert wire.trips() == 1
    assert memcached_proxy.accepted == 1


async def test_asyncio_takes_no_more_round_trips(memcached_proxy: Proxy) -> None:
    store = AsyncMemcachedStore(memcached_proxy.address, timeout=PATIENCE)
    wire = Wire(memcached_proxy)
    record, renewed = new_record(CLOCK), new_record(CLOCK)
    await store.create(record)
    loaded = await store.load(record.key)
    assert loaded is not None
    await store.update(record, loaded.version)
    assert wire.trips() == 3
    loaded = await store.load(record.key)
    assert loaded is not None
    await store.touch(record.key, record.idle_deadline)
    assert wire.trips() == 2
    loaded = await store.load(record.key)
    assert loaded is not None
    await store.update(renewed, await store.move(record.key, loaded.version, renewed))
    await store.delete(renewed.key)
    assert wire.trips() == 5
    assert memcached_proxy.accepted == 1
    await store.close()


def test_a_version_without_its_proof_costs_one_more_and_after_a_touch_two(
    store: MemcachedStore, memcached_proxy: Proxy
) -> None:
    record = new_record(CLOCK)
    version = store.create(record)
    wire = Wire(memcached_proxy)
    version = store.update(record, Version(*version))
    assert wire.trips() == 2
    store.touch(record.key, record.idle_deadline + 60_000)
    assert wire.trips() == 1
    assert store.update(record, version) == version.next()
    assert wire.trips() == 3


def test_the_budget_of_requests_is_kept(store: MemcachedStore, memcached_proxy: Proxy) -> None:
    manager = Manager(store, KEYRING)
    wire = Wire(memcached_proxy)
    session = manager.new_session()
    session["a"] = 1
    manager.commit(session)
    assert wire.trips() == 1, "new"
    session = manager.open(session.token)
    assert session["a"] == 1
    manager.commit(session)
    assert wire.trips() == 1, "read"
    session = manager.open(session.token)
    session["a"] = 2
    manager.commit(session)
    assert wire.trips() == 2, "modified"
    session = manager.open(session.token)
    session.renew(authenticated=True)
    manager.commit(session)
    session["user"] = 1  # Django saves once more
    manager.commit(session)
    assert wire.trips() == 4, "login, with a session before"
    session = manager.open(session.token)
    session.end()
    manager.commit(session)
    assert wire.trips() == 2, "logout"


# What lies there


def test_S1_a_dump_holds_no_plaintext_and_no_token(memcached: Memcached) -> None:
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as store:
        manager = Manager(store, KEYRING, subject_of=lambda values: values.get("user"))
        session = manager.new_session()
        session["canary key"] = "canary value"
        session["user"] = "canary user"
        session.label = "canary label"
        manager.commit(session)
        assert session.record is not None
        dump = memcached.dump()
        assert session.record.key.encode() in dump
        assert session.record.payload in dump
        assert b"canary" not in dump
        assert session.token is not None
        assert session.token.encode() not in dump


def test_S6_nothing_but_a_digest_ever_reaches_the_wire(store: MemcachedStore, memcached_proxy: Proxy) -> None:
    digest = secrets.token_hex(32)
    for key in (
        "",
        digest[:-1],
        digest + "0",
        digest.upper().replace("0", "A"),
        digest[:-1] + "\n",
        digest + "\r\n",
        f"{digest[:10]} {digest[11:]}",
        "a b",
        "zz\r\nset x 0 0 1\r\n1\r\n",
        digest[:-1] + "\0",
        digest[:-1] + "é",
        digest[:-1] + "\uff11",
    ):
        record = new_record(CLOCK, key=key)
        good = new_record(CLOCK)
        for call in (
            lambda record=record: store.create(record),
            lambda record=record: store.load(record.key),
            lambda record=record: store.update(record, Version.first()),
            lambda record=record: store.touch(record.key, record.idle_deadline),
            lambda record=record, good=good: store.move(record.key, Version.first(), good),
            lambda record=record: store.delete(record.key),
        ):
            with pytest.raises(ValueError, match="64 lower-case hexadecimal digits") as caught:
                call()
            assert not key or key not in str(caught.value)
    assert memcached_proxy.accepted == 0


@pytest.mark.parametrize("prefix", ["a b", "a\r\nflush_all\r\n", "ž", "x" * 129, "\0", "\t"])
def test_S6_a_prefix_that_would_break_a_command_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="key_prefix"):
        MemcachedStore("localhost", key_prefix=prefix)


def test_stores_with_different_prefixes_share_nothing(memcached: Memcached) -> None:
    record = new_record(CLOCK)
    with (
        closing(MemcachedStore(memcached.address, key_prefix="one:")) as one,
        closing(MemcachedStore(memcached.address, key_prefix="")) as other,
    ):
        one.create(record)
        assert other.load(record.key) is None
        other.create(record)
        assert one.delete(record.key) is True
        assert other.delete(record.key) is True


def test_L3_a_session_of_31_days_is_kept_for_31_days(memcached: Memcached) -> None:
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as store:
        for days in (30, 31, 400):
            for deadlines in ({}, {"absolute_deadline": CLOCK.now() + (days + 9) * DAY * 1000}):
                record = new_record(CLOCK, lives=days * DAY + 1, **deadlines)
                version = store.create(record)
                assert left(memcached) == pytest.approx(days * DAY, abs=60)  # the machine may be busy
                version = store.update(record, version)
                assert left(memcached) == pytest.approx(days * DAY, abs=60)
                store.touch(record.key, record.idle_deadline + DAY * 1000)
                assert left(memcached) == pytest.approx((days + 1) * DAY, abs=60)
                assert store.delete(record.key) is True


def left(memcached: Memcached) -> float:
    """Return the seconds its only item still has."""
    [expires] = re.findall(rb"exp=(-?\d+)", memcached.dump())
    return int(expires) - time.time()


def test_D3_a_session_too_large_is_refused_before_any_input_or_output(
    store: MemcachedStore, memcached_proxy: Proxy
) -> None:
    large = new_record(CLOCK, payload=bytes(1_000_001))
    refused: tuple[Callable[[], object], ...] = (
        lambda: store.create(large),
        lambda: store.update(large, Version.first()),
        lambda: store.move(new_record(CLOCK).key, Version.first(), large),
    )
    for call in refused:
        with pytest.raises(PayloadTooLargeError, match=r"1000001 bytes.* 1000000;"):
            call()
    assert memcached_proxy.accepted == 0
    just = new_record(CLOCK, payload=bytes(1_000_000))
    store.create(just)
    assert store.load(just.key) is not None


def test_D3_a_smaller_limit_of_the_server_is_the_same_error(
    new_memcached: Callable[..., Memcached],
) -> None:
    server = new_memcached("-I", "512k")
    with closing(MemcachedStore(server.address, timeout=PATIENCE)) as store:
        with pytest.raises(PayloadTooLargeError, match="max_payload"):
            store.create(new_record(CLOCK, payload=bytes(600_000)))
        store.create(new_record(CLOCK))


def test_L1_a_touch_beyond_the_absolute_deadline_revives_nothing(memcached: Memcached) -> None:
    """Memcached is told the idle deadline only; the absolute one is the store's to keep."""
    clock = FakeClock()
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE, clock=clock)) as store:
        deadline = clock.now() + 600_000
        records = [new_record(clock, absolute_deadline=deadline) for _ in range(5)]
        versions = [store.create(record) for record in records]
        for record in records:
            assert store.touch(record.key, record.idle_deadline) is True
        clock.advance_to(deadline - 1)
        assert store.load(records[0].key) is not None
        clock.advance_to(deadline)
        assert memcached.count() == 5
        assert store.load(records[0].key) is None
        assert store.touch(records[1].key, records[1].idle_deadline) is False
        assert store.delete(records[2].key) is False
        with pytest.raises(SessionGoneError):
            store.update(records[3], versions[3])
        store.create(replace(records[4], absolute_deadline=None))
        for record in records[:4]:
            assert store.load(record.key) is None
        assert memcached.count() == 1


def test_it_is_a_store_and_nothing_more(memcached: Memcached) -> None:
    store = MemcachedStore(memcached.address)
    assert not isinstance(store, SubjectIndex | Purge | Scan)
    assert not isinstance(AsyncMemcachedStore(memcached.address), AsyncSubjectIndex | AsyncPurge | AsyncScan)


# Versions and CAS ids


def test_C2_cas_ids_that_memcached_reuses_after_a_restart_overwrite_nothing(
    new_memcached: Callable[..., Memcached],
) -> None:
    server = new_memcached()
    key = new_record(CLOCK).key
    with (
        closing(MemcachedStore(server.address, timeout=PATIENCE)) as store,
        closing(MemcachedStore(server.address, timeout=PATIENCE)) as other,
    ):
        before = store.create(new_record(CLOCK, key=key, payload=b"before"))
        server.kill()
        server.start()
        after = new_record(CLOCK, key=key, payload=b"after")
        version = other.create(after)
        cas = re.findall(rb" c(\d+)", server.ask(b"mg sojourn:%s c\r\n" % key.encode()))
        assert [int(found) for found in cas] == [getattr(before, "cas", None)], "the very same id"
        with pytest.raises(ConflictError):
            store.update(new_record(CLOCK, key=key, payload=b"late"), before)
        with pytest.raises(ConflictError):
            store.move(key, before, new_record(CLOCK))
        assert other.load(key) == replace(after, version=version)


def test_C2_distinct_keys_written_by_8_threads_are_all_kept(memcached: Memcached) -> None:
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as store:
        managers = [Manager(store, KEYRING, timeout=60) for _ in range(8)]  # as many processes
        session = managers[0].new_session()
        session["start"] = True
        managers[0].commit(session)
        start = threading.Barrier(8)

        def write(worker: int) -> None:
            start.wait()
            for number in range(50):
                mine = managers[worker].open(session.token)
                mine[f"{worker} {number}"] = number
                managers[worker].commit(mine)

        in_threads(*[lambda worker=worker: write(worker) for worker in range(8)])
        kept = managers[0].open(session.token)
        found = sum(f"{worker} {number}" in kept for worker in range(8) for number in range(50))
        assert found == 400


async def test_C2_distinct_keys_written_by_8_tasks_are_all_kept(memcached_nodes: list[Memcached]) -> None:
    store = AsyncMemcachedStore([node.address for node in memcached_nodes], timeout=PATIENCE)
    managers = [AsyncManager(store, KEYRING, timeout=60) for _ in range(8)]
    session = managers[0].new_session()
    session["start"] = True
    await managers[0].commit(session)

    async def write(worker: int) -> None:
        for number in range(50):
            mine = await managers[worker].open(session.token)
            mine[f"{worker} {number}"] = number
            await managers[worker].commit(mine)

    await asyncio.gather(*[write(worker) for worker in range(8)])
    kept = await managers[0].open(session.token)
    assert sum(f"{worker} {number}" in kept for worker in range(8) for number in range(50)) == 400
    await store.close()


# Connections


def in_threads(*calls: Callable[[], Any]) -> None:
    """Run all ``calls`` at once; raise what one of them raised."""
    errors: list[BaseException] = []

    def run(call: Callable[[], Any]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_F3_the_connections_are_bounded_and_stay_open(memcached_proxy: Proxy) -> None:
    with closing(MemcachedStore(memcached_proxy.address, max_connections=2, timeout=PATIENCE)) as store:
        record = new_record(CLOCK)
        store.create(record)

        def read() -> None:
            for _ in range(50):
                assert store.load(record.key) is not None

        in_threads(*[read] * 8)
        assert memcached_proxy.accepted <= 2


async def test_F3_the_connections_of_asyncio_are_bounded_and_stay_open(memcached_proxy: Proxy) -> None:
    store = AsyncMemcachedStore(memcached_proxy.address, max_connections=2, timeout=PATIENCE)
    record = new_record(CLOCK)
    await store.create(record)
    assert None not in await asyncio.gather(*[store.load(record.key) for _ in range(100)])
    assert memcached_proxy.accepted <= 2
    await store.close()


async def test_C5_of_10000_calls_and_cancellations_none_gets_the_reply_of_another(
    memcached: Memcached,
) -> None:
    store = AsyncMemcachedStore(memcached.address, max_connections=8, timeout=PATIENCE)
    records = [new_record(CLOCK, payload=b"%d " % number * 500) for number in range(50)]
    for record in records:
        await store.create(record)
    answered = cancelled = 0

    async def read(number: int) -> None:
        record = records[number % len(records)]
        loaded = await store.load(record.key)
        assert loaded is not None
        assert (loaded.key, loaded.payload) == (record.key, record.payload)

    for _ in range(100):
        tasks = [asyncio.create_task(read(number)) for number in range(100)]
        for task in random.sample(tasks, 30):
            await asyncio.sleep(0)
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, asyncio.CancelledError):
                cancelled += 1
            else:
                assert result is None
                answered += 1
    assert answered + cancelled == 10_000
    assert cancelled > 100
    await store.close()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_C5_a_forked_child_never_gets_a_reply_of_its_parent(memcached: Memcached) -> None:
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as store:
        records = [new_record(CLOCK, payload=b"%d " % number * 500) for number in range(20)]
        mine = [new_record(CLOCK) for _ in range(4)]
        versions = {record.key: store.create(record) for record in (*records, *mine)}

        def read(times: int, seed: int) -> bool:
            chance = random.Random(seed)
            for _ in range(times):
                record = chance.choice(records)
                if store.load(record.key) != replace(record, version=versions[record.key]):
                    return False
            return True

        threads = [threading.Thread(target=read, args=(100, seed)) for seed in range(4)]
        for thread in threads:  # connections in use and idle ones
            thread.start()
        children = []
        for seed in range(4):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    own = mine[seed]
                    status = 0 if read(2000, seed) and store.update(own, versions[own.key]) else 2
                finally:
                    os._exit(status)
            children.append(child)
        assert read(2000, 99)
        for thread in threads:
            thread.join()
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4


def test_several_event_loops_may_use_one_store(memcached: Memcached) -> None:
    store = AsyncMemcachedStore(memcached.address, timeout=PATIENCE)
    record = new_record(CLOCK)

    async def ask() -> None:
        assert await store.load(record.key) is not None
        for _, pool in store._pools.pop(asyncio.get_running_loop()):
            await pool.close()

    async def create() -> None:
        await store.create(record)
        await ask()

    asyncio.run(create())
    in_threads(*[lambda: asyncio.run(ask())] * 4)


async def test_unix_sockets_are_spoken_to(new_memcached: Callable[..., Memcached], tmp_path: Path) -> None:
    server = new_memcached(path=tmp_path / "memcached.sock")
    record = new_record(CLOCK)
    with closing(MemcachedStore(server.address, timeout=PATIENCE)) as store:
        version = store.create(record)
        assert store.load(record.key) == replace(record, version=version)
    async with AsyncExitStack() as stack:
        asynchronous = AsyncMemcachedStore(server.address, timeout=PATIENCE)
        stack.push_async_callback(asynchronous.close)
        assert await asynchronous.load(record.key) == replace(record, version=version)


async def test_tls_is_spoken_and_certificates_are_checked(
    new_memcached: Callable[..., Memcached], tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    server = new_memcached("-Z", "-o", f"ssl_chain_cert={certificate},ssl_key={key}")
    trusting = ssl.create_default_context(cafile=str(certificate))
    address = f"localhost:{server.port}"
    record = new_record(CLOCK, payload=bytes(200_000))
    with closing(MemcachedStore(address, tls=trusting, timeout=PATIENCE)) as store:
        version = store.create(record)
        for _ in range(3):
            assert store.load(record.key) == replace(record, version=version)
    asynchronous = AsyncMemcachedStore(address, tls=trusting, timeout=PATIENCE)
    for _ in range(3):
        assert await asynchronous.load(record.key) == replace(record, version=version)
    await asynchronous.close()
    with (
        closing(MemcachedStore(address, tls=ssl.create_default_context(), timeout=PATIENCE)) as store,
        pytest.raises(StoreUnavailableError),
    ):
        store.load(record.key)


# Servers


def test_taking_a_node_away_moves_only_its_share() -> None:
    names = [b"10.0.0.%d:11211" % number for number in range(1, 6)]
    before = [(name, name) for name in names]
    random.shuffle(before)
    after = [pair for pair in before if pair[0] != names[2]]
    keys = [secrets.token_hex(32).encode() for _ in range(5000)]
    moved = 0
    for key in keys:
        was, now = owner(key, before), owner(key, after)
        if was == names[2]:
            moved += 1
        else:
            assert now == was
    assert 800 < moved < 1200  # a fifth of them, 1000, give or take seven standard deviations
    shares = [sum(owner(key, after) == name for key in keys) for name, _ in after]
    assert all(1000 < share < 1500 for share in shares)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("localhost", ["localhost:11211"]),
        ("10.0.0.1:11212", ["10.0.0.1:11212"]),
        ("a.example:1,b-2.example:2; c", ["a.example:1", "b-2.example:2", "c:11211"]),
        ("[::1]:11211", ["[::1]:11211"]),
        ("unix:/run/memcached.sock", ["unix:/run/memcached.sock"]),
        (["/run/memcached.sock", "h"], ["unix:/run/memcached.sock", "h:11211"]),
    ],
)
def test_addresses_are_read_as_django_reads_them(given: str | list[str], read: list[str]) -> None:
    assert [str(node) for node in nodes_of(given)] == read


@pytest.mark.parametrize(
    "given", ["", "a:0", "a:65536", "a:b", "http://a", "a b", [], "a,a:11211", "a,", ":11211", "user@a"]
)
def test_an_address_that_is_none_is_refused_by_name(given: str | list[str]) -> None:
    with pytest.raises(ConfigurationError, match="give"):
        MemcachedStore(given)


@pytest.mark.parametrize(
    "setting", [{"timeout": 0}, {"timeout": -1.0}, {"max_connections": 0}, {"max_payload": 0}]
)
def test_settings_that_leave_nothing_are_refused_by_name(setting: dict[str, Any]) -> None:
    [name] = setting
    with pytest.raises(ConfigurationError, match=name):
        AsyncMemcachedStore("localhost", **setting)
