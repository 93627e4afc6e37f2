"""The Valkey store for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.asyncio import Redis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    UnixDomainSocketConnection,
)
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.exceptions import ResponseError

from sojourn.cancelling import to_the_end
from sojourn.errors import StoreError
from sojourn.stores.channels import Channel, OfEachLoop, Shared
from sojourn.stores.valkey.connections import NO_LIMIT, NOT_YET, SENTINEL_SHARE, checked, packed, reader
from sojourn.stores.valkey.faults import NotThePrimaryError, closed, translated
from sojourn.stores.valkey.nodes import Primary
from sojourn.stores.valkey.operations import Operations

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence

    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.stores.valkey.nodes import Access, Node, Place
    from sojourn.stores.valkey.routing import Request, Steps

__all__ = ["AsyncValkeyStore"]

T = TypeVar("T")


class AsyncValkeyStore(Operations):
    """:class:`ValkeyStore` for asyncio: the same arguments, the same sessions.

    May be used from several event loops; each has one connection to each server, which all its tasks
    share: ``max_connections`` bounds nothing here.  A loop that is shut down, as by ``asyncio.run``,
    closes its own.  The reply to a cancelled call is read and dropped; a cancelled call of several steps,
    which only a Cluster needs, is brought to its end before the cancellation goes on.
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
        self._closed = False
        self._servers: OfEachLoop[dict[Place, _Server]] = OfEachLoop(dict, _close)

    # Store

    async def create(self, record: Record) -> Version:
        """See :meth:`ValkeyStore.create`."""
        return await self._finish(self._create(record))

    async def load(self, key: str) -> Record | None:
        """See :meth:`ValkeyStore.load`."""
        return await self._run(self._load(key))

    async def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`ValkeyStore.update`."""
        return await self._finish(self._update(record, expected_version))

    async def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`ValkeyStore.touch`."""
        return await self._run(self._touch(key, idle_deadline))

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`ValkeyStore.move`."""
        return await self._finish(self._move(old_key, expected_version, record))

    async def delete(self, key: str) -> bool:
        """See :meth:`ValkeyStore.delete`."""
        return await self._run(self._delete(key))

    async def close(self) -> None:
        """Close the connections of this event loop; later operations raise ``StoreUnavailableError``."""
        self._closed = True
        await self._servers.close()

    # SubjectIndex

    async def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`ValkeyStore.find_subject`."""
        return await self._run(self._find_subject(subject))

    async def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`ValkeyStore.delete_subject`."""
        return await self._finish(self._delete_subject(subject, except_key))

    async def _finish(self, steps: Steps[T]) -> T:
        """Carry out steps that must not end half done."""
        return await (to_the_end(self._run(steps)) if self._is_cluster else self._run(steps))

    async def _run(self, steps: Steps[T]) -> T:
        if self._closed:
            raise closed()
        servers = await self._servers.get()
        until = asyncio.get_running_loop().time() + self._timeout
        try:
            request = next(steps)
            while True:
                server = servers.get(request.place)
                if server is None:
                    server = servers[request.place] = _Server(request.place, self._access, self._timeout)
                try:
                    reply = await self._exchange(request, server, until)
                except (StoreError, ResponseError) as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _exchange(self, request: Request, server: _Server, until: float) -> Any:
        """Return the reply.  Raises ``ResponseError`` if it is a refusal, else ``StoreUnavailableError``."""
        if request.share < 1:
            now = asyncio.get_running_loop().time()
            until = now + (until - now) * request.share
        is_sent = False
        try:
            channel = await server.get(until)
            is_sent = True
            replies = await channel.ask(packed(request), 1 + request.asking, until)
            try:
                return checked(replies[-1], request.place)
            except ResponseError:
                raise
            except Exception:
                channel.abort()
                raise
        except ResponseError:
            raise
        except Exception as error:  # whatever a parser raises when it is fed garbage
            raise translated(error, request.place, self._timeout, is_sent=is_sent) from error


class _Server(Shared[Channel[Any]]):
    """A server, or whom Sentinels name, and the channel of an event loop to it."""

    def __init__(self, place: Place, access: Access, timeout: float) -> None:
        super().__init__(self._reach)
        self._made = _pool_to(place, access, timeout)

    async def _reach(self) -> Channel[Any]:
        connection: Any = self._made.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        channel: Channel[Any] = Channel(_Replies())
        connection.hand_over(channel)
        return channel

    async def close(self) -> None:
        """Close the channel, and what Sentinels are asked by."""
        await super().close()
        await self._made.aclose()


async def _close(servers: dict[Place, _Server]) -> None:
    for server in servers.values():
        await server.close()


class _Replies:
    """What takes replies out of a channel's bytes."""

    def __init__(self) -> None:
        self._reader = reader()

    def feed(self, data: bytes) -> Iterator[Any]:
        """See :meth:`Replies.feed <sojourn.stores.channels.Replies.feed>`."""
        self._reader.feed(data)
        return iter(self._reader.gets, NOT_YET)


