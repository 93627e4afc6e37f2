"""The memcached store for asyncio."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, TypeVar

from sojourn.cancelling import to_the_end
from sojourn.errors import StoreError
from sojourn.stores.channels import Channel, OfEachLoop, Shared
from sojourn.stores.memcached.faults import FAILURES, closed, translated
from sojourn.stores.memcached.nodes import owner
from sojourn.stores.memcached.operations import Operations
from sojourn.stores.memcached.protocol import Answer, Replies, Witness

if TYPE_CHECKING:
    import ssl

    from sojourn.record import Record, Version
    from sojourn.stores.memcached.nodes import Node
    from sojourn.stores.memcached.operations import Steps
    from sojourn.stores.memcached.protocol import Exchange, Reply

__all__ = ["AsyncMemcachedStore"]

T = TypeVar("T")


class AsyncMemcachedStore(Operations):
    """:class:`MemcachedStore` for asyncio: the same arguments, the same sessions.

    May be used from several event loops; each has one connection to each server, which all its tasks
    share: ``max_connections`` bounds nothing here.  A loop that is shut down, as by ``asyncio.run``,
    closes its own.  The reply to a cancelled call is read and dropped; a cancelled ``move`` is brought to
    its end before the cancellation goes on.
    """

    def _prepare(self) -> None:
        self._closed = False
        self._servers = OfEachLoop(self._reachable, _close)

    def _reachable(self) -> list[tuple[bytes, _Server]]:
        return [(str(node).encode(), _Server(node, self._tls)) for node in self.nodes]

    async def create(self, record: Record) -> Version:
        """See :meth:`MemcachedStore.create`."""
        return await self._run(self._create(record))

    async def load(self, key: str) -> Record | None:
        """See :meth:`MemcachedStore.load`."""
        return await self._run(self._load(key))

    async def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`MemcachedStore.update`."""
        return await self._run(self._update(record, expected_version))

    async def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`MemcachedStore.touch`."""
        return await self._run(self._touch(key, idle_deadline))

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`MemcachedStore.move`."""
        # Between its two writes it is half done.
        return await to_the_end(self._run(self._move(old_key, expected_version, record)))

    async def delete(self, key: str) -> bool:
        """See :meth:`MemcachedStore.delete`."""
        return await self._run(self._delete(key))

    async def close(self) -> None:
        """Close the connections of this event loop; later operations raise ``StoreUnavailableError``."""
        self._closed = True
        await self._servers.close()

    async def _run(self, steps: Steps[T]) -> T:
        if self._closed:
            raise closed()
        servers = await self._servers.get()
        until = asyncio.get_running_loop().time() + self._timeout
        try:
            exchange = next(steps)
            while True:
                try:
                    answer = await self._exchange(exchange, owner(exchange.key, servers), until)
                except StoreError as error:
                    exchange = steps.throw(error)
                else:
                    exchange = steps.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _exchange(self, exchange: Exchange, server: _Server, until: float) -> Answer | None:
        """Return the answer, ``None`` if the channel cannot stand for the exchange's witness."""
        newest = server.newest
        try:
            channel = await server.get(until)
            witness = exchange.witness
            if witness is not None and not witness.speaks_for(server, channel.number):
                return None
            replies = await channel.ask(exchange.request, exchange.replies, until)
            return Answer.of(replies, Witness(server, max(newest, channel.number)))
        except FAILURES as error:
            raise translated(error, server.node, self._timeout) from error


class _Server(Shared[Channel["Reply"]]):
    """One memcached, and the channel of an event loop to it."""

    def __init__(self, node: Node, tls: ssl.SSLContext | None) -> None:
        super().__init__(self._reach)
        self.node = node
        self._tls = tls

    async def _reach(self) -> Channel[Reply]:
        loop, node = asyncio.get_running_loop(), self.node
        if node.path is not None:
            _, channel = await loop.create_unix_connection(_channel, node.path)
            return channel
        transport, channel = await loop.create_connection(_channel, node.host, node.port, ssl=self._tls)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return channel


async def _close(servers: list[tuple[bytes, _Server]]) -> None:
    for _, server in servers:
        await server.close()


def _channel() -> Channel[Reply]:
    return Channel(Replies())
