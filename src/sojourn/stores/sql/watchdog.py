"""An end to waiting for a database that does not answer, whatever its driver does.

Drivers wait for an answer as long as the connection lasts, and it lasts while the server is frozen or the
network swallows what is sent.  One thread of the process, started when it is first needed, shuts the socket
of a connection down when the time is up: the driver, in whichever call it waits, then finds the connection
closed, and raises its own error for that.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Final, NamedTuple
from weakref import WeakSet

__all__ = ["Watch"]

#: Seconds after which one whose time is up, but that has no connection yet, is looked at again.
_AGAIN: Final = 0.1


class _Socket(NamedTuple):
    """The socket of a connection; by its inode it is known from others that get its number later."""

    number: int
    device: int
    inode: int


class Watch:
    """Bounds the time that a thread waits for the connections it has, one after the other.

    Made once and used often: :meth:`begin` and :meth:`end` are to cost next to nothing.
    """

    __slots__ = ("__weakref__", "_driver", "_gives_up_at", "_socket")

    def __init__(self) -> None:
        self._driver: Any = None
        self._socket: _Socket | None = None
        #: On the monotonic clock.
        self._gives_up_at = math.inf
        _watchdog.add(self)

    def begin(self, driver: Any, seconds: float) -> None:
        """Cut off ``driver``, a driver's connection, unless :meth:`end` is called within ``seconds``.

        One without ``fileno()`` is left alone.  ``None``: :meth:`connected` will name it.
        """
        if driver is not self._driver:
            self.connected(driver)
        watchdog = _watchdog
        watchdog.latest = self._gives_up_at = gives_up_at = time.monotonic() + seconds
        if gives_up_at < watchdog.wakes_at:
            watchdog.wake()

    def connected(self, driver: Any) -> None:
        """Watch over this connection from now on, for what is left of the time."""
        self._socket = None if driver is None else _socket_of(driver)
        self._driver = driver

    @property
    def is_over(self) -> bool:
        """Whether the time is up: then the connection is of no use any more."""
        return time.monotonic() >= self._gives_up_at

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._gives_up_at - time.monotonic()

    def end(self) -> bool:
        """Watch no longer; return whether the time was up."""
        gives_up_at, self._gives_up_at = self._gives_up_at, math.inf
        if time.monotonic() < gives_up_at:
            return False
        with _watchdog.is_cutting:  # from here on the connection is safe
            return True

    def cut_off(self, now: float) -> float:
        """Shut the socket down if the time was up by ``now``; return when to look again.

        For the watchdog's thread.
        """
        gives_up_at = self._gives_up_at
        if now < gives_up_at:
            return gives_up_at
        found, self._socket = self._socket, None
        if found is not None:
            _shut_down(found)
        return now + _AGAIN


class _Watchdog:
    """The thread, and what it looks after."""

    def __init__(self) -> None:
        #: When it looks next; who wants it to sooner, wakes it.
        self.wakes_at = math.inf
        #: When the time of the last that began is up.
        self.latest = 0.0
        #: Held while watches are looked through and connections cut off.
        self.is_cutting = threading.Lock()
        self.watches: WeakSet[Watch] = WeakSet()
        self._is_wanted = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        with self.is_cutting:
            self.watches.add(watch)

    def wake(self) -> None:
        """Let it look now."""
        self._is_wanted.set()
        if self._thread is None:
            with self.is_cutting:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="sojourn-watchdog", daemon=True)
                    with suppress(RuntimeError):  # the process is ending
                        thread.start()
                        self._thread = thread

    def _run(self) -> None:
        while True:
            self._is_wanted.clear()
            self.wakes_at = math.inf  # who begins while it looks around, wakes it
            self.wakes_at = wakes_at = self._look()
            pause = None if wakes_at == math.inf else wakes_at - time.monotonic()
            self._is_wanted.wait(pause)

    def _look(self) -> float:
        """Cut off those whose time is up; return when to look again.

        Not before the time of the last that began is up: it is not to be woken by each.
        """
        now = time.monotonic()
        soonest = self.latest if self.latest > now else math.inf
        with self.is_cutting:
            return min(soonest, *(watch.cut_off(now) for watch in self.watches), math.inf)


_watchdog = _Watchdog()


def _socket_of(driver: Any) -> _Socket | None:
    try:
        number: int = driver.fileno()
        status = os.fstat(number)
    except Exception:  # noqa: BLE001 - it has none, or is closed: then nobody has to wait for it
        return None
    return _Socket(number, status.st_dev, status.st_ino)


def _shut_down(found: _Socket) -> None:
    """Shut the socket down, unless it was closed and the number is another's by now."""
    with suppress(OSError):
        number = os.dup(found.number)
        status = os.fstat(number)
        if (status.st_dev, status.st_ino) == (found.device, found.inode):
            with socket.socket(fileno=number) as same:
                same.shutdown(socket.SHUT_RDWR)
        else:
            os.close(number)


def _after_fork_in_child() -> None:
    """Leave the parent's thread to the parent; what its other threads wait for is no business of ours."""
    global _watchdog
    watches, _watchdog = _watchdog.watches, _Watchdog()
    for watch in tuple(watches):
        watch.end()
        _watchdog.add(watch)


os.register_at_fork(after_in_child=_after_fork_in_child)
