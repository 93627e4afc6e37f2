"""Fuzz every target for its share of the time, on the corpus beside this file: ``python -m fuzz [SECONDS]``.

Each target runs in a process of its own, since libFuzzer ends its process.  What gives new coverage goes into
``fuzz/corpus``; what fails is left in ``fuzz/failures`` and ends the run with an error.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
_WITH_TARGET: Final = 3


def fuzz(name: str, seconds: int) -> None:
    """Run one target under atheris; never returns."""
    import atheris  # noqa: PLC0415 - only who fuzzes needs it

    with atheris.instrument_imports(include=["sojourn", "fuzz.targets"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415 - instrumented
    corpus, failures = FOLDER / "corpus" / name, FOLDER / "failures"
    corpus.mkdir(parents=True, exist_ok=True)
    failures.mkdir(exist_ok=True)
    options = [f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={failures}/{name}-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Fuzz them all; return how many failed."""
    from fuzz.targets import TARGETS  # noqa: PLC0415 - not in the processes that instrument it

    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    failed = 0
    for name in TARGETS:
        share = str(max(1, seconds // len(TARGETS)))
        ran = subprocess.run([sys.executable, "-m", "fuzz", name, share], check=False)  # noqa: S603
        print(f"{name}: {'failed' if ran.returncode else 'nothing found'}", flush=True)  # noqa: T201
        failed += bool(ran.returncode)
    return failed


if __name__ == "__main__":
    if len(sys.argv) == _WITH_TARGET:
        fuzz(sys.argv[1], int(sys.argv[2]))
    else:
        sys.exit(main())
