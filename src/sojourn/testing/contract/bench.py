"""How the contract puts its questions: once, for plain and for asynchronous stores.

Each promise is a coroutine that awaits the calls of a store.  For an asynchronous store it runs in an event
loop.  For a plain one the calls have answered before anybody waits, so that it runs straight through, in the
test's own thread and without a loop; what races, races in threads.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import random
import time
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import pytest

from sojourn.clock import Clock, SystemClock
from sojourn.errors import StoreError
from sojourn.store import AsyncPurge, AsyncScan, AsyncStore, AsyncSubjectIndex
from sojourn.testing.clock import FakeClock
from sojourn.testing.records import new_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from sojourn.record import Record

T = TypeVar("T")
B = TypeVar("B", bound="Bench")

__all__ = ["AnyStore", "Bench", "ContractClock", "ServerClock", "created", "failures", "in_time", "promise"]

_SLOWEST = 16.0


class AnyStore(AsyncStore, AsyncSubjectIndex, AsyncPurge, AsyncScan, Protocol):
    """The store under test, plain or asynchronous: every call is awaited.

    It has the capabilities of the store behind it; only the contract of a capability uses them.
    """


class ContractClock(Clock, Protocol):
    """The clock the store under test was given."""

    def advance_to(self, instant: int) -> None:
        """Let time pass until wall time is ``instant`` (milliseconds)."""
        ...

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back; no time passes."""
        ...


class ServerClock(SystemClock):
    """The machine's clock, for stores whose own server decides what has expired: time passes by waiting."""

    __slots__ = ("_awaited", "_offset")

    def __init__(self) -> None:
        """Start at the machine's time."""
        self._offset = 0
        self._awaited = self.now()

    def now(self) -> int:
        """Return wall time in milliseconds, with the steps made."""
        return super().now() + self._offset

    def advance_to(self, instant: int) -> None:
        """Wait until wall time is ``instant`` (milliseconds)."""
        while (missing := instant - self.now()) > 0:
            time.sleep(missing / 1000)
        self._awaited = instant

    @property
    def behind(self) -> float:
        """Seconds since the instant it was last advanced to: a test has been busy for so long."""
        return (self.now() - self._awaited) / 1000

    def step(self, seconds: float) -> None:
        """Set this clock forward or back; the server's stays as it is."""
        self._offset += round(seconds * 1000)
        self._awaited += round(seconds * 1000)


