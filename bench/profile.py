"""Where a read and a modify of the embedded engine spend their time; alone: ``python -m bench.profile``.

The functions of each stage are wrapped; a stage's time is its own, without that of stages it calls.  The
wrapping itself takes about 0.3 µs a call, so the sums are somewhat above what ``python -m bench`` measures.
"""

from __future__ import annotations

import gc
import tempfile
from functools import wraps
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bench import site
from bench.contenders import EMBEDDED, SQLITE, contenders
from bench.data import SIZES, before_sign_in
from sojourn import recording
from sojourn.manager import Manager
from sojourn.recording import Recorder
from sojourn.sealing import Sealed
from sojourn.session import Session
from sojourn.stores.embedded import EmbeddedStore
from sojourn.values import MessagePackCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.contenders import Contender

#: Size → stage → operation → microseconds.
Profile: TypeAlias = "dict[int, dict[str, dict[str, float]]]"

_OPERATIONS: Final = ("read", "modify")
_DJANGO: Final = "Django's SessionStore"
_ALL: Final = "all"
_RAW: Final = "the raw statements alone"
_STAGES: Final[dict[str, tuple[tuple[Any, str], ...]]] = {
    "SQLite, through the store": ((EmbeddedStore, "load"), (EmbeddedStore, "update")),
    "sealing: BLAKE2b, AES-256-GCM": ((Sealed, "open"), (Sealed, "seal")),
    "values as bytes": (
        (recording, "frame"), (recording, "unframe"),
        (MessagePackCodec, "encode"), (MessagePackCodec, "decode"),
    ),
    "records": ((Recorder, "key"), (Recorder, "read"), (Recorder, "write")),
    "what changed": ((Session, "changes"), (Session, "saved")),
    "manager and policy": ((Manager, "open"), (Manager, "commit")),
}  # fmt: skip
__all__ = ["Profile", "lines", "measure"]

_ROUNDS: Final = 3_000

_spent: dict[str, int] = {}
#: Nanoseconds that stages called from the running one have taken so far, for each one that is running.
_within: list[int] = [0]


def measure(everybody: Mapping[str, Contender]) -> Profile:
    """Return size → stage → operation → median microseconds.  Nothing is to be measured after it."""
    raw = {size: _times(everybody[SQLITE], size) for size in SIZES}
    for stage, functions in _STAGES.items():
        for owner, function in functions:
            setattr(owner, function, _timed(stage, getattr(owner, function)))
    found: Profile = {}
    for size in SIZES:
        found[size] = {stage: dict.fromkeys(_OPERATIONS, 0.0) for stage in (*_STAGES, _DJANGO, _ALL)}
        for operation, stages in _times(everybody[EMBEDDED], size).items():
            for stage, taken in stages.items():
                found[size][stage][operation] = taken
        found[size][_RAW] = {operation: stages[_ALL] for operation, stages in raw[size].items()}
    return found


def lines(profile: Profile) -> Iterator[str]:
    """Write a profile as text."""
    for size, stages in profile.items():
        yield f"{f'embedded, {size} B: where (µs)':34}" + "".join(f"{name:>8}" for name in _OPERATIONS)
        for stage, taken in stages.items():
            yield f"  {stage:32}" + "".join(f"{taken[operation]:8.1f}" for operation in _OPERATIONS)
        yield ""


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


def _times(contender: Contender, size: int) -> dict[str, dict[str, float]]:
    """Return operation → stage → median microseconds."""
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
        name: {stage: median(spent) / 1_000 for stage, spent in stages.items()}
        for name, stages in taken.items()
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="sojourn-bench-") as name:
        site.set_up(Path(name))
        print("\n".join(lines(measure(contenders(Path(name))))))
