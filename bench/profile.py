"""Where a read and a modify spend their time; alone: ``python -m bench.profile``.

The functions of each stage are wrapped; a stage's time is its own, without that of stages it calls.  The
wrapping itself takes about 0.3 µs a call, so the sums are somewhat above what ``python -m bench`` measures.
"""

from __future__ import annotations

import gc
import select
import socket
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import wraps
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bench import site
from bench.contenders import COOKIES, EMBEDDED, FIRST, SEALED, SQLITE, contenders
from bench.data import SIZES, before_sign_in
from bench.networked import MEMCACHED, RAW_MEMCACHED, RAW_REDIS, REDIS, networked, servers
from sojourn import recording
from sojourn.carriers import plain, sealed, steps
from sojourn.carriers.envelopes import Envelopes
from sojourn.manager import CookieManager, Manager
from sojourn.recording import Recorder
from sojourn.sealing import Sealed
from sojourn.session import Session
from sojourn.stores.embedded import EmbeddedStore
from sojourn.stores.lines import Line, Pool
from sojourn.stores.memcached import MemcachedStore, protocol
from sojourn.stores.valkey import ValkeyStore, connections
from sojourn.values import MessagePackCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.contenders import Contender

#: Engine → size → stage → operation → microseconds.
Profile: TypeAlias = "dict[str, dict[int, dict[str, dict[str, float]]]]"

_OPERATIONS: Final = ("read", "modify")
_DJANGO: Final = "Django's SessionStore"
_ALL: Final = "all"
_SYSTEM: Final = "system calls: the server's answer"
_STORE: Final = "the store"

#: Who is looked at, beside whom.
_ENGINES: Final = {
    EMBEDDED: SQLITE, MEMCACHED: RAW_MEMCACHED, REDIS: RAW_REDIS, SEALED: COOKIES, FIRST: COOKIES
}  # fmt: skip
_STAGES: Final[dict[str, tuple[tuple[Any, str], ...]]] = {
    _SYSTEM: ((socket.socket, "send"), (socket.socket, "recv"), (Line, "look")),
    "connections and deadlines": (
        (Pool, "borrow"), (Pool, "give_back"), (Line, "is_quiet"), (Line, "send"), (Line, "receive"),
    ),
    "commands and replies": (
        (protocol, "fetch"), (protocol, "replace"), (protocol.Replies, "feed"),
        (connections, "packed"), (connections.TimedConnection, "read_reply"),
    ),
    _STORE: tuple(
        (store, name) for store in (EmbeddedStore, MemcachedStore, ValkeyStore) for name in ("load", "update")
    ),
    "sealing: BLAKE2b, AES-256-GCM": (
        (Sealed, "open"), (Sealed, "seal"), (Envelopes, "open"), (Envelopes, "seal"),
    ),
    "base64, compression": (
        (sealed, "_encoded"), (sealed, "_decoded"), (sealed, "_compressed"), (sealed, "_decompressed"),
    ),
    "values as bytes": (
        (recording, "frame"), (recording, "unframe"), (plain, "frame"),
        (MessagePackCodec, "encode"), (MessagePackCodec, "decode"),
    ),
    "records": (
        (Recorder, "key"), (Recorder, "read"), (Recorder, "write"), (Recorder, "open"),
        (steps, "plain_record"), (sealed.SealedCarrier, "read"), (sealed.SealedCarrier, "write"),
    ),
    "what changed": ((Session, "changes"), (Session, "saved")),
    "manager and policy": (
        (Manager, "open"), (Manager, "commit"), (CookieManager, "open"), (CookieManager, "commit"),
    ),
}  # fmt: skip
__all__ = ["Profile", "lines", "measure"]

_ROUNDS: Final = 2_000

_spent: dict[str, int] = {}
#: Nanoseconds that stages called from the running one have taken so far, for each one that is running.
_within: list[int] = [0]


