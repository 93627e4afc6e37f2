"""The memcached store: what lies in memcached, what goes over the wire, and its limits.

The general promises are in the store contract; connections and failures have tests of their own.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.clock import SystemClock
from sojourn.errors import (
    ConfigurationError,
    PayloadTooLargeError,
    StoreUnavailableError,
)
from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.stores.memcached.nodes import nodes_of, owner
from sojourn.testing.records import new_record
from tests.servers.certificates import self_signed
from tests.servers.proxy import Proxy
from tests.stores.asking import storm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.servers.memcached import Memcached

CLOCK = SystemClock()

#: Seconds; a busy machine is no fault.
PATIENCE = 20.0


def test_F3_the_connections_are_bounded_and_stay_open(memcached_proxy: Proxy) -> None:
    with closing(MemcachedStore(memcached_proxy.address, max_connections=2, timeout=PATIENCE)) as store:
        record = new_record(CLOCK)
        store.create(record)

        def read() -> None:
            for _ in range(50):
                assert store.load(record.key) is not None

        with ThreadPoolExecutor(8) as threads:
            for reader in [threads.submit(read) for _ in range(8)]:
                reader.result()
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
    answered = await storm(store, rounds=100, calls=100, cancelled=30, size=500)
    assert 7_000 <= answered < 9_900
    await store.close()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_C5_in_10000_calls_forked_children_and_their_parent_never_get_each_others_replies(
    memcached: Memcached,
) -> None:
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

    async def create() -> None:
        await store.create(record)
        await ask()

    asyncio.run(create())
    with ThreadPoolExecutor(4) as threads:
        for asker in [threads.submit(lambda: asyncio.run(ask())) for _ in range(4)]:
            asker.result()


async def test_F1_what_memcached_refuses_one_task_is_no_answer_to_the_others(
    new_memcached: Callable[..., Memcached],
) -> None:
    server = new_memcached("-I", "512k")
    with Proxy(server.port) as proxy:
        store = AsyncMemcachedStore(proxy.address, timeout=PATIENCE)
        records = [new_record(CLOCK, payload=b"%d" % number) for number in range(20)]
        versions = [await store.create(record) for record in records]
        too_large = new_record(CLOCK, payload=bytes(700_000))
        calls: list[Awaitable[object]] = [store.load(record.key) for record in records]
        calls.insert(10, store.create(too_large))
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(found.pop(10), PayloadTooLargeError)
        assert found == [
            replace(record, version=version) for record, version in zip(records, versions, strict=True)
        ]
        assert proxy.accepted == 1
        await store.close()


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
