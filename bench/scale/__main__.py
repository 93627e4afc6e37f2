"""``python -m bench.scale``: fill every store, measure, print, write JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.data import SIZES
from bench.scale.load import CLIENTS, medians_of_reads, purged
from bench.scale.places import BY_DAY, PLACES
from bench.scale.sessions import SHARE_EXPIRED, records
from bench.scale.sizes import weigh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from bench.scale.places import Place
    from sojourn.record import Record

_HERE: Final = Path(__file__).parent
_REFERENCE: Final = _HERE / "reference.json"
_LATEST: Final = _HERE.parent / "results" / "scale.json"

#: Larger sessions are so many times fewer: what one takes does not depend on how many there are.
_FEWER: Final = {size: max(1, size // SIZES[0]) for size in SIZES}

#: Where purging is ours to do: what is measured under load.
_PURGED: Final = {name: PLACES[name] for name in ("embedded", "mariadb", "postgresql")} | {
    "postgresql, by day": BY_DAY
}
#: A store with so many times fewer sessions, to compare reads with.
_SMALLER: Final = 100
_FEWEST: Final = 50
#: Sessions that are read, at most.
_READ: Final = 20_000


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000, help="of the smallest size")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long clients work before a purge")
    parser.add_argument("--only", choices=[*PLACES, *_PURGED], action="append", help="may be repeated")
    parser.add_argument("--no-sizes", action="store_true", help="leave out what a session takes")
    parser.add_argument("--no-purges", action="store_true", help="leave out reads and purges")
    parser.add_argument("--reference", action="store_true", help="update reference.json")
    arguments = parser.parse_args()
    started, chosen = time.monotonic(), arguments.only or [*PLACES, *_PURGED]
    figures: dict[str, Any] = {
        "sessions": arguments.sessions,
        "clients": CLIENTS,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "sizes": {},
        "reads": {},
        "purges": {},
    }
    with tempfile.TemporaryDirectory(prefix="sojourn-scale-") as name:
        folder = Path(name)
        for store in [] if arguments.no_sizes else [store for store in PLACES if store in chosen]:
            figures["sizes"][store] = dict(_sizes(store, folder, arguments.sessions))
        for store in [] if arguments.no_purges else [store for store in _PURGED if store in chosen]:
            reads, purge = _under_load(_PURGED[store], folder, arguments.sessions, arguments.seconds)
            figures["reads"][store], figures["purges"][store] = reads, purge
            print(f"{store}: {_told(reads, purge)}", flush=True)
    figures["targets"] = list(_targets(figures))
    for target in figures["targets"]:
        verdict = "reached" if target["reached"] else "MISSED"
        print(f"{target['target']}: {target['ratio']:.2f} (≤ {target['at most']}), {verdict}")
    print(f"{time.monotonic() - started:.0f} s")
    _LATEST.parent.mkdir(exist_ok=True)
    _LATEST.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if arguments.reference:
        _update_reference(figures)


def _sizes(name: str, folder: Path, sessions: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for size in SIZES:
        count = sessions // _FEWER[size]
        with PLACES[name](folder / f"{name}-{size}") as place:
            place.fill(records(count, size))
            weighed = weigh(place, sessions=count, size=size)
        print(f"{name}: {count:,} sessions of {size:,} B: {weighed.per_session:,.0f} bytes each", flush=True)
        yield str(size), weighed.as_json()


def _under_load(
    start: Callable[[Path], AbstractContextManager[Place]], folder: Path, sessions: int, seconds: float
) -> tuple[dict[str, float], dict[str, Any]]:
    counts, keys = (max(_FEWEST, sessions // _SMALLER), sessions), dict[int, list[str]]()
    with start(folder / "many") as many:
        with start(folder / "few") as few:
            places = dict(zip(counts, (few, many), strict=True))
            for count, place in places.items():
                keys[count] = []
                made = records(count, SIZES[0], expired=SHARE_EXPIRED, absolute=place.is_dated)
                place.fill(_noted(made, keys[count], every=-(-count // _READ)))
            reads = medians_of_reads(places, keys)
        purge = purged(many, keys[sessions], seconds=seconds)
    return {str(count): median for count, median in reads.items()}, asdict(purge)


def _noted(made: Iterable[Record], keys: list[str], *, every: int) -> Iterator[Record]:
    """Yield what is ``made``, and note the keys of living records, each so-manieth."""
    now = time.time() * 1000
    for number, record in enumerate(made):
        if number % every == 0 and record.expires_at > now:
            keys.append(record.key)
        yield record


def _told(reads: dict[str, float], purge: dict[str, Any]) -> str:
    read = ", ".join(f"{median:.0f} µs of {int(count):,}" for count, median in reads.items())
    before, during = purge["before"], purge["during"]
    return (
        f"a read takes {read}; {purge['said']}; p99 of reads {before['reads_p99']} → {during['reads_p99']} "
        f"µs, worst operation {before['worst'] / 1000:.0f} → {during['worst'] / 1000:.0f} ms"
    )


def _targets(figures: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what PostgreSQL is to keep to.  Of the others the figures are noted."""
    for name in figures["purges"]:
        if not name.startswith("postgresql"):
            continue
        purge, (few, many) = figures["purges"][name], figures["reads"][name].values()
        slower = purge["during"]["reads_p99"] / purge["before"]["reads_p99"]
        yield _target(f"{name}: p99 of reads during a purge, to that before", slower, 2)
        yield _target(f"{name}: a read among a hundred times the sessions", many / few, 1.2)


def _target(text: str, ratio: float, limit: float) -> dict[str, Any]:
    return {"target": text, "ratio": round(ratio, 2), "at most": limit, "reached": ratio <= limit}


def _update_reference(figures: dict[str, Any]) -> None:
    """Replace what was measured, and keep what was left out."""
    before = json.loads(_REFERENCE.read_text("utf-8"))
    for part in ("sizes", "reads", "purges"):
        figures[part] = before.get(part, {}) | figures[part]
    figures["targets"] = list(_targets(figures))
    _REFERENCE.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
