"""The memcached store for threads."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from typing import TYPE_CHECKING, TypeVar

from sojourn.errors import StoreError
from sojourn.stores.memcached.connections import Connections
from sojourn.stores.memcached.faults import FAILURES, all_busy, closed, translated
from sojourn.stores.memcached.nodes import owner
from sojourn.stores.memcached.operations import Operations
from sojourn.stores.memcached.protocol import Replies

if TYPE_CHECKING:
    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.stores.memcached.nodes import Node
    from sojourn.stores.memcached.operations import Steps
    from sojourn.stores.memcached.protocol import Answer, Exchange, Reply

__all__ = ["MemcachedStore"]

T = TypeVar("T")

_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


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
        self._pools = [
            (str(node).encode(), _Pool(node, self._max_connections, self._timeout, self._tls))
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
        for _, pool in self._pools:
            pool.close()

    def _run(self, steps: Steps[T]) -> T:
        clock = self._clock
        deadline = clock.monotonic() + self._timeout
        answer: Answer | None = None
        error: StoreError | None = None
        try:
            while True:
                exchange = steps.send(answer) if error is None else steps.throw(error)
                error = None
                try:
                    answer = owner(exchange.key, self._pools).exchange(exchange, clock, deadline)
                except StoreError as raised:
                    error = raised
        except StopIteration as stop:
            result: T = stop.value
            return result


class _Pool(Connections["_Connection"]):
    """The connections of all threads to one server."""

    def __init__(self, node: Node, size: int, timeout: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(node, size, timeout, tls)
        self._room = threading.Semaphore(size)

    def exchange(self, exchange: Exchange, clock: Clock, deadline: float) -> Answer | None:
        """Return the answer, ``None`` if the connection cannot stand for the exchange's witness.

        Raises ``StoreUnavailableError``, ``StoreTimeoutError``, ``PayloadTooLargeError``.
        """
        room = self._room
        if not room.acquire(timeout=max(0.0, deadline - clock.monotonic())):
            raise all_busy(self._node, self._size, self._timeout)
        try:
            return self._exchange(exchange, clock, deadline)
        except FAILURES as error:
            raise translated(error, self._node, self._timeout) from error
        finally:
            room.release()

    def _exchange(self, exchange: Exchange, clock: Clock, deadline: float) -> Answer | None:
        if self._closed:
            raise closed()
        newest = self.newest
        connection = self.idle_one()
        if connection is None:
            connection = self.opened(_Connection(_connect(self._node, self._tls, clock, deadline)))
        if not self.vouches(connection, exchange):
            self.give_back(connection)
            return None
        try:
            replies = connection.exchange(exchange, clock, deadline)
        except BaseException:  # the rest of a reply may still come: nobody else is to get it
            connection.abort()
            raise
        return self.answered(connection, replies, newest)

    def close(self) -> None:
        self._closed = True
        self.abort_idle()

    def after_fork_in_child(self) -> None:
        self._room = threading.Semaphore(self._size)
        self.abort_idle()  # the child's copies


class _Connection:
    """A :class:`~.connections.Connection`.

    It never blocks: waiting is asking ``poll`` with the time left, and most often a send needs none.
    """

    __slots__ = ("_pending", "_poll", "_socket", "number")

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)  # noqa: FBT003 - positional only
        self._socket = connected
        poll = select.poll()
        poll.register(connected, select.POLLIN)
        self._poll = poll.poll
        #: Whether bytes are here already, decrypted.
        self._pending = connected.pending if isinstance(connected, ssl.SSLSocket) else _nothing
        self.number = 0

    def is_quiet(self) -> bool:
        return not self._poll(0)

    def exchange(self, exchange: Exchange, clock: Clock, deadline: float) -> list[Reply]:
        """Send the request, return the replies."""
        self._send(exchange.request, clock, deadline)
        replies = Replies(exchange.replies)
        while True:
            if not self._pending() and not self._poll(_left(clock, deadline) * 1000):
                continue
            try:
                data = self._socket.recv(65536)
            except _NOT_YET:
                continue
            if not data:
                raise EOFError
            if replies.feed(data):
                return replies.found

    def _send(self, request: bytes, clock: Clock, deadline: float) -> None:
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
            waiting.poll(_left(clock, deadline) * 1000)

    def abort(self) -> None:
        self._socket.close()


def _nothing() -> int:
    return 0


def _left(clock: Clock, deadline: float) -> float:
    left = deadline - clock.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connect(node: Node, tls: ssl.SSLContext | None, clock: Clock, deadline: float) -> socket.socket:
    if node.path is not None:
        return _connected(socket.AF_UNIX, node.path, clock, deadline)
    failure: OSError | None = None
    for family, _, _, _, address in socket.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM):
        try:
            connected = _connected(family, address, clock, deadline)
        except OSError as error:
            failure = error
            continue
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.settimeout(_left(clock, deadline))
            return connected if tls is None else tls.wrap_socket(connected, server_hostname=node.host)
        except BaseException:
            connected.close()
            raise
    raise failure or OSError("no address")


def _connected(family: int, address: object, clock: Clock, deadline: float) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.settimeout(_left(clock, deadline))
        made.connect(address)  # type: ignore[arg-type]
    except BaseException:
        made.close()
        raise
    return made
