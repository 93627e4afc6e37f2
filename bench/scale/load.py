"""What others feel of a purge: clients at work before it and while it runs, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bench.data import SIZES
from bench.scale.sessions import records
from sojourn.stores.from_url import from_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.synchronize import Barrier, Event

    from bench.scale.places import Place
    from sojourn.store import Store

__all__ = ["CLIENTS", "Purged", "medians_of_reads", "purged"]

CLIENTS: Final = 4
#: Operations a second of each client: a site at work, which leaves the machine time to spare.
_RATE: Final = 100
#: Of ten operations: reads, saves (a read and an update), new sessions.
_MIX: Final = ("read",) * 8 + ("save", "new")

_ROUNDS: Final = 20
_READS: Final = 500
_ENDLESS: Final = 1 << 62


class Sample(NamedTuple):
    """One operation.  In seconds; instants on the monotonic clock, which all processes share."""

    kind: str
    began: float
    took: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Felt:
    """What operations took in some time, in microseconds."""

    operations: int
    reads_p50: int
    reads_p99: int
    worst_read: int
    worst: int

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Felt:
        """Return the figures of ``samples``."""
        reads = sorted(sample.took for sample in samples if sample.kind == "read")
        return cls(
            operations=len(samples),
            reads_p50=round(reads[len(reads) // 2] * 1e6),
            reads_p99=round(reads[len(reads) * 99 // 100] * 1e6),
            worst_read=round(reads[-1] * 1e6),
            worst=round(max(sample.took for sample in samples) * 1e6),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """A purge, and what others felt of it."""

    before: Felt
    #: From its beginning on, for as long as it took, and at least as long as before.
    during: Felt
    #: Seconds from the command to its end.
    seconds: float
    #: What it said of itself.
    said: str


def purged(place: Place, keys: Sequence[str], *, seconds: float) -> Purged:
    """Purge ``place`` as an operator does, beside clients that use the sessions of ``keys``.

    The clients work for ``seconds`` before it, and for as long from its beginning, or until it is done.
    """
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Barrier(CLIENTS + 1), context.Event()
    with context.Pool(CLIENTS, _share, (ready, stop)) as pool:
        shares = [(place.url, place.is_dated, keys[number::CLIENTS]) for number in range(CLIENTS)]
        working = [pool.apply_async(_work, share) for share in shares]
        ready.wait()
        time.sleep(seconds)
        began = time.monotonic()
        said = _purge(place.url)
        ended = time.monotonic()
        time.sleep(max(0.0, began + seconds - ended))
        stop.set()
        samples = [sample for work in working for sample in work.get()]
    return Purged(
        before=Felt.of([sample for sample in samples if sample.began < began]),
        during=Felt.of([sample for sample in samples if sample.began >= began]),
        seconds=round(ended - began, 1),
        said=said,
    )


def _purge(url: str) -> str:
    command = [sys.executable, "-m", "sojourn.cli", "purge"]
    given = os.environ | {"SOJOURN_STORE": url}
    done = subprocess.run(command, env=given, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - ours
    return done.stdout.strip()


_shared: tuple[Barrier, Event]


def _share(*shared: Any) -> None:
    """Keep what all clients have in common: their processes are given it at the start only."""
    global _shared  # noqa: PLW0603
    _shared = shared  # type: ignore[assignment]


def _work(url: str, is_dated: bool, keys: Sequence[str]) -> list[Sample]:  # noqa: FBT001 - called by the pool
    """Use the sessions of ``keys`` until told to stop; return what each operation took."""
    ready, stop = _shared
    chance = random.Random()
    samples: list[Sample] = []
    new = records(_ENDLESS, SIZES[0], absolute=is_dated)
    with closing(from_url(f"{url}{'&' if '?' in url else '?'}purge_every=none")) as store:
        store.load(keys[0])  # connects
        ready.wait()
        while not stop.wait(chance.expovariate(_RATE)):
            kind, key, record = chance.choice(_MIX), chance.choice(keys), next(new)
            began = time.monotonic()
            if kind == "new":
                store.create(record)
            else:
                found = store.load(key)
                assert found is not None, "purging has removed a living session"  # noqa: S101
                if kind == "save":
                    store.update(replace(found, payload=record.payload), found.version)
            samples.append(Sample(kind, began, time.monotonic() - began))
    return samples


def medians_of_reads(places: Mapping[int, Place], keys: Mapping[int, Sequence[str]]) -> dict[int, float]:
    """Return the median of a read, in microseconds, of each place; they take turns.

    Each session was read once before: a server in use has what it uses in memory.
    """
    stores: dict[int, Store] = {number: from_url(place.url) for number, place in places.items()}
    taken: dict[int, list[float]] = {number: [] for number in places}
    chance = random.Random(1)
    for number, store in stores.items():
        for key in keys[number]:
            store.load(key)
    for _ in range(_ROUNDS):
        for number, store in stores.items():
            for key in chance.choices(keys[number], k=min(_READS, len(keys[number]))):
                began = time.perf_counter()
                store.load(key)
                taken[number].append(time.perf_counter() - began)
    for store in stores.values():
        store.close()
    return {number: round(median(times) * 1e6, 1) for number, times in taken.items()}
