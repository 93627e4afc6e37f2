"""Print each promise with the tests that prove it: ``make promises``.

The promises are the tables of ``docs/reference/promises.md``; a test proves the one whose id its name
carries.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "reference" / "promises.md"

_ROW: Final = re.compile(r"^\| ([A-Z]\d+) \| (.+) \| ([^|]+) \|$", re.MULTILINE)
_ID: Final = re.compile(r"::test_([A-Z]\d+)_")
#: What shows in a test's name, file or parameters that it runs on an engine.
_ENGINES: Final = {
    "M": re.compile(r"memory|\bcache\b", re.IGNORECASE),
    "E": re.compile(r"embedded|\bfile\b", re.IGNORECASE),
}


def promises() -> dict[str, str]:
    """Return the text of each promise by its id."""
    return {number: text for number, text, _ in _ROW.findall(PAGE.read_text())}


def tests() -> dict[str, list[str]]:
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
        if match := _ID.search(line):
            found[match[1]].append(line)
    return found


def main() -> int:
    """Print the table; return how many promises have no test."""
    found = tests()
    unproven = 0
    for number, text in promises().items():
        cases = found.get(number, [])
        unproven += not cases
        engines = [
            f"{engine} {count}"
            for engine, mark in _ENGINES.items()
            if (count := sum(1 for case in cases if mark.search(case)))
        ]
        print(f"{number:4} {len(cases):4} tests ({', '.join(engines) or 'no engine needed'})  {text}")
        names = sorted({case.partition("[")[0] for case in cases})
        for name in names:
            print(f"       {name}")
    return unproven


if __name__ == "__main__":
    sys.exit(main())
