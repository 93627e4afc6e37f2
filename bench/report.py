"""What a run measured, as text and as JSON."""

from __future__ import annotations

import platform
import sqlite3
from dataclasses import dataclass
from os import cpu_count
from typing import TYPE_CHECKING, Any, Final

import django

from bench import profile
from bench.contenders import (
    COOKIES,
    CORE,
    DB,
    DB_OURS,
    DICT,
    EMBEDDED,
    FILE,
    FIRST,
    LOCMEM,
    MEMORY,
    SEALED,
    SQLITE,
)
from bench.data import SIZES
from bench.databases import CACHED, CONNECTING, DJANGOS, DJANGOS_CACHED, OURS, RAW, RAW_GET
from bench.networked import KEPT_OPEN, MEMCACHED, PYMEMCACHE, RAW_MEMCACHED, RAW_REDIS, REDIS, REDIS_CACHE
from bench.tasks import TASKS
from bench.wsgi import NONE, own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.operations import Medians
    from bench.processes import Load
    from bench.profile import Profile
    from bench.targets import Target
    from bench.tasks import Rates

__all__ = ["Run"]

#: Who is compared with whom: names, the one of Django's that is 1, the floor that is 1.
_GROUPS: Final = (
    ((LOCMEM, MEMORY, own(MEMORY), DICT), LOCMEM, DICT),
    ((FILE, DB, DB_OURS, EMBEDDED, own(EMBEDDED), CORE, SQLITE), DB, SQLITE),
    ((PYMEMCACHE, KEPT_OPEN, MEMCACHED, own(MEMCACHED), RAW_MEMCACHED), PYMEMCACHE, RAW_MEMCACHED),
    ((REDIS_CACHE, REDIS, own(REDIS), RAW_REDIS), REDIS_CACHE, RAW_REDIS),
    ((DJANGOS, OURS, RAW), DJANGOS, RAW),
    ((DJANGOS + CONNECTING, OURS + CONNECTING), DJANGOS + CONNECTING, None),
    ((DJANGOS_CACHED, CACHED, RAW_GET), DJANGOS_CACHED, RAW_GET),
    ((COOKIES, SEALED, FIRST), COOKIES, None),
    ((NONE,), None, None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything one run measured."""

    operations: Medians
    pages: Medians
    loads: Mapping[int, Mapping[str, Load]]
    rates: Rates
    profile: Profile
    targets: list[Target]

    def as_json(self) -> dict[str, Any]:
        """Return the figures and what they were measured with."""
        return {
            "python": platform.python_version(),
            "django": django.get_version(),
            "sqlite": sqlite3.sqlite_version,
            "machine": platform.machine(),
            "cpus": cpu_count(),
            "microseconds": {**self.operations, **self.pages},
            "processes": {
                count: {name: load.as_json() for name, load in by_name.items()}
                for count, by_name in self.loads.items()
            },
            "per_second": self.rates,
            "profiles": self.profile,
            "targets": [
                {
                    "target": target.text,
                    "ratio": target.ratio,
                    "at least" if target.at_least else "at most": target.limit,
                    "reached": target.reached,
                }
                for target in self.targets
            ],
        }

    def as_text(self) -> str:
        """Return tables with ratios."""
        lines = [f"CPython {platform.python_version()}, Django {django.get_version()}, {cpu_count()} CPUs"]
        for name, by_size in (self.operations | self.pages).items():
            lines += ["", *_table(name, by_size)]
        if self.loads:
            lines += ["", *_loads(self.loads)]
        if self.rates:
            lines += ["", *_rates(self.rates)]
        lines += ["", *profile.lines(self.profile)]
        lines += _targets(self.targets)
        return "\n".join(lines)


def _table(name: str, by_size: Mapping[int, Mapping[str, float]]) -> Iterator[str]:
    header = "".join(f"{f'{size} B':>10}{'×floor':>8}{'Django÷':>8}" for size in SIZES)
    yield f"{f'{name} (µs)':38}{header}"
    for names, django_name, floor in _GROUPS:
        for contender in names:
            if contender not in by_size[SIZES[0]]:
                continue
            cells = ""
            for size in SIZES:
                taken = by_size[size]
                times = _ratio(taken[contender], taken.get(floor or ""))
                faster = _ratio(taken.get(django_name or ""), taken[contender])
                cells += f"{taken[contender]:10.1f}{times:>8}{faster:>8}"
            yield f"  {contender:36}{cells}"


def _ratio(above: float | None, below: float | None) -> str:
    return "" if above is None or below is None else f"{above / below:.1f}"


def _loads(loads: Mapping[int, Mapping[str, Load]]) -> Iterator[str]:
    yield f"{'processes, 3 reads to a write':34}{'per second':>12}{'p50 µs':>10}{'p99 µs':>10}{'p999 µs':>10}"
    for count, by_name in loads.items():
        for name, load in by_name.items():
            yield (
                f"  {f'{count}: {name}':32}{load.operations_per_second:12,.0f}"
                f"{load.p50:10.0f}{load.p99:10.0f}{load.p999:10.0f}"
            )


def _rates(rates: Rates) -> Iterator[str]:
    yield f"{f'asyncio, {TASKS} tasks, 2000 B':34}" + "".join(f"{f'{name}/s':>14}" for name in rates)
    for contender in next(iter(rates.values())):
        yield f"  {contender:32}" + "".join(f"{by_name[contender]:14,.0f}" for by_name in rates.values())


def _targets(targets: list[Target]) -> Iterator[str]:
    yield f"{'targets':76}{'measured':>10}{'target':>10}"
    for target in targets:
        limit = f"{'≥' if target.at_least else '≤'} {target.limit:.3g}"
        verdict = "reached" if target.reached else "MISSED"
        yield f"  {target.text:74}{target.ratio:10.2f}{limit:>10}  {verdict}"