class Bench:
    """What every contract stands on: the settings of a subclass, the clock and the races."""

    #: Who decides that a record has expired: the ``clock`` given to the store, or the store's own
    #: ``server`` (memcached, Valkey).  With a server the contract waits for real seconds.
    expiry: ClassVar[Literal["clock", "server"]] = "clock"
    #: With a server: the seconds by which it may be off when it lets a record expire.
    grain: ClassVar[float] = 1.0
    #: The seconds by which a loaded idle deadline may be off that was set by a touch: 0 unless the store
    #: keeps it as a server's time to live, which may count in whole seconds.
    touch_grain: ClassVar[float] = 0.0
    #: Stores one test makes and lets race.  More than one if all of them keep the same records, as the
    #: workers of a deployment do: a lock inside one of them then proves nothing.
    clients: ClassVar[int] = 1
    #: Calls that race at once.
    racers: ClassVar[int] = 8
    #: How often each race is run.
    rounds: ClassVar[int] = 3
    #: Bytes of the big payload.
    big_payload: ClassVar[int] = 500_000

    #: The stores of one test, ``clients`` of them.
    stores: list[AnyStore]
    #: How much longer than on an idle machine everything is given: see :func:`in_time`.
    pace: float = 1.0

    def keep(self, check: Callable[[AnyStore, ContractClock], Coroutine[Any, Any, None]]) -> None:
        """Make the stores, run ``check`` on the first one and close them all."""
        raise NotImplementedError

    async def at_once(self, calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Let ``calls`` race; return what they return, in order."""
        raise NotImplementedError

    async def race(self, *calls: Callable[[AnyStore], Awaitable[Any]]) -> list[Any]:
        """Make ``calls`` at once, each on one of the clients; return the answers in order.

        A :class:`~sojourn.errors.StoreError` raised is an answer.  Who starts first is left to chance.
        """
        order = random.sample(range(len(calls)), len(calls))
        clients = itertools.cycle(self.stores)
        answers = await self.at_once([_answer(calls[number], next(clients)) for number in order])
        return [answer for _, answer in sorted(zip(order, answers, strict=True), key=itemgetter(0))]

    def make_clock(self) -> ContractClock:
        """Return the clock for one test."""
        return FakeClock() if self.expiry == "clock" else ServerClock()

    @property
    def lifetime(self) -> float:
        """Seconds to give a record whose end a test watches."""
        return 60.0 if self.expiry == "clock" else 3 * self.grain * self.pace

    def surely_alive(self, deadline: int) -> int:
        """Return the last instant at which a record with ``deadline`` must be alive."""
        return deadline - 1 if self.expiry == "clock" else deadline - round(2000 * self.grain * self.pace)

    def surely_dead(self, deadline: int) -> int:
        """Return the first instant at which a record with ``deadline`` must be dead."""
        return deadline if self.expiry == "clock" else deadline + round(1500 * self.grain * self.pace)

    def is_touched(self, loaded: Record | None, touched: Record) -> bool:
        """Whether ``loaded`` is ``touched``, its idle deadline to the ``touch_grain``."""
        if loaded is None or replace(loaded, idle_deadline=touched.idle_deadline) != touched:
            return False
        return abs(loaded.idle_deadline - touched.idle_deadline) <= self.touch_grain * 1000

    async def expired(self, store: AnyStore, clock: ContractClock, **fields: Any) -> Record:
        """Return a record as the store had it, which has just died of its idle deadline."""
        lives = 60.0 if self.expiry == "clock" else self.grain
        record = await created(store, new_record(clock, lives=lives, **fields))
        clock.advance_to(self.surely_dead(record.idle_deadline))
        return record


async def _answer(call: Callable[[AnyStore], Awaitable[Any]], client: AnyStore) -> Any:
    """Return what ``call`` returns, or the StoreError it raises."""
    try:
        return await call(client)
    except StoreError as error:
        return error


async def created(store: AnyStore, record: Record) -> Record:
    """Create ``record`` and return it as it is stored: what a later ``load`` is compared with."""
    return replace(record, version=await store.create(record))


def failures(answers: Sequence[object]) -> list[StoreError]:
    """Return those answers of a race that are errors."""
    return [answer for answer in answers if isinstance(answer, StoreError)]


def in_time(
    check: Callable[[B, AnyStore, ContractClock], Coroutine[Any, Any, None]],
) -> Callable[[B, AnyStore, ContractClock], Coroutine[Any, Any, None]]:
    """Begin anew, with deadlines further apart, when a check that needs records alive came too late.

    That is one that failed after being busy for longer than the instants it asks at allow for.
    """

    @functools.wraps(check)
    async def patient(self: B, store: AnyStore, clock: ContractClock) -> None:
        while True:
            clock.advance_to(clock.now())
            try:
                return await check(self, store, clock)
            except (Exception, pytest.fail.Exception):
                late = isinstance(clock, ServerClock) and clock.behind > self.grain * self.pace / 2
                if not late or self.pace >= _SLOWEST:
                    raise
                self.pace *= 2

    return patient


def promise(
    check: Callable[[B, AnyStore, ContractClock], Coroutine[Any, Any, None]],
) -> Callable[[B], None]:
    """Turn a coroutine into a test that runs it on a store of its own."""

    @functools.wraps(check)
    def test(self: B) -> None:
        self.keep(functools.partial(check, self))

    # pytest takes what a test needs from its signature; the store and the clock are no fixtures.
    test.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    )
    return test
