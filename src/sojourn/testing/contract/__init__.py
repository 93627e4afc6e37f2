"""What a store promises, as tests that any store can be put to.

Subclass :class:`StoreContract` (or :class:`AsyncStoreContract`) in a test module, say how to make a store,
and name beside it the contract of each capability the store has::

    from sojourn.testing import PurgeContract, StoreContract

    class TestMyStore(StoreContract, PurgeContract):
        def make_store(self, clock):
            return MyStore(clock=clock)

pytest then runs every promise on a new store; no plugin is needed.  What else a store needs (a folder, a
server) comes from a fixture, as in any test class::

    class TestMyStore(StoreContract):
        @pytest.fixture(autouse=True)
        def _folder(self, tmp_path):
            self.folder = tmp_path

        def make_store(self, clock):
            return MyStore(self.folder / "sessions", clock=clock)

Settings to override, each a class attribute explained at :class:`~sojourn.testing.contract.bench.Bench`:
``expiry`` (``"server"`` if the store's own server lets records expire) with its ``grain``, ``touch_grain``,
``clients``, ``racers``, ``rounds`` and ``big_payload``.

The promises, to be read in this order:

1. :mod:`~sojourn.testing.contract.keeping`: create, load, delete, close;
2. :mod:`~sojourn.testing.contract.changing`: update, touch;
3. :mod:`~sojourn.testing.contract.moving`: move;
4. :mod:`~sojourn.testing.contract.expiring`: deadlines and the wall clock;
5. :mod:`~sojourn.testing.contract.capabilities`: subject index, purge, scan;
6. :mod:`~sojourn.testing.contract.cancelling`: what asyncio adds.

A letter and a number in a test's name are the row of the security checklist that it proves.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sojourn.store import Purge, Scan, SubjectIndex
from sojourn.testing.contract.bench import AnyStore, Bench, ContractClock, promise
from sojourn.testing.contract.cancelling import Cancelling
from sojourn.testing.contract.capabilities import PurgeContract, ScanContract, SubjectIndexContract
from sojourn.testing.contract.changing import Changing
from sojourn.testing.contract.expiring import Expiring
from sojourn.testing.contract.keeping import Keeping
from sojourn.testing.contract.moving import Moving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from sojourn.clock import Clock
    from sojourn.store import AsyncStore, Store

__all__ = [
    "AsyncStoreContract",
    "PurgeContract",
    "ScanContract",
    "StoreContract",
    "SubjectIndexContract",
]

T = TypeVar("T")

_CAPABILITIES: tuple[tuple[type, type[Bench]], ...] = (
    (SubjectIndex, SubjectIndexContract),
    (Purge, PurgeContract),
    (Scan, ScanContract),
)


class _EveryPromise(Keeping, Changing, Moving, Expiring):
    """The promises of :class:`~sojourn.store.Store`."""

    @promise
    async def test_each_capability_of_the_store_is_under_contract(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        """A capability is tested if and only if the store has it: none goes untested unnoticed."""
        itself = store.store if isinstance(store, _Awaited) else store
        has = [contract.__name__ for protocol, contract in _CAPABILITIES if isinstance(itself, protocol)]
        tested = [contract.__name__ for _, contract in _CAPABILITIES if isinstance(self, contract)]
        assert tested == has


class StoreContract(_EveryPromise):
    """Everything a :class:`~sojourn.store.Store` promises."""

    def make_store(self, clock: Clock) -> Store:
        """Return an empty store that goes by ``clock``.  The test closes it."""
        raise NotImplementedError

    def leave_thread(self) -> None:
        """Let go of what the store holds for this thread, if anything; racing threads call it last."""

    def keep(self, check: Callable[[AnyStore, ContractClock], Coroutine[Any, Any, None]]) -> None:
        """Run ``check`` in this thread, without an event loop."""
        clock, self.stores = self.make_clock(), []
        with contextlib.ExitStack() as stack:
            for _ in range(self.clients):
                store = self.make_store(clock)
                stack.callback(store.close)
                self.stores.append(cast("AnyStore", _Awaited(store)))
            _run_through(check(self.stores[0], clock))

    async def at_once(self, calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Make each call in a thread of its own."""
        start = threading.Barrier(len(calls))

        def racer(call: Coroutine[Any, Any, T]) -> T:
            start.wait()
            try:
                return _run_through(call)
            finally:
                self.leave_thread()

        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(racer, calls))


class AsyncStoreContract(_EveryPromise, Cancelling):
    """Everything an :class:`~sojourn.store.AsyncStore` promises."""

    async def make_store(self, clock: Clock) -> AsyncStore:
        """Return an empty store that goes by ``clock``.  The test closes it, in the same event loop."""
        raise NotImplementedError

    def keep(self, check: Callable[[AnyStore, ContractClock], Coroutine[Any, Any, None]]) -> None:
        """Run ``check`` in an event loop of its own."""
        asyncio.run(self._keep(check))

    async def _keep(self, check: Callable[[AnyStore, ContractClock], Coroutine[Any, Any, None]]) -> None:
        clock, self.stores = self.make_clock(), []
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(self.clients):
                store = await self.make_store(clock)
                stack.push_async_callback(store.close)
                self.stores.append(cast("AnyStore", store))
            await check(self.stores[0], clock)

    async def at_once(self, calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Make each call in a task of its own."""
        return await asyncio.gather(*calls)


class _Awaited:
    """A plain store whose calls can be awaited; they have answered by then."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(self.store, name)(*args, **kwargs)

        return call


def _run_through(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise TypeError(
        "the contract of a plain store had to wait; for an asynchronous store use AsyncStoreContract"
    )
