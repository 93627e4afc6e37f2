"""redis-py's connections and pools for threads, with what they lack: an end to an operation's time.

redis-py gives each wait of a connection so many seconds; a server that sends a byte now and then could hold a
thread for ever.  Here each wait gets what is left of the operation's time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from redis import Redis
from redis.connection import AbstractConnection, Connection, ConnectionPool, UnixDomainSocketConnection
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from sojourn.stores.valkey.faults import NotThePrimaryError
from sojourn.stores.valkey.nodes import Primary

if TYPE_CHECKING:
    import socket
    import ssl

    from sojourn.clock import Clock
    from sojourn.stores.valkey.nodes import Access, Node, Place

__all__ = ["NO_LIMIT", "SENTINEL_SHARE", "Deadline", "pool_to"]

#: Of a pool: the store has a limit of its own, and waits.
NO_LIMIT: Final = 1 << 31
#: The part of an operation's time that each Sentinel may take, so that another can be asked after it.
SENTINEL_SHARE: Final = 0.25


class Deadline(threading.local):
    """Until when the operation that the thread is in may take, on ``clock``'s monotonic time."""

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self.at = 0.0

    def left(self, share: float) -> float:
        """Return the seconds left, or a part of them.  Raises ``TimeoutError`` if there are none."""
        left = (self.at - self._monotonic()) * share
        if left <= 0:
            raise TimeoutError
        return left


class _TimedSocket:
    """A socket, plain or TLS, whose every wait ends with the operation's time."""

    def __init__(self, connected: socket.socket, deadline: Deadline, share: float) -> None:
        self._socket = connected
        self._deadline = deadline
        self._share = share
        self._waits = True

    def settimeout(self, seconds: float | None) -> None:
        """Take note whether to wait at all (redis-py looks for unread bytes so); how long is ours to say."""
        self._waits = seconds != 0
        if not self._waits:
            self._socket.settimeout(0)

    def recv(self, *arguments: Any) -> bytes:
        if self._waits:
            self._socket.settimeout(self._deadline.left(self._share))
        return self._socket.recv(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        if self._waits:
            self._socket.settimeout(self._deadline.left(self._share))
        return self._socket.recv_into(*arguments)

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._deadline.left(self._share))
        self._socket.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _Timed(AbstractConnection):
    """A connection whose every wait ends with the operation's time, and that may speak TLS."""

    def __init__(
        self, *, deadline: Deadline, tls: ssl.SSLContext | None, share: float = 1.0, **settings: Any
    ) -> None:
        self._deadline = deadline
        self._share = share
        self._tls = tls
        super().__init__(**settings)

    @property
    def socket_timeout(self) -> float:
        """Seconds the next wait may take."""
        return self._deadline.left(self._share)

    @socket_timeout.setter
    def socket_timeout(self, value: object) -> None:
        pass

    @property
    def socket_connect_timeout(self) -> float:
        """Likewise."""
        return self.socket_timeout

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: object) -> None:
        pass

    def _connect(self) -> Any:
        connected: socket.socket = super()._connect()  # type: ignore[no-untyped-call, safe-super]  # a mixin
        try:
            if self._tls is not None:
                connected = self._tls.wrap_socket(connected, server_hostname=self.host)
        except BaseException:
            connected.close()
            raise
        return _TimedSocket(connected, self._deadline, self._share)


class _TimedConnection(_Timed, Connection):
    """To a host's port."""


class _TimedUnixConnection(_Timed, UnixDomainSocketConnection):
    """To a socket in the file system."""


class _TimedPrimaryConnection(_Timed, SentinelManagedConnection):
    """To whom the Sentinels name."""


def pool_to(place: Place, access: Access, deadline: Deadline) -> ConnectionPool:
    """Return a pool of connections to ``place``.  Whoever uses it sees to it that there are not too many."""
    settings: dict[str, Any] = {
        **access.to_servers,
        "deadline": deadline,
        "tls": access.tls,
        "max_connections": NO_LIMIT,
    }
    if isinstance(place, Primary):
        manager = Sentinel([])
        manager.sentinels = [_sentinel(node, access, deadline) for node in access.sentinels]
        return SentinelConnectionPool(
            place.name,
            manager,
            connection_class=_TimedPrimaryConnection,
            redis_connect_func=_meet_primary,
            **settings,
        )
    if place.path is not None:
        return ConnectionPool(
            connection_class=_TimedUnixConnection,  # pyright: ignore[reportArgumentType] - it says TCP only
            path=place.path,
            **settings,
        )
    return ConnectionPool(connection_class=_TimedConnection, host=place.host, port=place.port, **settings)


def _sentinel(node: Node, access: Access, deadline: Deadline) -> Redis:
    pool = ConnectionPool(
        connection_class=_TimedConnection,
        host=node.host,
        port=node.port,
        deadline=deadline,
        share=SENTINEL_SHARE,
        tls=access.tls,
        **access.to_sentinels,
    )
    return Redis.from_pool(pool)


def _meet_primary(connection: AbstractConnection) -> None:
    """Make sure that it is one: a Sentinel may be the last to hear of a failover."""
    connection.on_connect()
    connection.send_command("ROLE")
    if connection.read_response()[0] != b"master":
        raise NotThePrimaryError
