"""redis-py's connections for threads, with what they lack: an end to an operation's time.

redis-py connects, speaks TLS, signs in and finds the primary that Sentinels name.  It gives each wait of a
connection so many seconds; a server that sends a byte now and then could hold a thread for ever.  So what
waits is a :class:`~sojourn.stores.lines.Line`: while redis-py greets the server, and then without it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from hiredis import Reader, pack_command
from redis import Redis
from redis.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    DefaultParser,
    UnixDomainSocketConnection,
)
from redis.exceptions import InvalidResponse, ReadOnlyError
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from sojourn.stores.lines import Line
from sojourn.stores.valkey.faults import NotThePrimaryError
from sojourn.stores.valkey.nodes import Primary

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from sojourn.stores.valkey.nodes import Access, Node, Place
    from sojourn.stores.valkey.routing import Request

__all__ = [
    "NOT_YET",
    "NO_LIMIT",
    "SENTINEL_SHARE",
    "Deadline",
    "TimedConnection",
    "checked",
    "maker",
    "packed",
    "reader",
]

#: Of redis-py's pools, which only make connections here: the store has a limit of its own, and waits.
NO_LIMIT: Final = 1 << 31
#: The part of an operation's time that each Sentinel may take, so that another can be asked after it.
SENTINEL_SHARE: Final = 0.25
#: What a reader says while a reply is not whole.
NOT_YET: Final = object()


def reader() -> Reader:
    """Return what takes replies out of bytes.  A refusal is redis-py's error for it, not raised."""
    return Reader(protocolError=InvalidResponse, replyError=DefaultParser.parse_error, notEnoughData=NOT_YET)


def packed(request: Request) -> bytes:
    """Return a request as it is sent."""
    words: bytes = _pack(request.words)
    return _ASKING + words if request.asking else words


_pack: Final[Any] = pack_command  # its type says one word
_ASKING: Final[bytes] = _pack(("ASKING",))


def checked(reply: Any, place: Place) -> Any:
    """Return the reply.  Raises ``ResponseError`` if it is a refusal, another error if it is of no use."""
    if isinstance(reply, ReadOnlyError) and isinstance(place, Primary):
        raise NotThePrimaryError from reply
    if isinstance(reply, Exception):
        raise reply
    return reply


class Deadline(threading.local):
    """Until when the operation that the thread is in may take, on the clock's monotonic time.

    Sentinels are asked by connections that threads share, so each thread has its own.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self.at = 0.0

    def left(self, share: float) -> float:
        """Return the seconds left, or a part of them.  Raises ``TimeoutError`` if there are none."""
        left = (self.at - self.monotonic()) * share
        if left <= 0:
            raise TimeoutError
        return left

    def until(self, share: float) -> float:
        """Return the instant at which they, or that part of them, are over."""
        return self.monotonic() + self.left(share)


class _Greeting:
    """What redis-py takes for a socket: its every wait ends with the operation's time."""

    def __init__(self, connected: socket.socket, line: Line, deadline: Deadline, share: float) -> None:
        self._connected = connected
        self._line = line
        self._deadline = deadline
        self._share = share

    def settimeout(self, seconds: float | None) -> None:
        """Do nothing: how long to wait is ours to say."""

    def recv_into(self, buffer: bytearray) -> int:
        try:
            data = self._line.receive(self._deadline.until(self._share), len(buffer))
        except EOFError:
            return 0
        buffer[: len(data)] = data
        return len(data)

    def sendall(self, data: bytes) -> None:
        self._line.send(data, self._deadline.until(self._share))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected, name)


class TimedConnection(AbstractConnection):
    """A connection whose every wait ends with the operation's time, and that may speak TLS.

    Connected by redis-py, it is asked by :meth:`ask`: a :class:`~sojourn.stores.lines.Connection`.
    """

    number = 0
    _line: Line
    _replies: Reader

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
        self._line = Line(connected, self._deadline.monotonic)
        self._replies = reader()
        return _Greeting(connected, self._line, self._deadline, self._share)

    def ask(self, request: Request, until: float) -> Any:
        """Send the request, return the reply, as :func:`checked` does."""
        self._line.send(packed(request), until)
        reply = self.read_reply(until)
        if request.asking:  # that was the reply to ASKING
            reply = self.read_reply(until)
        if self._replies.has_data():
            raise InvalidResponse
        return checked(reply, request.place)

    def read_reply(self, until: float) -> Any:
        """Return what comes next; a refusal is returned, too."""
        replies = self._replies
        reply = replies.gets()
        while reply is NOT_YET:
            replies.feed(self._line.receive(until))
            reply = replies.gets()
        return reply

    def is_quiet(self) -> bool:
        """See :meth:`Line.is_quiet <sojourn.stores.lines.Line.is_quiet>`."""
        return self._line.is_quiet()

    def close(self) -> None:
        """Close at once."""
        self.disconnect()  # type: ignore[no-untyped-call]


class _TimedConnection(TimedConnection, Connection):
    """To a host's port."""


class _TimedUnixConnection(TimedConnection, UnixDomainSocketConnection):
    """To a socket in the file system."""


class _TimedPrimaryConnection(TimedConnection, SentinelManagedConnection):
    """To whom the Sentinels name."""


def maker(place: Place, access: Access, deadline: Deadline) -> Callable[[float], TimedConnection]:
    """Return what connects to ``place`` until an instant."""
    pool = _pool_to(place, access, deadline)

    def connected(until: float) -> TimedConnection:
        deadline.at = until
        connection: Any = pool.make_connection()
        connection.connect()
        made: TimedConnection = connection
        return made

    return connected


def _pool_to(place: Place, access: Access, deadline: Deadline) -> ConnectionPool:
    """Return what makes connections to ``place``."""
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
