"""``python -m bench.memcached_clients``: what a read, and a read with its write, cost with each client.

Beside each figure stands how many times the store takes as long; the aim is at most 1.3 times as long as
pymemcache, which Django uses, for a read and 1.5 times for a read with its write.

Starts a memcached of its own.  The store does more than the clients beside it: it reads version and deadline,
keeps to one deadline for the whole operation, looks whether the connection is still good.  A client that is
not installed is left out: ``pip install pymemcache meta-memcache emcache aiomcache``.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sojourn.clock import SystemClock
from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.testing.records import new_record
from tests.servers.memcached import Memcached

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_SIZES = (200, 2_000)
_ROUNDS = 25
_CALLS = 200
_TASKS = 64
_HOST = "127.0.0.1"

_clock = SystemClock()


def _sojourn(port: int, payload: bytes) -> tuple[Callable[[], object], Callable[[], object]]:
    store = MemcachedStore(f"{_HOST}:{port}")
    record = new_record(_clock, payload=payload)
    store.create(record)

    def modify() -> None:
        loaded = store.load(record.key)
        if loaded is not None:
            store.update(record, loaded.version)

    return lambda: store.load(record.key), modify


def _pymemcache(port: int, payload: bytes) -> tuple[Callable[[], object], Callable[[], object]]:
    from pymemcache.client.base import PooledClient  # noqa: PLC0415 - if it is installed

    client: Any = PooledClient(
        (_HOST, port), timeout=2, connect_timeout=2, no_delay=True, default_noreply=False
    )
    key = secrets.token_hex(32)
    client.set(key, payload, expire=1800)

    def modify() -> None:
        _, cas = client.gets(key)
        client.cas(key, payload, cas, expire=1800)

    return lambda: client.get(key), modify


def _meta_memcache(port: int, payload: bytes) -> tuple[Callable[[], object], Callable[[], object]]:
    from meta_memcache import CacheClient, ServerAddress, connection_pool_factory_builder  # noqa: PLC0415

    client: Any = CacheClient.cache_client_from_servers(
        servers=[ServerAddress(host=_HOST, port=port)],
        connection_pool_factory_fn=connection_pool_factory_builder(),
    )
    key = secrets.token_hex(32)
    client.set(key, payload, ttl=1800)

    def modify() -> None:
        _, cas = client.get_cas(key)
        client.set(key, payload, ttl=1800, cas_token=cas)

    return lambda: client.get(key), modify


CLIENTS = {
    "Sojourn's store": ("sojourn", _sojourn),
    "pymemcache": ("pymemcache", _pymemcache),
    "meta-memcache": ("meta_memcache", _meta_memcache),
}


async def _async_sojourn(
    port: int, payload: bytes
) -> tuple[Callable[[], Awaitable[object]], Callable[[], Any]]:
    store = AsyncMemcachedStore(f"{_HOST}:{port}")
    record = new_record(_clock, payload=payload)
    await store.create(record)
    return lambda: store.load(record.key), store.close


async def _aiomcache(port: int, payload: bytes) -> tuple[Callable[[], Awaitable[object]], Callable[[], Any]]:
    import aiomcache  # noqa: PLC0415 - if it is installed

    client: Any = aiomcache.Client(_HOST, port, pool_size=16)
    key = secrets.token_hex(32).encode()
    await client.set(key, payload, exptime=1800)
    return lambda: client.gets(key), client.close


async def _emcache(port: int, payload: bytes) -> tuple[Callable[[], Awaitable[object]], Callable[[], Any]]:
    import emcache  # noqa: PLC0415 - if it is installed

    client: Any = await emcache.create_client([emcache.MemcachedHostAddress(_HOST, port)], max_connections=16)
    key = secrets.token_hex(32).encode()
    await client.set(key, payload, exptime=1800)
    return lambda: client.gets(key), client.close


ASYNC_CLIENTS = {
    "Sojourn's store": ("sojourn", _async_sojourn),
    "aiomcache": ("aiomcache", _aiomcache),
    "emcache": ("emcache", _emcache),
}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    for _ in range(_CALLS):
        call()
    return (time.perf_counter() - begun) / _CALLS * 1e6


def _plain(port: int) -> None:
    _say(f"a read, and a read with its write, in µs: the best of {_ROUNDS} rounds, as others only add to it")
    for size in _SIZES:
        payload = secrets.token_bytes(size)
        calls = {
            name: make(port, payload)
            for name, (module, make) in CLIENTS.items()
            if find_spec(module) is not None
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
        for _ in range(_ROUNDS):  # in turns, so that all have the same machine
            for name, (read, modify) in calls.items():
                taken[name].append((_timed(read), _timed(modify)))
        ours = _best(taken["Sojourn's store"])
        for name, times in taken.items():
            read, write = _best(times)
            of_read, of_write = ours[0] / read, ours[1] / write
            _say(f"{size:>6} B  {name:<16} {read:7.0f} ({of_read:.2f} ×) {write:7.0f} ({of_write:.2f} ×)")


def _best(times: list[tuple[float, float]]) -> tuple[float, float]:
    reads, writes = zip(*times, strict=True)
    return min(reads), min(writes)


async def _async(port: int) -> None:
    _say(f"reads per second, {_TASKS} tasks at once, likewise")
    payload = secrets.token_bytes(2_000)
    clients = {
        name: await make(port, payload)
        for name, (module, make) in ASYNC_CLIENTS.items()
        if find_spec(module) is not None
    }
    rates: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(_ROUNDS):
        for name, (read, _) in clients.items():
            begun = time.perf_counter()
            for _ in range(5):
                await asyncio.gather(*[read() for _ in range(_TASKS)])
            rates[name].append(5 * _TASKS / (time.perf_counter() - begun))
    ours = max(rates["Sojourn's store"])
    for name, found in rates.items():
        rate = max(found)
        _say(f"  2000 B  {name:<16} {rate:7.0f} ({rate / ours:.2f} ×)")
    for _, close in clients.values():
        await close()


def main() -> None:
    """Measure and print."""
    with Memcached() as server:
        _plain(server.port)
        asyncio.run(_async(server.port))


if __name__ == "__main__":
    main()
