"""``python -m bench.scale``: fill every store, measure, print, write JSON."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.data import SIZES
from bench.scale.places import PLACES
from bench.scale.sessions import records
from bench.scale.sizes import weigh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.scale.sizes import Weighed

_HERE: Final = Path(__file__).parent
_REFERENCE: Final = _HERE / "reference.json"
_LATEST: Final = _HERE.parent / "results" / "scale.json"

#: Larger sessions are so many times fewer: what one takes does not depend on how many there are.
_FEWER: Final = {size: max(1, size // SIZES[0]) for size in SIZES}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000, help="of the smallest size")
    parser.add_argument("--only", choices=PLACES, action="append", help="this store (may be repeated)")
    parser.add_argument("--reference", action="store_true", help="replace reference.json")
    arguments = parser.parse_args()
    started = time.monotonic()
    figures: dict[str, Any] = {"sessions": arguments.sessions, "sizes": {}}
    with tempfile.TemporaryDirectory(prefix="sojourn-scale-") as folder:
        for name in arguments.only or PLACES:
            sizes = figures["sizes"][name] = {}
            for size, weighed in _weighed(name, Path(folder), arguments.sessions):
                sizes[size] = weighed.as_json()
                print(
                    f"{name:12}{weighed.sessions:>10,} × {size:>6} B: {weighed.per_session:8.0f} bytes each; "
                    f"{time.monotonic() - started:.0f} s",
                    flush=True,
                )
    _LATEST.parent.mkdir(exist_ok=True)
    for path in (_LATEST, *([_REFERENCE] if arguments.reference else ())):
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _weighed(name: str, folder: Path, sessions: int) -> Iterator[tuple[int, Weighed]]:
    for size in SIZES:
        count = sessions // _FEWER[size]
        with PLACES[name](folder / f"{name}-{size}") as place:
            place.fill(records(count, size))
            yield size, weigh(place, sessions=count, size=size)


if __name__ == "__main__":
    main()
