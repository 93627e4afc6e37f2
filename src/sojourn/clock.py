"""The only place time comes from.

Wall time is for deadlines, which processes share; monotonic time is for intervals inside one
process.  Everything that needs either takes a :class:`Clock`, so tests can hold it still
(:class:`sojourn.testing.FakeClock`).
"""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Where a component gets the time from.  Never raises."""

    def now(self) -> int:
        """Return wall time: integer milliseconds since the Unix epoch, UTC.  May step."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start.  Never steps back."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now(self) -> int:
        """Return wall time in milliseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start, never stepping back."""
        return time.monotonic()
