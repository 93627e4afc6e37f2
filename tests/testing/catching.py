"""Run the contract on a store and say which promises it breaks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from sojourn.testing import (
    AsyncStoreContract,
    PurgeContract,
    ScanContract,
    StoreContract,
    SubjectIndexContract,
)
from tests.testing.reference import FullAsyncReference, FullReferenceStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from sojourn.clock import Clock
    from sojourn.testing.contract.bench import Bench

S = TypeVar("S")

#: Every broken store and the promises that the contract must find broken, and no others.
BROKEN: dict[type[BrokenStore], set[str]] = {}


def caught_by(*promises: str) -> Callable[[type[S]], type[S]]:
    """Say which promises a broken store breaks."""

    def register(store: Any) -> Any:
        BROKEN[store] = set(promises)
        return store

    return register


class BrokenStore(FullReferenceStore):
    """The reference; each subclass is wrong in one way."""

    #: Whether calls race right now.
    racing = False

    def pause(self, seconds: float = 0.02) -> None:
        """Let others in, but only in a race: elsewhere it would take time and show nothing."""
        if self.racing:
            time.sleep(seconds)


class InThreads(FullAsyncReference):
    """A plain store for asyncio, each call in a thread: what races in threads races here too."""

    async def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if not getattr(self.store, "racing", False):
            return await super().ask(name, *args, **kwargs)
        return await asyncio.to_thread(getattr(self.store, name), *args, **kwargs)


class Capabilities(SubjectIndexContract, PurgeContract, ScanContract):
    """The contracts of all that :class:`FullReferenceStore` can do."""

    rounds = 2
    racers = 4


def contract_of(store: type[BrokenStore]) -> type[StoreContract]:
    """Return the contract, ready to be run on ``store``."""

    class Contract(Capabilities, StoreContract):
        made: BrokenStore

        def make_store(self, clock: Clock) -> BrokenStore:
            self.made = store(clock)
            return self.made

        async def at_once(self, calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
            self.made.racing = True
            try:
                return await super().at_once(calls)
            finally:
                self.made.racing = False

    return Contract


def async_contract_of(store: type[BrokenStore], wrapper: type[FullAsyncReference] = InThreads) -> type[Bench]:
    """Return the asynchronous contract, ready to be run on ``store`` in ``wrapper``."""

    class Contract(Capabilities, AsyncStoreContract):
        made: BrokenStore

        async def make_store(self, clock: Clock) -> FullAsyncReference:
            self.made = store(clock)
            return wrapper(self.made)

        async def at_once(self, calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
            self.made.racing = True
            try:
                return await super().at_once(calls)
            finally:
                self.made.racing = False

    return Contract


def promises(contract: type[Bench]) -> set[str]:
    """Return the names of the tests of ``contract``."""
    return {name for name in dir(contract) if name.startswith("test_")}


def broken_promises(contract: type[Bench]) -> set[str]:
    """Run each test of ``contract`` as pytest would; return the names of those that fail."""
    return {name for name in promises(contract) if fails(getattr(contract(), name))}


def fails(test: Callable[[], object]) -> bool:
    """Whether ``test`` fails."""
    try:
        test()
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - that is what failing means
        return True
    return False
