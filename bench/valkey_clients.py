"""``python -m bench.valkey_clients``: what a read, and a read with its write, cost with each client.

Starts a server of its own.  The store does more than the clients beside it: it takes records apart, compares
versions inside the server and keeps to one deadline for the whole operation.  A client that is not installed
is left out: ``pip install redis hiredis valkey libvalkey valkey-glide valkey-glide-sync`` brings all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import itertools
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sojourn.clock import SystemClock
from sojourn.errors import ConflictError
from sojourn.stores.valkey import AsyncValkeyStore, ValkeyStore
from sojourn.testing.records import new_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Read once; read and write once; close.
Calls: TypeAlias = "tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]"

_PAYLOAD: Final = secrets.token_bytes(2_000)
_LIVES: Final = 1_800_000
_ROUNDS: Final = 40
_CALLS: Final = 128
_TASKS: Final = 64
_HOST: Final = "127.0.0.1"
_CHOSEN: Final = "redis"

_clock = SystemClock()


def _sojourn(port: int) -> Calls:
    store = ValkeyStore(f"{_HOST}:{port}")
    record = new_record(_clock, payload=_PAYLOAD)
    store.create(record)

    def modify() -> None:
        loaded = store.load(record.key)
        if loaded is not None:
            store.update(record, loaded.version)

    return lambda: store.load(record.key), modify, store.close


def _redis(port: int, name: str = "redis") -> Calls:
    module: Any = importlib.import_module(name)
    client = module.from_url(f"redis://{_HOST}:{port}", protocol=2)
    key = secrets.token_hex(32)
    client.set(key, _PAYLOAD)

    def modify() -> None:
        client.set(key, client.get(key), px=_LIVES)

    return lambda: client.get(key), modify, client.close


def _valkey(port: int) -> Calls:
    return _redis(port, "valkey")


def _glide(port: int) -> Calls:
    import glide_sync as glide  # noqa: PLC0415 - if it is installed

    client: Any = glide.GlideClient.create(glide.GlideClientConfiguration([glide.NodeAddress(_HOST, port)]))
    key = secrets.token_hex(32)
    lives = glide.ExpirySet(glide.ExpiryType.MILLSEC, _LIVES)
    client.set(key, _PAYLOAD)

    def modify() -> None:
        client.set(key, client.get(key), expiry=lives)

    return lambda: client.get(key), modify, client.close


async def _async_sojourn(port: int) -> Calls:
    store = AsyncValkeyStore(f"{_HOST}:{port}")
    records = [new_record(_clock, payload=_PAYLOAD) for _ in range(_TASKS)]
    for record in records:
        await store.create(record)
    turns = itertools.cycle(records)

    async def modify() -> None:
        record = next(turns)
        loaded = await store.load(record.key)
        with contextlib.suppress(ConflictError):
            if loaded is not None:
                await store.update(record, loaded.version)

    return lambda: store.load(records[0].key), modify, store.close


async def _async_redis(port: int, name: str = "redis.asyncio") -> Calls:
    module: Any = importlib.import_module(name)
    client = module.from_url(f"redis://{_HOST}:{port}", protocol=2)
    keys = [secrets.token_hex(32) for _ in range(_TASKS)]
    for key in keys:
        await client.set(key, _PAYLOAD)
    turns = itertools.cycle(keys)

    async def modify() -> None:
        key = next(turns)
        await client.set(key, await client.get(key), px=_LIVES)

    return lambda: client.get(keys[0]), modify, client.aclose


async def _async_valkey(port: int) -> Calls:
    return await _async_redis(port, "valkey.asyncio")


async def _async_glide(port: int) -> Calls:
    import glide  # noqa: PLC0415 - if it is installed

    addresses = [glide.NodeAddress(_HOST, port)]
    client: Any = await glide.GlideClient.create(glide.GlideClientConfiguration(addresses))
    keys = [secrets.token_hex(32) for _ in range(_TASKS)]
    for key in keys:
        await client.set(key, _PAYLOAD)
    turns = itertools.cycle(keys)
    lives = glide.ExpirySet(glide.ExpiryType.MILLSEC, _LIVES)

    async def modify() -> None:
        key = next(turns)
        await client.set(key, await client.get(key), expiry=lives)

    return lambda: client.get(keys[0]), modify, client.close


#: By the package that brings them.
_PLAIN: Final = {"sojourn": _sojourn, "redis": _redis, "valkey": _valkey, "valkey-glide-sync": _glide}
_ASYNC: Final = {
    "sojourn": _async_sojourn,
    "redis": _async_redis,
    "valkey": _async_valkey,
    "valkey-glide": _async_glide,
}


def _installed(makers: dict[str, Callable[[int], Any]]) -> dict[str, Callable[[int], Any]]:
    return {name: make for name, make in makers.items() if name == "sojourn" or _version(name)}


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    for _ in range(_CALLS):
        call()
    return (time.perf_counter() - begun) / _CALLS * 1e6


async def _timed_async(call: Callable[[], Awaitable[object]], tasks: int) -> float:
    async def several() -> None:
        for _ in range(_CALLS // tasks):
            await call()

    begun = time.perf_counter()
    await asyncio.gather(*[several() for _ in range(tasks)])
    return (time.perf_counter() - begun) / _CALLS * 1e6


def _show(title: str, taken: dict[str, list[tuple[float, float]]]) -> None:
    sys.stdout.write(f"\n{title}, µs\n")
    # The quickest round: a busy machine only adds.
    best = {name: [min(times) for times in zip(*rounds, strict=True)] for name, rounds in taken.items()}
    for name, (read, modify) in best.items():
        by_read, by_modify = read / best[_CHOSEN][0], modify / best[_CHOSEN][1]
        sys.stdout.write(
            f"{name:<18}{_version(name) or '':<8} read {read:4.0f}  modify {modify:4.0f}   "
            f"× {by_read:.2f}  × {by_modify:.2f} of {_CHOSEN}'s\n"
        )


def _measure_plain(port: int) -> None:
    calls = {name: make(port) for name, make in _installed(_PLAIN).items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(_ROUNDS):  # in turns, so that all have the same machine
        for name, (read, modify, _) in calls.items():
            taken[name].append((_timed(read), _timed(modify)))
    _show("threads, one at a time", taken)
    for _, _, close in calls.values():
        close()


async def _measure_async(port: int) -> None:
    calls = {name: await make(port) for name, make in _installed(_ASYNC).items()}
    for tasks in (1, _TASKS):
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
        for _ in range(_ROUNDS):
            for name, (read, modify, _) in calls.items():
                taken[name].append((await _timed_async(read, tasks), await _timed_async(modify, tasks)))
        _show(f"asyncio, {tasks} in flight", taken)
    for _, _, close in calls.values():
        await close()


def main() -> None:
    """Measure and print."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise SystemExit("apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    parser = f"with hiredis {_version('hiredis')}" if _version("hiredis") else "without hiredis"
    sys.stdout.write(f"{len(_PAYLOAD)} bytes, redis {parser}; modify: a read and a write\n")
    with tempfile.TemporaryDirectory() as folder:
        arguments = [program, "--port", str(port), "--bind", _HOST, "--save", "", "--dir", folder]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as server:  # noqa: S603
            try:
                time.sleep(0.3)
                _measure_plain(port)
                asyncio.run(_measure_async(port))
            finally:
                server.kill()


if __name__ == "__main__":
    main()