class _Connection(AbstractConnection):
    """A connection that gives its streams away when it has greeted the server."""

    def hand_over(self, channel: Channel[Any]) -> None:
        """Let ``channel`` have the way that is open."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is None:
            raise EOFError
        writer.transport.set_protocol(channel)
        channel.connection_made(writer.transport)
        channel.keep(writer)  # which would close it when it is forgotten


class _TlsConnection(_Connection, Connection):
    """A connection that may speak TLS, as the context it is given says.  The store minds the time."""

    def __init__(self, *, tls: ssl.SSLContext | None, **settings: Any) -> None:
        self._tls = tls
        super().__init__(**settings)

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._tls}


class _UnixConnection(_Connection, UnixDomainSocketConnection):
    """To a socket in the file system."""


class _PrimaryConnection(SentinelManagedConnection, _TlsConnection):
    """To whom the Sentinels name."""


class _PrimaryPool(SentinelConnectionPool):
    """The connections to whom the Sentinels name; those to the Sentinels are closed with them."""

    async def aclose(self) -> None:
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


#: The store bounds an operation as a whole, so nothing within it has to be.
_UNTIMED: Final[dict[str, Any]] = {"socket_timeout": None, "socket_connect_timeout": None}


def _pool_to(place: Place, access: Access, timeout: float) -> ConnectionPool:
    """Return a pool of connections to ``place``.  Whoever uses it sees to it that there are not too many."""
    settings: dict[str, Any] = {**access.to_servers, **_UNTIMED, "max_connections": NO_LIMIT}
    if isinstance(place, Primary):
        manager = Sentinel([])
        manager.sentinels = [_sentinel(node, access, timeout * SENTINEL_SHARE) for node in access.sentinels]
        return _PrimaryPool(  # type: ignore[no-untyped-call]
            place.name,
            manager,
            connection_class=_PrimaryConnection,
            redis_connect_func=_meet_primary,
            tls=access.tls,
            **settings,
        )
    if place.path is not None:
        return ConnectionPool(_UnixConnection, path=place.path, **settings)
    return ConnectionPool(_TlsConnection, host=place.host, port=place.port, tls=access.tls, **settings)


def _sentinel(node: Node, access: Access, timeout: float) -> Redis:
    pool = ConnectionPool(
        _TlsConnection,
        host=node.host,
        port=node.port,
        tls=access.tls,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        **access.to_sentinels,
    )
    return Redis.from_pool(pool)


async def _meet_primary(connection: AbstractConnection) -> None:
    """Make sure that it is one: a Sentinel may be the last to hear of a failover."""
    await connection.on_connect()
    await connection.send_command("ROLE")
    role: Any = await connection.read_response()
    if role[0] != b"master":
        raise NotThePrimaryError
