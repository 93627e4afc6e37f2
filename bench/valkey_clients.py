"""``python -m bench.valkey_clients redis://127.0.0.1:6379``: which client of Redis and Valkey costs how much.

Measures a GET of 2,000 bytes and a compare-and-set by EVALSHA, through each client that is installed, one at
a time and (for asyncio) with 64 tasks in flight.  ``pip install redis hiredis valkey libvalkey valkey-glide
valkey-glide-sync`` brings all of them.  The floor is a socket without any client.  Ours are the
store's own ``load`` and ``update``, records made and taken apart included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import itertools
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from sojourn.errors import ConflictError
from sojourn.record import Record
from sojourn.stores.valkey import AsyncValkeyStore, ValkeyStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_KEY: Final = "bench:" + "0" * 64
_VALUE: Final = b"v" * 2_000
_SCRIPT: Final = (
    "if redis.call('GETRANGE', KEYS[1], 0, 0) ~= 'v' then return 0 end "
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1"
)
_ROUNDS: Final = 7
_TASKS: Final = 64


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} (not installed)"


def _best(call: Callable[[], object], count: int) -> float:
    """Return the microseconds one call takes in the quickest round: a busy machine only adds."""
    rounds: list[float] = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for _ in range(count):
            call()
        rounds.append((time.perf_counter() - started) / count * 1e6)
    return min(rounds)


async def _bests(call: Callable[[], Awaitable[object]], count: int) -> tuple[float, float]:
    """Return the same for one task and for 64 in flight."""
    alone: list[float] = []
    together: list[float] = []

    async def several() -> None:
        for _ in range(count // _TASKS):
            await call()

    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for _ in range(count):
            await call()
        alone.append((time.perf_counter() - started) / count * 1e6)
        started = time.perf_counter()
        await asyncio.gather(*[several() for _ in range(_TASKS)])
        together.append((time.perf_counter() - started) / (count // _TASKS * _TASKS) * 1e6)
    return min(alone), min(together)


def _floor(host: str, port: int, sha: str, count: int) -> tuple[float, float]:
    connection = socket.create_connection((host, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def command(*words: bytes) -> bytes:
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    def ask(packed: bytes, end: int) -> None:
        connection.sendall(packed)
        received = 0
        while received < end:
            received += len(connection.recv(65_536))

    key = _KEY.encode()
    read = command(b"GET", key)
    write = command(b"EVALSHA", sha.encode(), b"1", key, _VALUE, b"1800000")
    answer = len(b"$%d\r\n\r\n" % len(_VALUE)) + len(_VALUE)
    figures = _best(lambda: ask(read, answer), count), _best(lambda: ask(write, 4), count)
    connection.close()
    return figures


def _plain(client: Any, sha: str, count: int) -> tuple[float, float]:
    read = _best(lambda: client.execute_command("GET", _KEY), count)
    write = _best(lambda: client.execute_command("EVALSHA", sha, 1, _KEY, _VALUE, 1_800_000), count)
    client.close()
    return read, write


async def _async(client: Any, sha: str, count: int) -> tuple[float, ...]:
    read = await _bests(lambda: client.execute_command("GET", _KEY), count)
    write = await _bests(lambda: client.execute_command("EVALSHA", sha, 1, _KEY, _VALUE, 1_800_000), count)
    await client.aclose()
    return *read, *write


def _glide_plain(host: str, port: int, count: int) -> tuple[float, float]:
    import glide_sync as glide  # noqa: PLC0415 - may be absent

    client = glide.GlideClient.create(glide.GlideClientConfiguration([glide.NodeAddress(host, port)]))
    script = glide.Script(_SCRIPT)
    read = _best(lambda: client.get(_KEY), count)
    write = _best(lambda: client.invoke_script(script, keys=[_KEY], args=[_VALUE, "1800000"]), count)
    client.close()
    return read, write


async def _glide_async(host: str, port: int, count: int) -> tuple[float, ...]:
    import glide  # noqa: PLC0415 - may be absent

    client = await glide.GlideClient.create(glide.GlideClientConfiguration([glide.NodeAddress(host, port)]))
    script = glide.Script(_SCRIPT)
    read = await _bests(lambda: client.get(_KEY), count)
    write = await _bests(lambda: client.invoke_script(script, keys=[_KEY], args=[_VALUE, "1800000"]), count)
    await client.close()
    return *read, *write


def _record() -> Record:
    now = time.time_ns() // 1_000_000
    return Record(key=secrets.token_hex(32), payload=_VALUE, created_at=now, idle_deadline=now + 1_800_000)


def _ours(address: str, count: int) -> tuple[float, float]:
    store, record = ValkeyStore(address), _record()
    version = store.create(record)

    def save() -> None:
        nonlocal version
        version = store.update(record, version)

    figures = _best(lambda: store.load(record.key), count), _best(save, count)
    store.close()
    return figures


async def _ours_async(address: str, count: int) -> tuple[float, ...]:
    store = AsyncValkeyStore(address)
    records = [_record() for _ in range(_TASKS)]
    versions = [await store.create(record) for record in records]
    turns = itertools.cycle(range(_TASKS))

    async def save() -> None:
        turn = next(turns)
        with contextlib.suppress(ConflictError):
            versions[turn] = await store.update(records[turn], versions[turn])

    read = await _bests(lambda: store.load(records[0].key), count)
    write = await _bests(save, count)
    await store.close()
    return *read, *write


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.valkey_clients", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--count", type=int, default=3_000)
    arguments = parser.parse_args()
    address = urlsplit(arguments.url)
    host, port, count = str(address.hostname), address.port or 6379, arguments.count

    import redis  # noqa: PLC0415 - may be absent
    import redis.asyncio  # noqa: PLC0415

    with redis.Redis(host=host, port=port) as setup:
        setup.set(_KEY, _VALUE)
        sha = str(setup.script_load(_SCRIPT))

    rows: list[tuple[str, tuple[float, ...]]] = [("socket alone", _floor(host, port, sha, count))]
    rows.append((_version("redis"), _plain(redis.Redis(host=host, port=port), sha, count)))
    rows.append(
        (
            f"{_version('redis')}, asyncio",
            asyncio.run(_async(redis.asyncio.Redis(host=host, port=port), sha, count)),
        )
    )
    try:
        import valkey  # noqa: PLC0415
        import valkey.asyncio  # noqa: PLC0415

        rows.append((_version("valkey"), _plain(valkey.Valkey(host=host, port=port), sha, count)))
        rows.append(
            (
                f"{_version('valkey')}, asyncio",
                asyncio.run(_async(valkey.asyncio.Valkey(host=host, port=port), sha, count)),
            )
        )
    except ImportError:
        pass
    try:
        rows.append((_version("valkey-glide-sync"), _glide_plain(host, port, count)))
        rows.append((f"{_version('valkey-glide')}, asyncio", asyncio.run(_glide_async(host, port, count))))
    except ImportError:
        pass

    rows.append(("ours", _ours(f"{host}:{port}", count)))
    rows.append(("ours, asyncio", asyncio.run(_ours_async(f"{host}:{port}", count))))
    print(f"µs per command; {_version('hiredis')}, {_version('libvalkey')}\n")
    print("| client | read | write | read, 64 in flight | write, 64 in flight |")
    print("|---|---|---|---|---|")
    for name, figures in rows:
        if len(figures) == 2:  # noqa: PLR2004 - plain clients have no tasks
            print(f"| {name} | {figures[0]:.0f} | {figures[1]:.0f} | | |")
        else:
            read, reads, write, writes = figures
            print(f"| {name} | {read:.0f} | {write:.0f} | {reads:.0f} | {writes:.0f} |")


if __name__ == "__main__":
    main()