def measure() -> Profile:
    """Return engine → size → stage → operation → median microseconds, of a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure).result()


def _measure() -> Profile:
    with tempfile.TemporaryDirectory(prefix="sojourn-bench-") as name, servers(Path(name)) as caches:
        site.set_up(Path(name), caches=caches)
        everybody = contenders(Path(name)) | networked(caches)
        engines = [engine for engine in _ENGINES if engine in everybody]
        raw = {
            engine: {size: _times(everybody[_ENGINES[engine]], size) for size in SIZES} for engine in engines
        }
        _wrap()  # before ours open their connections
        return {
            engine: _profile(everybody[engine], f"{_ENGINES[engine]} alone", raw[engine])
            for engine in engines
        }


def _profile(
    contender: Contender, beside: str, raw: Mapping[int, _Times]
) -> dict[int, dict[str, dict[str, float]]]:
    found: dict[int, dict[str, dict[str, float]]] = {}
    for size in SIZES:
        times = _times(contender, size)
        stages = [stage for stage in (*_STAGES, _DJANGO, _ALL) if any(stage in of for of in times.values())]
        found[size] = {
            stage: {operation: of.get(stage, 0.0) for operation, of in times.items()} for stage in stages
        }
        found[size][beside] = {operation: of[_ALL] for operation, of in raw[size].items()}
    return found


def lines(profile: Profile) -> Iterator[str]:
    """Write a profile as text."""
    for engine, sizes in profile.items():
        for size, stages in sizes.items():
            yield f"{f'{engine}, {size} B: where (µs)':34}" + "".join(f"{name:>8}" for name in _OPERATIONS)
            for stage, taken in stages.items():
                yield f"  {stage:32}" + "".join(f"{taken[operation]:8.1f}" for operation in _OPERATIONS)
            yield ""


def _wrap() -> None:
    for stage, functions in _STAGES.items():
        for owner, function in functions:
            setattr(owner, function, _timed(stage, getattr(owner, function)))
    select.poll = _Poll  # type: ignore[assignment,misc]


class _Poll:
    """``select.poll``, its waiting timed; a mere look belongs to whoever looks."""

    def __init__(self, poll: Callable[[], Any] = select.poll) -> None:
        polling = poll()
        self.register = polling.register
        self._look = polling.poll
        self._wait = _timed(_SYSTEM, polling.poll)

    def poll(self, milliseconds: float) -> Any:
        return self._wait(milliseconds) if milliseconds else self._look(milliseconds)


def _timed(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(work)
    def timed(*arguments: Any, **options: Any) -> Any:
        _within.append(0)
        start = perf_counter_ns()
        try:
            return work(*arguments, **options)
        finally:
            taken = perf_counter_ns() - start
            _spent[stage] = _spent.get(stage, 0) + taken - _within.pop()
            _within[-1] += taken

    return timed


#: Operation → stage → median microseconds.
_Times: TypeAlias = dict[str, dict[str, float]]


def _times(contender: Contender, size: int) -> _Times:
    """Return what each operation takes."""
    token = contender.login(contender.new(before_sign_in(size)))
    operations: dict[str, Callable[[], object]] = {
        "read": lambda: contender.read(token),
        "modify": lambda: contender.save(contender.open(token)),
    }
    gc.collect()
    gc.freeze()
    taken: dict[str, dict[str, list[int]]] = {name: {} for name in operations}
    for _ in range(_ROUNDS):
        for name, operation in operations.items():
            _spent.clear()
            _within[:] = [0]
            start = perf_counter_ns()
            operation()
            whole = perf_counter_ns() - start
            for stage, spent in {**_spent, _DJANGO: whole - _within[0], _ALL: whole}.items():
                taken[name].setdefault(stage, []).append(spent)
    return {
        name: {stage: median(spent + [0] * (_ROUNDS - len(spent))) / 1_000 for stage, spent in stages.items()}
        for name, stages in taken.items()
    }


if __name__ == "__main__":
    print("\n".join(lines(measure())))
