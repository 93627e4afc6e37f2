"""Print each promise with the tests that prove it: ``make promises``.

The promises are the tables of ``docs/reference/promises.md``; a test proves those whose ids its name carries,
on the engine that its name, file or parameters tell.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "reference" / "promises.md"

_ROW: Final = re.compile(r"^\| ([A-Z]\d+) \| (.+) \| ([^|]+) \|$", re.MULTILINE)
_IDS: Final = re.compile(r"::test_((?:[A-Z]\d+_)+)")
#: What shows in a test's name, file or parameters that it runs on an engine.  W is not a place for sessions:
#: its tests need no engine in particular.
_ENGINES: Final = {
    "M": re.compile(r"memory|\bcache\b", re.IGNORECASE),
    "E": re.compile(r"embedded|\bfile\b", re.IGNORECASE),
    "C": re.compile(r"memcached", re.IGNORECASE),
    "R": re.compile(r"valkey|redis", re.IGNORECASE),
    "D": re.compile(r"(?<!mem)cached", re.IGNORECASE),
    "S": re.compile(r"sql|\bdb\b|database|mariadb"),
    "K": re.compile(r"signed_cookies|test_(cookie_(engine|manager)|sealed_carrier)"),
}


class Promise(NamedTuple):
    """A row of the page."""

    text: str
    #: The letters of the engines it is promised on.
    engines: tuple[str, ...]


def promises() -> dict[str, Promise]:
    """Return each promise by its id."""
    return {
        number: Promise(text, tuple(letter for letter in on.split() if letter in _ENGINES))
        for number, text, on in _ROW.findall(PAGE.read_text())
    }


def collected() -> dict[str, list[str]]:
    """Return the collected tests by the id in their names."""
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "--numprocesses=0"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    found: dict[str, list[str]] = defaultdict(list)
    for line in collected.stdout.splitlines():
        if match := _IDS.search(line):
            for number in match[1].split("_")[:-1]:
                found[number].append(line)
    return found


def by_engine(cases: list[str]) -> dict[str, int]:
    """Return how many of the tests run on each engine."""
    return {letter: sum(1 for case in cases if mark.search(case)) for letter, mark in _ENGINES.items()}


def main() -> int:
    """Print the table; return how many promises lack a test, or one on an engine they name."""
    found = collected()
    unproven = 0
    for number, promise in promises().items():
        cases = found.get(number, [])
        counts = by_engine(cases)
        missing = [letter for letter in promise.engines if not counts[letter]]
        unproven += bool(missing) or not cases
        where = ", ".join(f"{letter} {count}" for letter, count in counts.items() if count)
        lacks = f"; NONE ON {' '.join(missing)}" if missing else ""
        print(f"{number:4} {len(cases):4} tests ({where or 'no engine needed'}{lacks})  {promise.text}")
        for name in sorted({case.partition("[")[0] for case in cases}):
            print(f"       {name}")
    return unproven


if __name__ == "__main__":
    sys.exit(main())
