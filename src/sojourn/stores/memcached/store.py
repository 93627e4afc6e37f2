"""The memcached store for threads."""

from __future__ import annotations

import itertools
import os
import select
import socket
import ssl
import threading
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from sojourn.errors import StoreError
from sojourn.stores.memcached.faults import FAILURES, all_busy, closed, translated
from sojourn.stores.memcached.nodes import owner
from sojourn.stores.memcached.operations import Operations
from sojourn.stores.memcached.protocol import Answer, Replies, Witness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.stores.memcached.nodes import Node
    from sojourn.stores.memcached.operations import Steps
    from sojourn.stores.memcached.protocol import Exchange, Reply

__all__ = ["MemcachedStore"]

T = TypeVar("T")

_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_stores: WeakSet[MemcachedStore] = WeakSet()


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

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        key_prefix: str = "sojourn:",
        timeout: float = 2.0,
        max_connections: int = 16,
        max_payload: int = 1_000_000,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            servers,
            key_prefix=key_prefix,
            timeout=timeout,
            max_connections=max_connections,
            max_payload=max_payload,
            tls=tls,
            clock=clock,
        )
        self._pools = [
            (str(node).encode(), _Pool(node, size=max_connections, timeout=timeout, tls=tls))
            for node in self.nodes
        ]
        _stores.add(self)

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

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent."""
        for _, pool in self._pools:
            pool.after_fork_in_child()


class _Pool:
    """The connections to one server; the one used last is used next."""

    def __init__(self, node: Node, *, size: int, timeout: float, tls: ssl.SSLContext | None) -> None:
        self._node = node
        self._size = size
        self._timeout = timeout
        self._tls = tls
        self._room = threading.Semaphore(size)
        self._idle: list[_Connection] = []
        self._numbers = itertools.count(1)
        self._newest = 0
        self._closed = False

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
        newest = self._newest
        connection = self._take(clock, deadline)
        witness = exchange.witness
        if witness is not None and (witness.pool is not self or connection.number > witness.number):
            self._give_back(connection)
            return None
        try:
            replies = connection.exchange(exchange, clock, deadline)
        except BaseException:  # the rest of a reply may still come: nobody else is to get it
            connection.close()
            raise
        self._give_back(connection)
        return Answer(replies, Witness(self, max(newest, connection.number)))

    def _take(self, clock: Clock, deadline: float) -> _Connection:
        if self._closed:
            raise closed()
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if connection.is_quiet():
                return connection
            connection.close()
        opened = _Connection(_connect(self._node, self._tls, clock, deadline))
        opened.number = self._newest = next(self._numbers)
        return opened

    def _give_back(self, connection: _Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self.close()

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def after_fork_in_child(self) -> None:
        """Begin anew.  Numbers go on: what was proven in the parent is proven no more."""
        self._room = threading.Semaphore(self._size)
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()  # the child's copies


class _Connection:
    """One connection, used by one thread at a time.

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
        """Whether nothing has come that nobody asked for: neither bytes nor the end."""
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

    def close(self) -> None:
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


def _after_fork_in_child() -> None:
    for store in tuple(_stores):
        store.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
