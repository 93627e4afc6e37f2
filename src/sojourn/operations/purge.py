"""Removing what has expired, at a rate that others hardly notice, while somebody may be watching.

A counter on a terminal, nothing where nobody looks, one line at the end.  No bar, for nobody knows how much
there is to do: not every store has an index on deadlines, so to count the dead is to read everything.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from sojourn.purging import PURGE_RATE, purge_steps
from sojourn.steps import run

if TYPE_CHECKING:
    from sojourn.purging import Tell
    from sojourn.store import Store

__all__ = ["RATE_HELP", "Purging", "purge", "rate", "store_purging"]

#: What ``--rate`` says of itself.
RATE_HELP: Final = (
    f"sessions to remove a second, at most (default: {PURGE_RATE:.0f}); 0: as fast as the store can"
)

#: The exit code of what was interrupted, as shells have it: 128 and the number of SIGINT.
_INTERRUPTED: Final = 130
#: Seconds between two looks of the counter.
_OFTEN: Final = 0.1


class Purging(Protocol):
    """What purges: :meth:`sojourn.manager.Manager.purge`, or :func:`store_purging` of a store."""

    def __call__(self, *, rate: float | None, tell: Tell) -> int:
        """Remove what is dead; tell the number of each batch, return the sum."""
        ...


class Out(Protocol):
    """Where it is said: ``sys.stdout``, or what a Django command has in its place."""

    def write(self, text: str, /) -> object:
        """Say it."""
        ...

    def flush(self) -> None:
        """Say it now."""
        ...

    def isatty(self) -> bool:
        """Whether somebody may be watching."""
        ...


def store_purging(store: Store) -> Purging:
    """Return what purges ``store`` itself, which can (:class:`~sojourn.store.Purge`), without a manager."""

    def purging(*, rate: float | None, tell: Tell) -> int:
        return run(purge_steps(store, rate=rate, tell=tell))

    return purging


def rate(text: str) -> float | None:
    """Return the rate that ``--rate`` gives: ``None`` for 0, no limit.  Raises ``ValueError``."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError("a rate is 0 or more")
    return number or None


def purge(purging: Purging, *, rate: float | None, out: Out) -> int:
    """Purge; return the exit code: 0, or 130 if Ctrl-C ended it, which loses nothing.

    Whatever ends it, the last line says how many were removed.
    """
    counter = _Counter(out)
    try:
        purging(rate=rate, tell=counter.add)
    except KeyboardInterrupt:
        counter.end("interrupted; the rest waits for the next time")
        return _INTERRUPTED
    except BaseException:
        counter.end("then it failed")
        raise
    counter.end()
    return 0


class _Counter:
    """Shows on a terminal what was removed so far, on one line."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self._is_watched = out.isatty()
        self._began = time.monotonic()
        #: When the terminal was written to last; ``None``: not yet.
        self._shown: float | None = None
        self._removed = 0

    def add(self, removed: int) -> None:
        """Count what a batch removed."""
        self._removed += removed
        now = time.monotonic()
        if self._is_watched and now - (self._shown or self._began) >= _OFTEN:
            self._shown = now
            speed = self._removed / (now - self._began)
            self._out.write(f"\r{self._removed:,} removed, {speed:,.0f} a second ")
            self._out.flush()

    def end(self, *remarks: str) -> None:
        """Say what it came to."""
        took = time.monotonic() - self._began
        said = "; ".join((f"{self._removed:,} expired sessions removed in {took:.1f} s", *remarks))
        self._out.write(f"{said}\n" if self._shown is None else f"\n{said}\n")
