"""Connections of threads to a server: every wait of theirs ends at an instant, and there are only so many.

Instants are seconds of the store's :meth:`Clock.monotonic <sojourn.clock.Clock.monotonic>`.  What a socket
has to wait for is asked of ``poll``, with the time that is left.  (A socket with a timeout takes more system
calls, and its timeout begins anew with each byte.)

A server on the same machine answers within some 20 µs.  To go to sleep for them and to be woken takes more of
the processor than to ask a few times more, and what runs afterwards runs on cold caches: here twice as long
(``python -m bench.waiting``).  So a thread looks for a reply before it sleeps, as long as that proves right.
"""

from __future__ import annotations

import itertools
import os
import select
import ssl
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["LOOKS", "AllBusyError", "Connection", "Line", "Lookout", "Pool", "forget_after_fork"]

_NOT_YET: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_MOST: Final = 65_536
#: How often to look for a reply before sleeping: 50 to 60 µs.
LOOKS: Final = 150
#: For how many replies to sleep at once after looking for one was in vain; twice as many each time it is
#: in vain again, up to the second.
_PENALTIES: Final = (8, 256)


class AllBusyError(Exception):
    """No connection came back in time."""


class Lookout:
    """Looks for replies on a socket, given as such or by its number."""

    __slots__ = ("_penalty", "_poll", "_to_sleep")

    def __init__(self, connected: socket.socket | int) -> None:
        poll = select.poll()
        poll.register(connected, select.POLLIN)
        self._poll = poll.poll
        #: For how many replies to sleep at once, and for how many after looking is in vain the next time.
        self._to_sleep, self._penalty = 0, _PENALTIES[0]

    def look(self) -> bool:
        """Whether something comes while one looks.

        Where it does not, as from a server further away or on a machine that is busy, fewer and fewer replies
        are looked for.
        """
        if self._to_sleep:
            self._to_sleep -= 1
            return False
        for _ in range(LOOKS):
            if self._poll(0):
                self._penalty = _PENALTIES[0]
                return True
        self._to_sleep = self._penalty
        self._penalty = min(2 * self._penalty, _PENALTIES[1])
        return False


class Line(Lookout):
    """A connected socket, plain or TLS, that waits no longer than it is told to."""

    __slots__ = ("_monotonic", "_pending", "_socket")

    def __init__(self, connected: socket.socket, monotonic: Callable[[], float]) -> None:
        connected.setblocking(False)  # noqa: FBT003 - positional only
        super().__init__(connected)
        self._socket = connected
        self._monotonic = monotonic
        #: Whether bytes are here already, decrypted.
        self._pending = connected.pending if isinstance(connected, ssl.SSLSocket) else None

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for: neither bytes nor the end."""
        return not self._poll(0)

    def send(self, request: bytes, until: float) -> None:
        """Send all of ``request``.  Raises ``OSError``, ``TimeoutError`` at ``until``."""
        while True:
            try:
                sent = self._socket.send(request)
            except _NOT_YET:
                sent = 0
            if sent == len(request):
                return
            request = request[sent:]
            waiting = select.poll()
            waiting.register(self._socket, select.POLLOUT)
            waiting.poll(self._left(until))

    def receive(self, until: float, most: int = _MOST) -> bytes:
        """Return what has come, as soon as something has.

        Raises ``EOFError`` at the end, ``OSError``, ``TimeoutError`` at ``until``.
        """
        is_here = self.look() if self._pending is None else self._pending()
        while True:
            left = self._left(until)  # however fast bytes come
            if not is_here and not self._poll(left):
                continue
            is_here = False
            try:
                data = self._socket.recv(most)
            except _NOT_YET:
                continue
            if not data:
                raise EOFError
            return data

    def _left(self, until: float) -> float:
        """Return milliseconds."""
        left = until - self._monotonic()
        if left <= 0:
            raise TimeoutError
        return left * 1_000

    def close(self) -> None:
        """Close at once."""
        self._socket.close()


class Connection(Protocol):
    """What a pool keeps."""

    #: Counts the connections of the pool in the order in which they were opened.
    number: int

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for: neither bytes nor the end."""
        ...

    def close(self) -> None:
        """Close at once."""
        ...


C = TypeVar("C", bound=Connection)


class Pool(Generic[C]):
    """The connections of all threads to one server, at most ``most``; the one used last is used next.

    ``connect`` opens one, until the instant it is given.
    """

    def __init__(self, connect: Callable[[float], C], most: int, monotonic: Callable[[], float]) -> None:
        self._connect = connect
        self._most = most
        self._monotonic = monotonic
        self._idle: list[C] = []
        self._room = _room_for(most)
        self._closed = False
        self._numbers = itertools.count(1)
        #: The number of the connection opened last.
        self.newest = 0
        forget_after_fork(self)

    def borrow(self, until: float) -> C:
        """Return a connection that is good, for :meth:`give_back` or :meth:`drop`.

        Raises ``AllBusyError`` if there is none at ``until``, and whatever ``connect`` raises.
        """
        try:
            self._room.get_nowait()
        except Empty:
            try:
                self._room.get(timeout=max(0.0, until - self._monotonic()))
            except Empty:
                raise AllBusyError from None
        try:
            while self._idle:
                try:
                    connection = self._idle.pop()
                except IndexError:  # another thread was faster
                    break
                if connection.is_quiet():
                    return connection
                connection.close()
            connection = self._connect(until)
        except BaseException:
            self._room.put(None)
            raise
        connection.number = self.newest = next(self._numbers)
        return connection

    def give_back(self, connection: C) -> None:
        """Let ``connection`` wait for whoever borrows it next."""
        self._idle.append(connection)
        self._room.put(None)
        if self._closed:
            self.close()

    def drop(self, connection: C) -> None:
        """Close ``connection``: the rest of a reply may still come, and nobody else is to get it.

        Those that nobody has borrowed are closed with it: the server they lead to may be gone.
        """
        connection.close()
        self.close_idle()
        self._room.put(None)

    def close_idle(self) -> None:
        """Close those that nobody has borrowed."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread was faster
                return

    def close(self) -> None:
        """Close all, those that are borrowed when they come back."""
        self._closed = True
        self.close_idle()

    def after_fork_in_child(self) -> None:
        """Begin anew: to close the child's copies leaves the parent's open.  Numbers go on."""
        self._room = _room_for(self._most)
        self.close_idle()


def _room_for(most: int) -> SimpleQueue[None]:
    """Return a place for each of so many connections: a semaphore that costs a tenth of Python's own."""
    room: SimpleQueue[None] = SimpleQueue()
    for _ in range(most):
        room.put(None)
    return room


class _Forgetful(Protocol):
    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent."""
        ...


_forgetful: WeakSet[Any] = WeakSet()


def forget_after_fork(connections: _Forgetful) -> None:
    """See to it that a forked child leaves ``connections`` to its parent."""
    _forgetful.add(connections)


def _after_fork_in_child() -> None:
    for connections in tuple(_forgetful):
        connections.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
