"""Saves to one session take turns inside a process, so that they do not conflict with each other.

Turns are an economy, not a safeguard: what keeps updates from getting lost is the store's compare-and-set.
Who has waited half the time there is for a save goes on without.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Final
from weakref import WeakKeyDictionary, WeakMethod

__all__ = ["AsyncTurns", "Turns"]

_STRIPES: Final = 256
_DIGITS: Final = 2  # hexadecimal digits of a key that number a stripe


class Turns:
    """Locks by key.  Keys that start alike share one, so the number of locks is bounded."""

    def __init__(self) -> None:
        self._locks: list[threading.Lock] = []
        self._renew_locks()
        renew = WeakMethod(self._renew_locks)
        os.register_at_fork(after_in_child=lambda: (again := renew()) and again())

    def _renew_locks(self) -> None:
        """Start with free locks: in a forked child, a lock held by another thread is never released."""
        self._locks = [threading.Lock() for _ in range(_STRIPES)]

    def of(self, key: str) -> threading.Lock:
        """Return the lock that saves to ``key`` take turns with."""
        return self._locks[int(key[:_DIGITS], 16)]


class AsyncTurns:
    """:class:`Turns` for asyncio, with locks for each running event loop."""

    def __init__(self) -> None:
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, list[asyncio.Lock]] = WeakKeyDictionary()

    def of(self, key: str) -> asyncio.Lock:
        """Return the lock that saves to ``key`` in the running loop take turns with."""
        loop = asyncio.get_running_loop()
        locks = self._locks.get(loop)
        if locks is None:
            locks = self._locks[loop] = [asyncio.Lock() for _ in range(_STRIPES)]
        return locks[int(key[:_DIGITS], 16)]
