"""The Valkey store for asyncio."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections import deque
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

from sojourn.errors import StoreError
from sojourn.stores.valkey.faults import FAILURES, check_greeting, closed, not_reached, translated
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

__all__ = ["AsyncValkeyStore"]

T = TypeVar("T")

_stores: WeakSet[AsyncValkeyStore] = WeakSet()


class AsyncValkeyStore(Operations):
    """:class:`ValkeyStore` for asyncio: the same arguments but one, the same sessions.

    There is no ``max_connections``: all tasks of an event loop share one connection to each server and their
    requests follow each other without waiting for replies.  May be used from several event loops.  The reply
    to a cancelled call is dropped when it comes; a cancelled call of several steps, which only a Cluster
    needs, is brought to its end before the cancellation goes on.
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
            max_sessions_per_subject=max_sessions_per_subject,
            clock=clock,
        )
        self._closed = False
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Node, bool], _Line]]
        self._lines = WeakKeyDictionary()
        self._inherited: object = None
        _stores.add(self)

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
        for line in self._lines.pop(asyncio.get_running_loop(), {}).values():
            await line.close()

    # SubjectIndex

    async def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`ValkeyStore.find_subject`."""
        return await self._run(self._find_subject(subject))

    async def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`ValkeyStore.delete_subject`."""
        return await self._finish(self._delete_subject(subject, except_key))

    async def _finish(self, steps: Steps[T]) -> T:
        """Carry out steps that must not end half done."""
        if not self._is_cluster:
            return await self._run(steps)
        work = asyncio.ensure_future(self._run(steps))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # seen
            raise

    async def _run(self, steps: Steps[T]) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        answer: list[Reply] | None = None
        error: StoreError | None = None
        try:
            while True:
                request = steps.send(answer) if error is None else steps.throw(error)
                error = None
                try:
                    answer = await self._line(request, loop).exchange(request, loop, deadline)
                except StoreError as raised:
                    error = raised
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _line(self, request: Request, loop: asyncio.AbstractEventLoop) -> _Line:
        if self._closed:
            raise closed()
        lines = self._lines.get(loop)
        if lines is None:
            lines = self._lines[loop] = {}
        line = lines.get((request.node, request.is_for_sentinel))
        if line is None:
            greeting = self._sentinel_greeting if request.is_for_sentinel else self._greeting
            line = lines[request.node, request.is_for_sentinel] = _Line(
                request.node, greeting, timeout=self._timeout, tls=self._tls
            )
        return line

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent: kept, neither used nor closed."""
        self._inherited = (self._inherited, list(self._lines.values()))
        self._lines = WeakKeyDictionary()


class _Line:
    """The connection of one event loop to one server, opened when needed."""

    def __init__(
        self, node: Node, greeting: list[bytes], *, timeout: float, tls: ssl.SSLContext | None
    ) -> None:
        self._node = node
        self._greeting = greeting
        self._timeout = timeout
        self._tls = tls
        self._connecting = asyncio.Lock()
        self._connection: _Connection | None = None

    async def exchange(
        self, request: Request, loop: asyncio.AbstractEventLoop, deadline: float
    ) -> list[Reply]:
        """Return the replies.  Raises ``StoreUnavailableError``, ``StoreTimeoutError``."""
        if request.share < 1:
            now = loop.time()
            deadline = now + (deadline - now) * request.share
        connection = self._connection
        if connection is None or not connection.is_usable():
            try:
                async with asyncio.timeout_at(deadline):
                    connection = await self._open()
            except FAILURES as error:
                raise not_reached(error, self._node, self._timeout) from error
        try:
            return await connection.exchange(request.data, request.replies, loop, deadline)
        except FAILURES as error:
            raise translated(error, self._node, self._timeout) from error

    async def _open(self) -> _Connection:
        async with self._connecting:
            connection = self._connection
            if connection is not None and connection.is_usable():  # another task was faster
                return connection
            if connection is not None:
                connection.abort()
            self._connection = None
            connection = await _connect(self._node, self._tls)
            try:
                if self._greeting:
                    check_greeting(
                        await connection.ask(b"".join(self._greeting), len(self._greeting)), self._node
                    )
            except BaseException:
                connection.abort()
                raise
            self._connection = connection
            return connection

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


class _Asked:
    """A request under way: how many replies it gets, and those that have come."""

    __slots__ = ("count", "done", "found")

    def __init__(self, count: int, done: asyncio.Future[list[Reply]]) -> None:
        self.count = count
        self.done = done
        self.found: list[Reply] = []


class _Connection(asyncio.Protocol):
    """One connection that all tasks of an event loop share.  Replies come in the order of the requests."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._replies = Replies()
        self._asked: deque[_Asked] = deque()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._is_lost = False

    def is_usable(self) -> bool:
        """Whether it is open and nothing has come that nobody asked for: neither bytes nor the end."""
        return not self._is_lost and (bool(self._asked) or not self._poll(0))

    def ask(self, data: bytes, count: int) -> asyncio.Future[list[Reply]]:
        """Send; the replies will be in the future.  If that is cancelled, they are dropped."""
        done: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._asked.append(_Asked(count, done))
        self._transport.write(data)
        return done

    async def exchange(
        self, data: bytes, count: int, loop: asyncio.AbstractEventLoop, deadline: float
    ) -> list[Reply]:
        """Send, and return ``count`` replies.  A server that has let one wait too long is left."""
        timer = loop.call_at(deadline, self._fail, TimeoutError())
        try:
            return await self.ask(data, count)
        finally:
            timer.cancel()

    def _fail(self, error: Exception) -> None:
        self._is_lost = True
        asked, self._asked = self._asked, deque()
        for one in asked:
            if not one.done.done():
                one.done.set_exception(error)
        self._transport.abort()

    def abort(self) -> None:
        """Close at once."""
        self._fail(EOFError())

    async def close(self) -> None:
        """Close, and wait until that is done."""
        self.abort()
        await self._ended

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        poll = select.poll()  # what the event loop has not come to yet
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._poll = poll.poll

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._replies.feed(data)
        except GarbledReplyError as error:
            self._fail(error)
            return
        for reply in replies:
            if not self._asked:
                self._fail(GarbledReplyError())
                return
            one = self._asked[0]
            one.found.append(reply)
            if len(one.found) == one.count:
                self._asked.popleft()
                if not one.done.done():
                    one.done.set_result(one.found)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(EOFError() if exc is None else exc)
        if not self._ended.done():
            self._ended.set_result(None)


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
