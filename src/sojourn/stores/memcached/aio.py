"""The memcached store for asyncio."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakKeyDictionary

from sojourn.errors import StoreError
from sojourn.stores.memcached.connections import Connections
from sojourn.stores.memcached.faults import FAILURES, all_busy, closed, translated
from sojourn.stores.memcached.nodes import owner
from sojourn.stores.memcached.operations import Operations
from sojourn.stores.memcached.protocol import Replies

if TYPE_CHECKING:
    import ssl

    from sojourn.record import Record, Version
    from sojourn.stores.memcached.nodes import Node
    from sojourn.stores.memcached.operations import Steps
    from sojourn.stores.memcached.protocol import Answer, Exchange, Reply

__all__ = ["AsyncMemcachedStore"]

T = TypeVar("T")


class AsyncMemcachedStore(Operations):
    """:class:`MemcachedStore` for asyncio: the same arguments, the same sessions.

    May be used from several event loops; each has connections of its own.  A cancelled call closes the
    connection it was waiting on; a cancelled ``move`` is brought to its end before the cancellation goes on.
    """

    def _prepare(self) -> None:
        self._closed = False
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, list[tuple[bytes, _Pool]]]
        self._pools = WeakKeyDictionary()

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


class _Pool(Connections["_Connection"]):
    """The connections of one event loop to one server."""

    def __init__(self, node: Node, size: int, timeout: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(node, size, timeout, tls)
        self._room = asyncio.Semaphore(size)
        self._inherited: list[list[_Connection]] = []

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
        newest = self.newest
        connection = self.idle_one()
        if connection is None:
            async with asyncio.timeout_at(deadline):
                connection = self.opened(await _connect(self._node, self._tls))
        if not self.vouches(connection, exchange):
            self.give_back(connection)
            return None
        try:
            replies = await connection.exchange(exchange, loop, deadline)
        except BaseException:  # the rest of a reply may still come: nobody else is to get it
            connection.abort()
            raise
        return self.answered(connection, replies, newest)

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent, whose event loop holds them: kept, not used, not closed."""
        self._room = asyncio.Semaphore(self._size)
        self._inherited.append(self._idle)
        self._idle = []


class _Connection(asyncio.Protocol):
    """A :class:`~.connections.Connection`."""

    def __init__(self) -> None:
        self.number = 0
        self._transport: asyncio.Transport
        self._replies: Replies | None = None
        self._done: asyncio.Future[list[Reply]] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._spoilt = False
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def is_quiet(self) -> bool:
        return not self._spoilt and not self._poll(0)

    async def exchange(
        self, exchange: Exchange, loop: asyncio.AbstractEventLoop, deadline: float
    ) -> list[Reply]:
        """Send the request, return the replies."""
        done: asyncio.Future[list[Reply]] = loop.create_future()
        self._done, self._replies, self._deadline = done, Replies(exchange.replies), deadline
        if self._timer is None or self._timer.when() > deadline:
            self._set_timer(loop)
        try:
            self._transport.write(exchange.request)
            return await done
        finally:
            self._done = self._replies = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look after the exchange at its deadline.  Most are over by then: one timer serves many of them."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._deadline, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._done is not None:
            if loop.time() < self._deadline:  # another one's
                self._set_timer(loop)
            else:
                self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        self._spoilt = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def abort(self) -> None:
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
        if self._timer is not None:
            self._timer.cancel()
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
