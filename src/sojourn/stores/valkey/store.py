"""The Valkey store for threads."""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from sojourn.errors import StoreError
from sojourn.stores.valkey.faults import (
    FAILURES,
    all_busy,
    check_greeting,
    closed,
    not_reached,
    translated,
)
from sojourn.stores.valkey.operations import Operations
from sojourn.stores.valkey.protocol import GarbledReplyError, Replies

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.stores.valkey.nodes import Node
    from sojourn.stores.valkey.protocol import Reply
    from sojourn.stores.valkey.routing import Request, Steps

__all__ = ["ValkeyStore"]

T = TypeVar("T")

_stores: WeakSet[ValkeyStore] = WeakSet()


class ValkeyStore(Operations):
    """A :class:`~sojourn.store.Store` in Valkey or Redis (6.2 or later), with an index of subjects.

    ``servers``: one address, ``host:port`` or ``unix:/path``; with ``cluster=True`` some nodes of a Cluster,
    with ``sentinel`` (the name of the primary) the Sentinels, as a list or as a string with commas.

    ``username``, ``password``, ``database``, ``tls``: how to speak with the servers.
    ``sentinel_username``, ``sentinel_password``: likewise with the Sentinels.

    ``key_prefix`` begins each key, so that several applications can share a server.

    ``timeout``: seconds an operation may take in all, connecting and several round trips included.

    ``max_connections``: the most connections to each server; they stay open.

    ``max_sessions_per_subject`` caps how many sessions a subject may have; the one being written stays, the
    oldest ``created_at`` of the others end.  ``None``: no cap.  On a Cluster there may be more while sign-ins
    are under way, not once they have returned.

    The server's clock decides what has expired.  Each operation is one script or command, so atomic and one
    round trip; what a Cluster does differently is said at each.

    Thread-safe.  Safe to fork: the child opens connections of its own.
    """

    def __init__(
        self,
        servers: str | Sequence[str] = "127.0.0.1:6379",
        *,
        cluster: bool = False,
        sentinel: str | None = None,
        username: str | None = None,
        password: str | None = None,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        database: int = 0,
        tls: ssl.SSLContext | None = None,
        key_prefix: str = "sojourn:",
        timeout: float = 2.0,
        max_connections: int = 16,
        max_sessions_per_subject: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            servers,
            cluster=cluster,
            sentinel=sentinel,
            username=username,
            password=password,
            sentinel_username=sentinel_username,
            sentinel_password=sentinel_password,
            database=database,
            tls=tls,
            key_prefix=key_prefix,
            timeout=timeout,
            max_connections=max_connections,
            max_sessions_per_subject=max_sessions_per_subject,
            clock=clock,
        )
        self._pools: dict[tuple[Node, bool], _Pool] = {}
        self._lock = threading.Lock()
        self._closed = False
        _stores.add(self)

    # Store

    def create(self, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.create`.

        On a Cluster a record with a subject is two round trips: its index first.
        """
        return self._run(self._create(record))

    def load(self, key: str) -> Record | None:
        """See :meth:`sojourn.store.Store.load`."""
        return self._run(self._load(key))

    def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`sojourn.store.Store.update`.

        On a Cluster, one that brings a subject or outlives its index entry goes to the index first.
        """
        return self._run(self._update(record, expected_version))

    def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`sojourn.store.Store.touch`.

        On a Cluster, one that outlives its index entry goes to the index first.
        """
        return self._run(self._touch(key, idle_deadline))

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.move`.

        On a Cluster it creates the new session and then ends the old one, or undoes the first; nobody has the
        new token before it returns.
        """
        return self._run(self._move(old_key, expected_version, record))

    def delete(self, key: str) -> bool:
        """See :meth:`sojourn.store.Store.delete`."""
        return self._run(self._delete(key))

    def close(self) -> None:
        """Close the connections; later operations raise ``StoreUnavailableError``."""
        with self._lock:
            self._closed = True
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()

    # SubjectIndex

    def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`sojourn.store.SubjectIndex.find_subject`.

        On a Cluster one round trip more for each session.
        """
        return self._run(self._find_subject(subject))

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`sojourn.store.SubjectIndex.delete_subject`.

        On a Cluster one after the other, until none is left.
        """
        return self._run(self._delete_subject(subject, except_key))

    def _run(self, steps: Steps[T]) -> T:
        clock = self._clock
        deadline = clock.monotonic() + self._timeout
        answer: list[Reply] | None = None
        error: StoreError | None = None
        try:
            while True:
                request = steps.send(answer) if error is None else steps.throw(error)
                error = None
                try:
                    answer = self._pool(request).exchange(request, clock, deadline)
                except StoreError as raised:
                    error = raised
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _pool(self, request: Request) -> _Pool:
        pool = self._pools.get((request.node, request.is_for_sentinel))
        if pool is not None:
            return pool
        with self._lock:
            if self._closed:
                raise closed()
            greeting = self._sentinel_greeting if request.is_for_sentinel else self._greeting
            made = _Pool(
                request.node, greeting, size=self._max_connections, timeout=self._timeout, tls=self._tls
            )
            return self._pools.setdefault((request.node, request.is_for_sentinel), made)

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent."""
        self._lock = threading.Lock()
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()  # the child's copies; the parent's stay


class _Pool:
    """The connections to one server; the one used last is used next."""

    def __init__(
        self,
        node: Node,
        greeting: list[bytes],
        *,
        size: int,
        timeout: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._node = node
        self._greeting = greeting
        self._size = size
        self._timeout = timeout
        self._tls = tls
        self._room = threading.Semaphore(size)
        self._idle: list[_Connection] = []
        self._closed = False

    def exchange(self, request: Request, clock: Clock, deadline: float) -> list[Reply]:
        """Return the replies.  Raises ``StoreUnavailableError``, ``StoreTimeoutError``."""
        if request.share < 1:
            now = clock.monotonic()
            deadline = now + (deadline - now) * request.share
        room = self._room
        if not room.acquire(timeout=max(0.0, deadline - clock.monotonic())):
            raise all_busy(self._node, self._size, self._timeout)
        try:
            connection = self._take(clock, deadline)
            try:
                replies = connection.exchange(request.data, request.replies, clock, deadline)
            except BaseException:  # the rest of a reply may still come: nobody else is to get it
                connection.close()
                raise
            self._give_back(connection)
        except FAILURES as error:
            raise translated(error, self._node, self._timeout) from error
        else:
            return replies
        finally:
            room.release()

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
        try:
            return self._open(clock, deadline)
        except FAILURES as error:
            raise not_reached(error, self._node, self._timeout) from error

    def _open(self, clock: Clock, deadline: float) -> _Connection:
        connection = _Connection(_connect(self._node, self._tls, clock, deadline))
        try:
            if self._greeting:
                greeting = self._greeting
                replies = connection.exchange(b"".join(greeting), len(greeting), clock, deadline)
                check_greeting(replies, self._node)
        except BaseException:
            connection.close()
            raise
        return connection

    def _give_back(self, connection: _Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self.close()

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class _Connection:
    """One connection, used by one thread at a time."""

    __slots__ = ("_poll", "_replies", "_socket")

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._replies = Replies()
        poll = select.poll()
        poll.register(connected, select.POLLIN)
        self._poll = poll.poll

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for: neither bytes nor the end."""
        return not self._poll(0)

    def exchange(self, data: bytes, count: int, clock: Clock, deadline: float) -> list[Reply]:
        """Send, and return ``count`` replies."""
        connected = self._socket
        connected.settimeout(_left(clock, deadline))
        connected.sendall(data)
        found: list[Reply] = []
        while len(found) < count:
            connected.settimeout(_left(clock, deadline))
            received = connected.recv(65536)
            if not received:
                raise EOFError
            found += self._replies.feed(received)
        if len(found) > count or not self._replies.is_empty:
            raise GarbledReplyError
        return found

    def close(self) -> None:
        self._socket.close()


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
