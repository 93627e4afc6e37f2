"""One file, several processes: each reads and writes sessions of its own as fast as it can.

The processes are started once and told whom to try next, so contenders take turns as in one process.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, perf_counter_ns, sleep
from typing import TYPE_CHECKING, Any

from bench import site
from bench.contenders import DB, EMBEDDED, SQLITE, contenders
from bench.data import signed_in

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from bench.contenders import Contender

__all__ = ["COUNTS", "NAMES", "Load", "measure"]

COUNTS = (1, 2, 4)
NAMES = (DB, EMBEDDED, SQLITE)

_SIZE = 2_000
_SESSIONS = 50
_READS_PER_WRITE = 3
_SLICE = 0.4
_HEAD_START = 0.02


@dataclass(frozen=True, slots=True)
class Load:
    """What some processes did together; times of writes in microseconds."""

    operations_per_second: float
    p50: float
    p99: float
    p999: float

    def as_json(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def measure(folder: Path, *, rounds: int) -> dict[int, dict[str, Load]]:
    """Return what 1, 2 and 4 processes get done in ``rounds``, three reads to each write."""
    context = get_context("spawn")
    pipes: list[Connection] = []
    workers = []
    for _ in range(max(COUNTS)):
        ours, theirs = context.Pipe()
        worker = context.Process(target=_work, args=(str(folder), theirs), daemon=True)
        worker.start()
        ours.recv()  # ready; one after the other, so that they do not meet while they set up
        pipes.append(ours)
        workers.append(worker)
    done: dict[tuple[int, str], int] = {}
    writes: dict[tuple[int, str], list[float]] = {}
    turns = [(count, name) for count in COUNTS for name in NAMES]
    for _ in range(rounds):
        random.shuffle(turns)
        for count, name in turns:
            start = monotonic() + _HEAD_START
            for pipe in pipes[:count]:
                pipe.send((name, start))
            for pipe in pipes[:count]:
                operations, taken = pipe.recv()
                done[count, name] = done.get((count, name), 0) + operations
                writes.setdefault((count, name), []).extend(taken)
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send(None)
        worker.join()
    return {
        count: {name: _load(done[count, name] / (rounds * _SLICE), writes[count, name]) for name in NAMES}
        for count in COUNTS
    }


def _load(operations_per_second: float, writes: list[float]) -> Load:
    ordered = sorted(writes)
    last = len(ordered) - 1
    return Load(
        operations_per_second,
        p50=ordered[last // 2],
        p99=ordered[last * 99 // 100],
        p999=ordered[last * 999 // 1000],
    )


def _work(folder: str, pipe: Connection) -> None:
    """Be one of the processes, until told ``None``."""
    site.set_up(Path(folder), migrate=False)
    everybody = contenders(Path(folder))
    tokens = {name: [everybody[name].new(signed_in(_SIZE)) for _ in range(_SESSIONS)] for name in NAMES}
    pipe.send("ready")
    while (told := pipe.recv()) is not None:
        name, start = told
        sleep(max(0, start - monotonic()))
        pipe.send(_slice(everybody[name], tokens[name], until=start + _SLICE))


def _slice(contender: Contender, tokens: list[str], *, until: float) -> tuple[int, list[float]]:
    """Read and write until ``until``; return how many of both, and what each write took."""
    operations, writes = 0, []
    while monotonic() < until:
        for _ in range(_READS_PER_WRITE):
            contender.read(random.choice(tokens))
        opened: Any = contender.open(random.choice(tokens))
        start = perf_counter_ns()
        contender.save(opened)
        writes.append((perf_counter_ns() - start) / 1_000)
        operations += _READS_PER_WRITE + 1
    return operations, writes
