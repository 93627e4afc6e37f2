"""What Sojourn sets itself, and whether a run reached it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import databases
from bench.contenders import COOKIES, DB, DB_OURS, EMBEDDED, LOCMEM, MEMORY, SEALED, SQLITE
from bench.data import SIZES
from bench.networked import MEMCACHED, PYMEMCACHE, RAW_MEMCACHED, RAW_REDIS, REDIS, REDIS_CACHE
from bench.tasks import OURS, TASKS, THEIRS
from bench.wsgi import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.operations import Medians
    from bench.processes import Load
    from bench.tasks import Rates

__all__ = ["Target", "database_targets", "networked_targets", "targets"]


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio, and what it may be at most or has to be at least."""

    text: str
    ratio: float
    limit: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the ratio is within its limit."""
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit


def targets(operations: Medians, loads: Mapping[int, Mapping[str, Load]]) -> list[Target]:
    """Return every target with what this run measured."""
    found = [*_memory(operations), *_embedded(operations), *_small_key(operations), *_cookies(operations)]
    if loads:
        found += _several_processes(loads[max(loads)])
    return found


def _memory(operations: Medians) -> Iterator[Target]:
    for operation in ("read", "modify"):
        for size, taken in operations[operation].items():
            ratio = taken[LOCMEM] / taken[MEMORY]
            text = f"memory {operation}, {size} B: so many times faster than Django's LocMem"
            yield Target(text, ratio, 2, at_least=True)


def _embedded(operations: Medians) -> Iterator[Target]:
    limits: dict[str, dict[int, float]] = {
        "read": dict.fromkeys(SIZES, 3),
        "modify": {200: 2, 2_000: 2.5, 12_000: 3},
    }
    faster = {200: 15, 2_000: 12, 12_000: 10}
    for operation, by_size in limits.items():
        for size, limit in by_size.items():
            taken = operations[operation][size]
            name = f"embedded {operation}, {size} B"
            yield Target(f"{name}: times the raw statements", taken[EMBEDDED] / taken[SQLITE], limit)
            ratio = taken[DB] / taken[EMBEDDED]
            yield Target(f"{name}: times faster than Django's db", ratio, faster[size], at_least=True)


def _small_key(operations: Medians) -> Iterator[Target]:
    small, large = (operations["read"][size] for size in (min(SIZES), max(SIZES)))
    for name in (MEMORY, EMBEDDED):
        text = f"{name.removeprefix('Sojourn ')}: reading a small key of 12 KB, times that of 200 B"
        yield Target(text, large[name] / small[name], 2)


def _cookies(operations: Medians) -> Iterator[Target]:
    for operation in ("read", "modify"):
        for size in (200, 2_000):
            taken = operations[operation][size]
            text = f"signed_cookies {operation}, {size} B: so many times faster than Django's signed_cookies"
            yield Target(text, taken[COOKIES] / taken[SEALED], 2, at_least=True)


def _several_processes(loads: Mapping[str, Load]) -> Iterator[Target]:
    ours, raw = loads[EMBEDDED], loads[SQLITE]
    throughput = ours.operations_per_second / raw.operations_per_second
    yield Target("embedded, 4 processes: throughput, times raw sqlite3's", throughput, 0.5, at_least=True)
    yield Target("embedded, 4 processes: p999 of writes, times raw sqlite3's", ours.p999 / raw.p999, 1)


#: Ours, the raw client, Django's engine, and how many times faster than that each operation has to be.
_NETWORKED = (
    (MEMCACHED, RAW_MEMCACHED, PYMEMCACHE, {"read": 1.8, "modify": 2, "new": 4, "login": 2.5}),
    (REDIS, RAW_REDIS, REDIS_CACHE, {"read": 2.5, "modify": 3.5, "login": 4}),
)
_PARTS = {PYMEMCACHE: 1 / 4, REDIS_CACHE: 1 / 3}
_NETWORKED_SIZE = 2_000


def networked_targets(operations: Medians, pages: Medians, rates: Rates) -> Iterator[Target]:
    """Return the targets of those on servers, for sessions of 2 KB, if they were measured."""
    size = _NETWORKED_SIZE
    for ours, raw, djangos, faster in _NETWORKED:
        if ours not in operations["read"][size]:
            continue
        name = ours.removeprefix("Sojourn ")
        for operation, limit in (("read", 1.3), ("modify", 1.5)):
            taken = operations[operation][size]
            yield Target(f"{name} {operation}: times the raw client", taken[ours] / taken[raw], limit)
        for operation, limit in faster.items():
            taken = operations[operation][size]
            text = f"{name} {operation}: times faster than Django's"
            yield Target(text, taken[djangos] / taken[ours], limit, at_least=True)
        page = pages["page"][size]
        added = (page[ours] - page[NONE]) / (page[djangos] - page[NONE])
        yield Target(f"{name}: what a read adds to a page, times what Django's adds", added, _PARTS[djangos])
    for operation, by_name in rates.items():
        text = f"asyncio, {TASKS} tasks, {operation} in Redis: times starsessions' throughput"
        yield Target(text, by_name[OURS] / by_name[THEIRS], 2, at_least=True)


#: Django's engine, ours, what ours is called, and how many times faster each operation has to be.
_DATABASES = (
    (databases.DJANGOS, databases.OURS, "db on PostgreSQL", {"read": 4, "modify": 3, "login": 3.5}),
    (DB, DB_OURS, "db on SQLite", {"read": 6, "modify": 6}),
    (databases.DJANGOS_CACHED, databases.CACHED, "cached_db", {"modify": 2, "login": 3}),
)


def database_targets(operations: Medians) -> Iterator[Target]:
    """Return the targets of those in databases, if they were measured."""
    for djangos, ours, name, faster in _DATABASES:
        for operation, limit in faster.items():
            for size, taken in operations[operation].items():
                if ours in taken:
                    text = f"{name} {operation}, {size} B: times faster than Django's"
                    yield Target(text, taken[djangos] / taken[ours], limit, at_least=True)
    for size, taken in operations["read"].items():
        if databases.CACHED in taken:
            ratio = taken[databases.CACHED] / taken[databases.RAW_GET]
            yield Target(f"cached_db read, {size} B: times the raw get", ratio, 1.5)
