"""The memcached store for asyncio."""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import socket
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

from sojourn.errors import StoreError
from sojourn.stores.memcached.faults import FAILURES, all_busy, closed, translated
from sojourn.stores.memcached.nodes import owner
from sojourn.stores.memcached.operations import Operations
from sojourn.stores.memcached.protocol import Answer, Replies, Witness

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.stores.memcached.nodes import Node
    from sojourn.stores.memcached.operations import Steps
    from sojourn.stores.memcached.protocol import Exchange, Reply

__all__ = ["AsyncMemcachedStore"]

T = TypeVar("T")

_stores: WeakSet[AsyncMemcachedStore] = WeakSet()


class AsyncMemcachedStore(Operations):
    """:class:`MemcachedStore` for asyncio: the same arguments, the same sessions.

    May be used from several event loops; each has connections of its own.  A cancelled call closes the
    connection it was waiting on; a cancelled ``move`` is brought to its end before the cancellation goes on.
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
        self._closed = False
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, list[tuple[bytes, _Pool]]]
        self._pools = WeakKeyDictionary()
        self._inherited: object = None
        _stores.add(self)

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
        moving = asyncio.ensure_future(self._run(self._move(old_key, expected_version, record)))
        try:
            return await asyncio.shield(moving)
        except asyncio.CancelledError:  # between its two writes it is half done
            await asyncio.wait([moving])
            if not moving.cancelled():
                moving.exception()  # seen
            raise

    async def delete(self, key: str) -> bool:
        """See :meth:`MemcachedStore.delete`."""
        return await self._run(self._delete(key))

    async def close(self) -> None:
        """Close the connections of this event loop; later operations raise ``StoreUnavailableError``."""
        self._closed = True
        for _, pool in self._pools.pop(asyncio.get_running_loop(), ()):
            await pool.close()

    async def _run(self, steps: Steps[T]) -> T:
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        pools = self._pools.get(loop)
        if pools is None:
            pools = self._pools[loop] = [
                (str(node).encode(), _Pool(node, self._max_connections, self._timeout, self._tls))
                for node in self.nodes
            ]
        deadline = loop.time() + self._timeout
        answer: Answer | None = None
        error: StoreError | None = None
        try:
            while True:
                exchange = steps.send(answer) if error is None else steps.throw(error)
                error = None
                try:
                    answer = await owner(exchange.key, pools).exchange(exchange, loop, deadline)
                except StoreError as raised:
                    error = raised
        except StopIteration as stop:
            result: T = stop.value
            return result

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent: kept, neither used nor closed."""
        self._inherited = (self._inherited, list(self._pools.values()))
        self._pools = WeakKeyDictionary()


class _Pool:
    """The connections of one event loop to one server; the one used last is used next."""

    def __init__(self, node: Node, size: int, timeout: float, tls: ssl.SSLContext | None) -> None:
        self._node = node
        self._size = size
        self._timeout = timeout
        self._tls = tls
        self._room = asyncio.Semaphore(size)
        self._idle: list[_Connection] = []
        self._numbers = itertools.count(1)
        self._newest = 0
        self._closed = False

    async def exchange(
        self, exchange: Exchange, loop: asyncio.AbstractEventLoop, deadline: float
    ) -> Answer | None:
        """Return the answer, ``None`` if the connection cannot stand for the exchange's witness."""
        room = self._room
        if room.locked():
            try:
                async with asyncio.timeout_at(deadline):
                    await room.acquire()
            except TimeoutError as error:
                raise all_busy(self._node, self._size, self._timeout) from error
        else:
            await room.acquire()
        try:
            return await self._exchange(exchange, loop, deadline)
        except FAILURES as error:
            raise translated(error, self._node, self._timeout) from error
        finally:
            room.release()

    async def _exchange(
        self, exchange: Exchange, loop: asyncio.AbstractEventLoop, deadline: float
    ) -> Answer | None:
        newest = self._newest
        connection = await self._take(deadline)
        witness = exchange.witness
        if witness is not None and (witness.pool is not self or connection.number > witness.number):
            self._give_back(connection)
            return None
        try:
            replies = await connection.exchange(exchange, loop, deadline)
        except BaseException:  # the rest of a reply may still come: nobody else is to get it
            connection.abort()
            raise
        self._give_back(connection)
        return Answer(replies, Witness(self, max(newest, connection.number)))

    async def _take(self, deadline: float) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.abort()
        async with asyncio.timeout_at(deadline):
            opened = await _connect(self._node, self._tls)
        opened.number = self._newest = next(self._numbers)
        return opened

    def _give_back(self, connection: _Connection) -> None:
        if self._closed:
            connection.abort()
        else:
            self._idle.append(connection)

    async def close(self) -> None:
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()


class _Connection(asyncio.Protocol):
    """One connection, used by one task at a time."""

    def __init__(self) -> None:
        self.number = 0
        self._transport: asyncio.Transport
        self._replies: Replies | None = None
        self._done: asyncio.Future[list[Reply]] | None = None
        self._spoilt = False
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for: neither bytes nor the end."""
        return not self._spoilt and not self._poll(0)

    async def exchange(
        self, exchange: Exchange, loop: asyncio.AbstractEventLoop, deadline: float
    ) -> list[Reply]:
        """Send the request, return the replies."""
        done: asyncio.Future[list[Reply]] = loop.create_future()
        self._done, self._replies = done, Replies(exchange.replies)
        timer = loop.call_at(deadline, self._fail, TimeoutError())
        try:
            self._transport.write(exchange.request)
            return await done
        finally:
            timer.cancel()
            self._done = self._replies = None

    def _fail(self, error: Exception) -> None:
        self._spoilt = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def abort(self) -> None:
        """Close at once."""
        self._spoilt = True
        self._transport.abort()

    async def close(self) -> None:
        """Close, and wait until that is done."""
        self.abort()
        await self._lost

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        poll = select.poll()  # what the event loop has not come to yet
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._poll = poll.poll

    def data_received(self, data: bytes) -> None:
        if self._replies is None or self._done is None or self._done.done():
            self._spoilt = True
            return
        try:
            if self._replies.feed(data):
                self._done.set_result(self._replies.found)
        except FAILURES as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(EOFError() if exc is None else exc)
        if not self._lost.done():
            self._lost.set_result(None)


async def _connect(node: Node, tls: ssl.SSLContext | None) -> _Connection:
    loop = asyncio.get_running_loop()
    if node.path is not None:
        _, connection = await loop.create_unix_connection(_Connection, node.path)
        return connection
    transport, connection = await loop.create_connection(_Connection, node.host, node.port, ssl=tls)
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _after_fork_in_child() -> None:
    for store in tuple(_stores):
        store.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
