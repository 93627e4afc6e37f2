"""``python -m bench``: measure, print, write JSON and plots."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import databases, operations, processes, profile, site, tasks, wsgi
from bench.contenders import contenders
from bench.networked import networked, servers
from bench.plot import draw
from bench.report import Run
from bench.targets import database_targets, networked_targets, targets

if TYPE_CHECKING:
    from bench.operations import Medians

_HERE = Path(__file__).parent
_RESULTS = _HERE / "results"
_REFERENCE = _HERE / "reference.json"
_PLOTS = _HERE.parent / "docs" / "_static"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough look in a minute")
    parser.add_argument("--no-processes", action="store_true", help="leave out the part with several")
    parser.add_argument("--reference", action="store_true", help="replace reference.json and the docs' plots")
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sojourn-bench-") as name:
        run = _run(Path(name), quick=arguments.quick, several=not arguments.no_processes)
    print(run.as_text())
    figures = json.dumps(run.as_json(), indent=1, ensure_ascii=False) + "\n"
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "latest.json").write_text(figures, encoding="utf-8")
    draw(json.loads(figures), _RESULTS)
    if arguments.reference:
        _REFERENCE.write_text(figures, encoding="utf-8")
        draw(json.loads(figures), _PLOTS)
    print(f"\n{time.monotonic() - started:.0f} s; figures and plots are in bench/results")


def _run(folder: Path, *, quick: bool, several: bool) -> Run:
    with servers(folder) as caches:
        site.set_up(folder, caches=caches)
        everybody = contenders(folder) | networked(caches)
        measured = operations.measure(everybody, rounds=8 if quick else 40)
        pages = wsgi.measure(everybody, rounds=5 if quick else 40)
        rates = (
            tasks.measure(caches["redis"]["LOCATION"], rounds=3 if quick else 15) if "redis" in caches else {}
        )
    on_database, database_pages = databases.measure(rounds=3 if quick else 15, page_rounds=3 if quick else 15)
    measured, pages = _merged(measured, on_database), _merged(pages, database_pages)
    loads = processes.measure(folder, rounds=2 if quick else 15) if several else {}
    stages = profile.measure()
    reached = [*targets(measured, loads), *networked_targets(measured, pages, rates)]
    reached += database_targets(measured)
    return Run(operations=measured, pages=pages, loads=loads, rates=rates, profile=stages, targets=reached)


def _merged(medians: Medians, others: Medians) -> Medians:
    """Return the figures of both, whose contenders are others."""
    return {
        operation: {size: taken | others.get(operation, {}).get(size, {}) for size, taken in by_size.items()}
        for operation, by_size in medians.items()
    }


if __name__ == "__main__":
    main()
