"""Whether the cache can be reached, and what it has to be told once it can be again."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sojourn.clock import Clock

__all__ = ["Reach"]

logger = logging.getLogger("sojourn")

#: So many tombstones that could not be written are remembered; the lease makes up for more.
_MOST_OWED: Final = 10_000


class Reach:
    """What one process knows about the way to its cache.

    After a failure the cache is left alone for ``rest`` seconds, so that a dead one does not add its timeout
    to every request.  Then one request tries; until that has its answer the others go on without.
    """

    def __init__(self, clock: Clock, *, rest: float) -> None:
        self._clock = clock
        self._rest = rest
        #: When to try again, on the monotonic clock; ``None``: it answers.
        self._rests_until: float | None = None
        #: Keys whose tombstones could not be written, each with the instant until which that matters.
        self._owed: dict[str, int] = {}

    @property
    def rests(self) -> bool:
        """Whether it did not answer when it was asked last."""
        return self._rests_until is not None

    def is_resting(self) -> bool:
        """Whether to leave the cache alone.  The first to be told no after a rest is the one that tries."""
        if self._rests_until is None:
            return False
        now = self._clock.monotonic()
        if now < self._rests_until:
            return True
        self._rests_until = now + self._rest
        return False

    def answered(self) -> None:
        """Take note that the cache answered."""
        if self._rests_until is not None:
            self._rests_until = None
            logger.warning("the cache of the sessions answers again")

    def failed(self, error: Exception) -> None:
        """Take note that the cache did not answer."""
        if self._rests_until is None:
            logger.warning("sessions come from the origin alone, the cache does not answer: %s", error)
        self._rests_until = self._clock.monotonic() + self._rest

    @property
    def owes(self) -> bool:
        """Whether there are tombstones to be written."""
        return bool(self._owed)

    def owe(self, key: str, *, until: int) -> None:
        """Remember a tombstone to be written; after ``until`` no copy is good any more."""
        if len(self._owed) < _MOST_OWED:
            self._owed[key] = until

    def pay_next(self) -> str | None:
        """Return a key whose tombstone still has to be written, and forget it; ``None`` if there is none."""
        now = self._clock.now()
        with suppress(KeyError):  # another thread has taken the last one
            while self._owed:
                key, until = self._owed.popitem()
                if now < until:
                    return key
        return None
