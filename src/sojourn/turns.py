"""Saves to one session take turns inside a process, so that they do not conflict with each other.

Turns are an economy, not a safeguard: what keeps updates from getting lost is the store's compare-and-set.
Who has waited half the time there is for a save goes on without.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Final
from weakref import WeakSet

__all__ = ["AsyncTurns", "Turns"]

#: Hexadecimal digits at a key's end that name its lock: those that name a day begin alike.
_DIGITS: Final = 2
_ENDS: Final = tuple(f"{number:0{_DIGITS}x}" for number in range(16**_DIGITS))

_turns: WeakSet[Turns] = WeakSet()


class Turns:
    """Locks by key.  Keys that end alike share one, so the number of locks is bounded."""

    def __init__(self) -> None:
        self._locks = {end: threading.Lock() for end in _ENDS}
        _turns.add(self)

    def after_fork_in_child(self) -> None:
        """Start with free locks: one that another thread holds is never released here."""
        self._locks = {end: threading.Lock() for end in _ENDS}

    def of(self, key: str) -> threading.Lock:
        """Return the lock that saves to ``key`` take turns with."""
        return self._locks[key[-_DIGITS:]]


class AsyncTurns:
    """:class:`Turns` for asyncio, with locks for each running event loop."""

    def __init__(self) -> None:
        self._locks: dict[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = {}

    def of(self, key: str) -> asyncio.Lock:
        """Return the lock that saves to ``key`` in the running loop take turns with."""
        loop = asyncio.get_running_loop()
        locks = self._locks.get(loop)
        if locks is None:
            # To refer to loops weakly would not do: a lock that was waited for refers to its own.
            for other in tuple(self._locks):
                if other.is_closed():
                    self._locks.pop(other, None)
            locks = self._locks[loop] = {end: asyncio.Lock() for end in _ENDS}
        return locks[key[-_DIGITS:]]


def _after_fork_in_child() -> None:
    for turns in tuple(_turns):
        turns.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
