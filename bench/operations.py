"""The operations, measured in rounds: in each, every contender does a little of everything.

So whatever disturbs the machine for a while disturbs all alike, and medians can be compared.
"""

from __future__ import annotations

import gc
import random
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, TypeAlias

from bench.data import SIZES, before_sign_in, visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bench.contenders import Contender

__all__ = ["OPERATIONS", "Medians", "measure", "microseconds"]

OPERATIONS = ("read", "modify", "new", "login", "logout")

#: Operation → size → contender → microseconds.
Medians: TypeAlias = "dict[str, dict[int, dict[str, float]]]"

#: Sessions of each size that are there before anything is measured, and that are used in one round.
_HELD = 200
_BATCH = 10
#: How often each of them is read and modified in one round.
_READS = 4
_MODIFIES = 2


def measure(contenders: Mapping[str, Contender], *, rounds: int) -> Medians:
    """Return the median of what each operation takes in ``rounds``."""
    for size in SIZES:
        values = visitor(size)
        for contender in contenders.values():
            for _ in range(_HELD):
                contender.new(values)
    gc.collect()
    gc.freeze()
    samples: dict[str, dict[int, dict[str, list[float]]]] = {
        operation: {size: {name: [] for name in contenders} for size in SIZES} for operation in OPERATIONS
    }
    turns = [(size, name) for size in SIZES for name in contenders]
    for _ in range(rounds):
        random.shuffle(turns)
        for size, name in turns:
            for operation, taken in _round(contenders[name], size).items():
                samples[operation][size][name].extend(taken)
    gc.unfreeze()
    return {
        operation: {
            size: {name: median(taken) for name, taken in of_size.items()}
            for size, of_size in of_operation.items()
        }
        for operation, of_operation in samples.items()
    }


def _round(contender: Contender, size: int) -> dict[str, list[float]]:
    """Take some sessions of ``size`` bytes from their beginning to their end."""
    whole, before = visitor(size), before_sign_in(size)
    visitors = [contender.new(before) for _ in range(_BATCH)]
    users: list[str] = []
    return {
        "new": microseconds(lambda _: contender.new(whole), visitors),
        "login": microseconds(lambda token: users.append(contender.login(token)), visitors),
        "read": microseconds(contender.read, users * _READS),
        "modify": microseconds(lambda token: contender.save(contender.open(token)), users * _MODIFIES),
        "logout": microseconds(contender.logout, users),
    }


def microseconds(work: Callable[[str], object], tokens: Iterable[str]) -> list[float]:
    """Return what ``work`` takes for each of ``tokens``."""
    taken: list[float] = []
    for token in tokens:
        start = perf_counter_ns()
        work(token)
        taken.append((perf_counter_ns() - start) / 1_000)
    return taken
