"""Numbers as people write them on a command line: ``100_000``, ``100k``, ``2.5M``, ``1e9``, ``2 KB``.

For :mod:`argparse`, which prints what is wrong with one that cannot be read.
"""

from __future__ import annotations

import argparse
import math
import re
from typing import Final

__all__ = ["count", "octets", "rate"]

_UNITS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_WRITTEN: Final = re.compile(r"\s*(?P<number>.*?)\s*(?P<unit>[kKMGT]?)", re.ASCII)
_SIZE: Final = re.compile(r"\s*(?P<number>.*?)\s*(?P<unit>[kKMGT]?)(?P<binary>i?)[Bb]?", re.ASCII)


def rate(text: str) -> float:
    """Return the number ``text`` says."""
    written = _WRITTEN.fullmatch(text)
    number = None if written is None else _value(written["number"], written["unit"], 1_000)
    if number is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, such as 100_000, 100k or 2.5M")
    return number


def count(text: str) -> int:
    """Return the whole number nearest to what ``text`` says."""
    return round(rate(text))


def octets(text: str) -> int:
    """Return how many octets ``text`` says: ``2000``, ``2KB``, ``2KiB``."""
    written = _SIZE.fullmatch(text)
    number = None
    if written is not None:
        number = _value(written["number"], written["unit"], 1_024 if written["binary"] else 1_000)
    if number is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes, such as 2000, 2KB or 2KiB")
    return round(number)


def _value(number: str, unit: str, thousand: int) -> float | None:
    try:
        value = float(number) * thousand ** _UNITS[unit.lower()]
    except ValueError:
        return None
    return value if math.isfinite(value) else None
