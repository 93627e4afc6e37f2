"""The memcached store for threads."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, TypeVar

from sojourn.errors import StoreError
from sojourn.stores.lines import AllBusyError, Line, Pool
from sojourn.stores.memcached.faults import FAILURES, all_busy, closed, translated
from sojourn.stores.memcached.nodes import owner
from sojourn.stores.memcached.operations import Operations
from sojourn.stores.memcached.protocol import Answer, GarbledReplyError, Replies, Witness

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from sojourn.record import Record, Version
    from sojourn.stores.memcached.nodes import Node
    from sojourn.stores.memcached.operations import Steps
    from sojourn.stores.memcached.protocol import Exchange, Reply

__all__ = ["MemcachedStore"]

T = TypeVar("T")


class MemcachedStore(Operations):
    """A :class:`~sojourn.store.Store` in one or several memcacheds (1.6.18 or later).

    Each session is on one of the ``servers``, given as a list or as a string with commas: ``host:port``,
    ``[v6]:port`` or ``unix:/path``.  Which one depends on its key and on the servers' addresses, not on
    their order; taking one away or adding one moves only its share.  A server that does not answer is
    ``StoreUnavailableError`` for its sessions: they are never looked for elsewhere.

    ``timeout``: seconds an operation may take in all, connecting and several round trips included.

    ``max_connections``: the most connections to each server; they stay open.

    ``max_payload``: bytes of a session, below memcached's own limit (``-I``, 1 MiB).  A larger one is a
    ``PayloadTooLargeError``, and nothing is sent.

    ``tls``: how to speak TLS with servers on hosts; ``None``: not at all.

    ``key_prefix``: begins each key, so that several applications can share a memcached.

    Thread-safe.  Safe to fork: the child opens connections of its own.
    """

    def _prepare(self) -> None:
        self._closed = False
        self._servers = [
            (str(node).encode(), _Server(node, self._max_connections, self._tls, self._clock.monotonic))
            for node in self.nodes
        ]

    def create(self, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.create`.  One round trip.  Also raises ``PayloadTooLargeError``."""
        return self._run(self._create(record))

    def load(self, key: str) -> Record | None:
        """See :meth:`sojourn.store.Store.load`.  One round trip."""
        return self._run(self._load(key))

    def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`sojourn.store.Store.update`.  Also raises ``PayloadTooLargeError``.

        One round trip if ``expected_version`` is as this store returned it, three otherwise and after a
        touch by somebody else.
        """
        return self._run(self._update(record, expected_version))

    def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`sojourn.store.Store.touch`.  One round trip; to the second."""
        return self._run(self._touch(key, idle_deadline))

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.move`.  Two round trips.  Also raises ``PayloadTooLargeError``."""
        return self._run(self._move(old_key, expected_version, record))

    def delete(self, key: str) -> bool:
        """See :meth:`sojourn.store.Store.delete`.  One round trip."""
        return self._run(self._delete(key))

    def close(self) -> None:
        """Close the connections; later operations raise ``StoreUnavailableError``."""
        self._closed = True
        for _, server in self._servers:
            server.close()

    def _run(self, steps: Steps[T]) -> T:
        if self._closed:
            raise closed()
        until = self._clock.monotonic() + self._timeout
        try:
            exchange = next(steps)
            while True:
                try:
                    answer = self._exchange(exchange, owner(exchange.key, self._servers), until)
                except StoreError as error:
                    exchange = steps.throw(error)
                else:
                    exchange = steps.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _exchange(self, exchange: Exchange, server: _Server, until: float) -> Answer | None:
        """Return the answer, ``None`` if the connection cannot stand for the exchange's witness.

        Raises ``StoreUnavailableError``, ``StoreTimeoutError``, ``PayloadTooLargeError``.
        """
        newest = server.newest
        try:
            connection = server.borrow(until)
            witness = exchange.witness
            if witness is not None and not witness.speaks_for(server, connection.number):
                server.give_back(connection)
                return None
            try:
                replies = connection.exchange(exchange, until)
            except BaseException:
                server.drop(connection)
                raise
            server.give_back(connection)
            return Answer.of(replies, Witness(server, max(newest, connection.number)))
        except AllBusyError as error:
            raise all_busy(server.node, self._max_connections, self._timeout) from error
        except FAILURES as error:
            raise translated(error, server.node, self._timeout) from error


class _Server(Pool["_Connection"]):
    """One memcached, and the connections of all threads to it."""

    def __init__(
        self, node: Node, most: int, tls: ssl.SSLContext | None, monotonic: Callable[[], float]
    ) -> None:
        super().__init__(self._reach, most, monotonic)
        self.node = node
        self._tls = tls

    def _reach(self, until: float) -> _Connection:
        return _Connection(_connected(self.node, self._tls, self._monotonic, until), self._monotonic)


class _Connection(Line):
    """One connection, used by one thread at a time."""

    __slots__ = ("_replies", "number")

    def __init__(self, connected: socket.socket, monotonic: Callable[[], float]) -> None:
        super().__init__(connected, monotonic)
        self._replies = Replies()
        self.number = 0

    def exchange(self, exchange: Exchange, until: float) -> list[Reply]:
        """Send the request, return the replies."""
        self.send(exchange.request, until)
        feed, expected = self._replies.feed, exchange.replies
        found = feed(self.receive(until))
        while len(found) < expected:
            found += feed(self.receive(until))
        if len(found) > expected or not self._replies.is_empty():
            raise GarbledReplyError
        return found


def _connected(
    node: Node, tls: ssl.SSLContext | None, monotonic: Callable[[], float], until: float
) -> socket.socket:
    def left() -> float:
        seconds = until - monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def connected(family: int, address: object) -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.settimeout(left())
            made.connect(address)  # type: ignore[arg-type]
        except BaseException:
            made.close()
            raise
        return made

    if node.path is not None:
        return connected(socket.AF_UNIX, node.path)
    failure: OSError | None = None
    for family, _, _, _, address in socket.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM):
        try:
            made = connected(family, address)
        except OSError as error:
            failure = error
            continue
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.settimeout(left())
            return made if tls is None else tls.wrap_socket(made, server_hostname=node.host)
        except BaseException:
            made.close()
            raise
    raise failure or OSError("no address")
