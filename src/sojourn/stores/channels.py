"""Connections of an event loop to a server: one to each, which all tasks share.

Requests go out in the order they come, all those of one turn of the loop in one write; replies come back in
that order.  So a hundred tasks cost few system calls, and none waits for a connection.

Instants are the event loop's ``time()``.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from contextvars import Context
from copy import copy
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from sojourn.stores.lines import forget_after_fork

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

__all__ = ["Channel", "OfEachLoop", "Replies", "Shared"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Replies(Protocol[T_co]):
    """Takes replies out of bytes."""

    def feed(self, data: bytes) -> Iterable[T_co]:
        """Take ``data``, return the replies that are whole now.  May raise anything if it is nonsense."""
        ...


class Channel(asyncio.Protocol, Generic[T]):
    """One connection, used by any number of tasks at once.

    A task that is cancelled leaves its place in the queue: its reply is read and dropped.  A reply that is
    not there when its time is over, or that is none, ends the connection and with it everything that waits:
    no later reply could be told from it.
    """

    def __init__(self, replies: Replies[T]) -> None:
        self.number = 0
        self._loop = asyncio.get_running_loop()
        self._feed = replies.feed
        self._transport: asyncio.Transport
        #: For each request without all its replies: who waits, for how many, until when.
        self._waiting: deque[tuple[asyncio.Future[list[T]], int, float]] = deque()
        #: The replies to the first of them so far.
        self._found: list[T] = []
        #: What this turn of the loop has to send.
        self._requests: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        #: The timer's: it would keep that of a request, with all that is in its context variables.
        self._context = Context()
        self._spoilt = False
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._kept: object = None

    def keep(self, opener: object) -> None:
        """Keep what opened the connection, which would close it when it is forgotten."""
        self._kept = opener

    def is_good(self) -> bool:
        """Whether it can be asked: it is open, and nothing has come that nobody asked for."""
        return not self._spoilt and (bool(self._waiting) or not self._poll(0))

    def ask(self, request: bytes, replies: int, until: float) -> Awaitable[list[T]]:
        """Send ``request``, return so many replies.

        Raises ``TimeoutError`` at ``until``, ``EOFError``, ``OSError`` and what :class:`Replies` raises.
        """
        waiter: asyncio.Future[list[T]] = self._loop.create_future()
        if self._spoilt:
            waiter.set_exception(EOFError())
            return waiter
        self._waiting.append((waiter, replies, until))
        if not self._requests:
            self._loop.call_soon(self._send)
        self._requests.append(request)
        if self._timer is None or self._timer.when() > until:
            self._set_timer(until)
        return waiter

    def _send(self) -> None:
        requests, self._requests = self._requests, []
        if not self._spoilt:
            self._transport.write(requests[0] if len(requests) == 1 else b"".join(requests))

    def _set_timer(self, at: float) -> None:
        """Look after those who wait.  Most have their replies by then: one timer serves many of them."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._look, context=self._context)

    def _look(self) -> None:
        self._timer = None
        if self._waiting:
            first = min(until for _, _, until in self._waiting)
            if first <= self._loop.time():
                self._fail(TimeoutError())
            else:
                self._set_timer(first)

    def _fail(self, error: Exception) -> None:
        self.abort()
        while self._waiting:
            waiter, _, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(copy(error))

    def abort(self) -> None:
        """Close at once; whoever waits gets an ``EOFError``."""
        self._spoilt = True
        self._transport.abort()

    async def close(self) -> None:
        """Close, and wait until that is done."""
        self.abort()
        await self._lost

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :meth:`asyncio.BaseProtocol.connection_made`."""
        self._transport = cast("asyncio.Transport", transport)
        poll = select.poll()  # what the event loop has not come to yet
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._poll = poll.poll

    def data_received(self, data: bytes) -> None:
        """See :meth:`asyncio.Protocol.data_received`."""
        if self._spoilt:
            return
        try:
            for reply in self._feed(data):
                waiter, expected, _ = self._waiting[0]  # IndexError: nobody has asked
                self._found.append(reply)
                if len(self._found) == expected:
                    self._waiting.popleft()
                    if not waiter.done():
                        waiter.set_result(self._found)
                    self._found = []
        except Exception as error:  # noqa: BLE001 - whatever a parser raises when it is fed garbage
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :meth:`asyncio.BaseProtocol.connection_lost`."""
        self._fail(EOFError() if exc is None else exc)
        if self._timer is not None:
            self._timer.cancel()
        if not self._lost.done():
            self._lost.set_result(None)


C = TypeVar("C", bound=Channel[Any])


class Shared(Generic[C]):
    """The channel of one event loop to one server, opened when it is needed by ``connect``."""

    def __init__(self, connect: Callable[[], Awaitable[C]]) -> None:
        self._connect = connect
        self._channel: C | None = None
        self._opening: asyncio.Task[C] | None = None
        #: How many were opened: the number of the last.
        self.newest = 0

    async def get(self, until: float) -> C:
        """Return a channel that is good.

        Raises ``TimeoutError`` at ``until``, and what ``connect`` raises.
        """
        while True:
            channel = self._channel
            if channel is not None:
                if channel.is_good():
                    return channel
                channel.abort()
                self._channel = None
            opening = self._opening
            if opening is None:
                loop = asyncio.get_running_loop()
                # Not in the request's context: the connection would keep it.
                opening = self._opening = loop.create_task(self._open(until), context=Context())
                opening.add_done_callback(self._opened)
            try:
                async with asyncio.timeout_at(until):
                    return await asyncio.shield(opening)
            except TimeoutError:
                if asyncio.get_running_loop().time() >= until:  # else it was that of who was first
                    raise

    async def _open(self, until: float) -> C:
        async with asyncio.timeout_at(until):
            channel = await self._connect()
        self.newest += 1
        channel.number = self.newest
        self._channel = channel
        return channel

    def _opened(self, opening: asyncio.Task[C]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # seen, also if nobody waits for it any more

    async def close(self) -> None:
        """Close it."""
        if self._opening is not None:
            await asyncio.wait([self._opening])
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()


class OfEachLoop(Generic[T]):
    """What each event loop has of its own, from its first call until it is shut down.

    ``asyncio.run``, which Django's ``async_to_sync`` calls for each request, shuts its event loop down, and
    that ends its asynchronous generators: one of them, for each loop, closes what is the loop's.  (To refer
    to the loop weakly would free nothing: its connections refer to it.)
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._found: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]] = {}
        self._inherited: list[object] = []
        forget_after_fork(self)

    async def get(self) -> T:
        """Return what the running event loop has."""
        loop = asyncio.get_running_loop()
        found = self._found.get(loop)
        if found is not None:
            return found[0]
        for other in tuple(self._found):
            if other.is_closed():  # without having been shut down
                self._found.pop(other, None)
        made = self._make()
        guard = self._guard(loop, made)
        self._found[loop] = made, guard
        await anext(guard)
        return made

    async def close(self) -> None:
        """Close what the running event loop has."""
        found = self._found.get(asyncio.get_running_loop())
        if found is not None:
            await found[1].aclose()

    async def _guard(self, loop: asyncio.AbstractEventLoop, made: T) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._found.pop(loop, None)
            await self._close(made)

    def after_fork_in_child(self) -> None:
        """Leave all to the parent: kept, neither used nor closed.

        To close a channel here would tell the parent's event loop, which shares its selector, to forget it.
        """
        self._inherited.append(self._found)
        self._found = {}
