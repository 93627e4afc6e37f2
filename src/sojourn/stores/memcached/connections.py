"""Which of the connections to a server carries an exchange: the same for threads and for asyncio."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from sojourn.stores.memcached.protocol import Answer, Witness

if TYPE_CHECKING:
    import ssl

    from sojourn.stores.memcached.nodes import Node
    from sojourn.stores.memcached.protocol import Exchange, Reply

__all__ = ["Connection", "Connections"]


class Connection(Protocol):
    """One connection, used by one thread or task at a time."""

    #: Counts the connections to the server in the order in which they were opened.
    number: int

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for: neither bytes nor the end."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


C = TypeVar("C", bound=Connection)

_all: WeakSet[Connections[Any]] = WeakSet()


class Connections(Generic[C]):
    """The connections to one server; the one used last is used next.

    Whoever begins an exchange notes :attr:`newest` first: what comes back can be vouched for by connections
    up to that one, and by the one that carried it.
    """

    def __init__(self, node: Node, size: int, timeout: float, tls: ssl.SSLContext | None) -> None:
        self._node = node
        self._size = size
        self._timeout = timeout
        self._tls = tls
        self._idle: list[C] = []
        self._numbers = itertools.count(1)
        #: The number of the connection opened last.
        self.newest = 0
        self._closed = False
        _all.add(self)

    def idle_one(self) -> C | None:
        """Return one that waits and is still good; ``None``: open another."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                return None
            if connection.is_quiet():
                return connection
            connection.abort()
        return None

    def opened(self, connection: C) -> C:
        """Take note of a new connection; return it."""
        connection.number = self.newest = next(self._numbers)
        return connection

    def vouches(self, connection: C, exchange: Exchange) -> bool:
        """Whether the exchange may go over ``connection``: see :class:`~.protocol.Witness`."""
        witness = exchange.witness
        return witness is None or (witness.pool is self and connection.number <= witness.number)

    def answered(self, connection: C, replies: list[Reply], newest: int) -> Answer:
        """Return the answer that came over ``connection``, which waits for the next exchange from now on."""
        self.give_back(connection)
        return Answer(replies, Witness(self, max(newest, connection.number)))

    def give_back(self, connection: C) -> None:
        """Let ``connection`` wait for the next exchange."""
        self._idle.append(connection)
        if self._closed:
            self.abort_idle()

    def abort_idle(self) -> None:
        """Close those that wait."""
        while self._idle:
            self._idle.pop().abort()

    def after_fork_in_child(self) -> None:
        """Begin anew.  Numbers go on: what was proven in the parent is proven no more."""
        raise NotImplementedError


def _after_fork_in_child() -> None:
    for connections in tuple(_all):
        connections.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
