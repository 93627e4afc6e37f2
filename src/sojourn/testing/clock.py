"""A clock that moves only when told to."""

from __future__ import annotations

__all__ = ["FakeClock"]

#: 2026-01-01T00:00:00Z.
_START = 1_767_225_600_000


class FakeClock:
    """A :class:`~sojourn.clock.Clock` for tests.

    :meth:`advance` lets time pass; :meth:`step` sets the wall clock only, as an administrator or NTP does::

        clock = FakeClock()
        clock.advance(30)            # thirty seconds later
        clock.advance_to(deadline)   # the very millisecond of the deadline
        clock.step(-3600)            # the wall clock goes back an hour; no time passes
    """

    __slots__ = ("_elapsed", "_now")

    def __init__(self, *, now: int = _START) -> None:
        """Start at wall time ``now``: milliseconds since the Unix epoch, UTC."""
        self._now = now
        self._elapsed = 0

    def now(self) -> int:
        """Return wall time: milliseconds since the Unix epoch, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds advanced so far; :meth:`step` does not count."""
        return self._elapsed / 1000

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks, to the millisecond.  ``ValueError`` if ``seconds`` is negative."""
        if seconds < 0:
            message = f"time does not pass backwards: step({seconds}) sets the wall clock back"
            raise ValueError(message)
        milliseconds = round(seconds * 1000)
        self._now += milliseconds
        self._elapsed += milliseconds

    def advance_to(self, instant: int) -> None:
        """Let time pass until wall time is ``instant`` (milliseconds).  ``ValueError`` if it has passed."""
        self.advance((instant - self._now) / 1000)

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or (negative ``seconds``) back; no time passes."""
        self._now += round(seconds * 1000)

    def __repr__(self) -> str:
        """Show both clocks."""
        return f"<FakeClock now={self._now} monotonic={self.monotonic()}>"
