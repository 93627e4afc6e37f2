"""The contract finds what is broken, and says so by the name of the test that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sojourn.testing import AsyncStoreContract, StoreContract
from tests.testing.broken import capabilities, changing, expiring, keeping, moving
from tests.testing.broken.cancelling import BROKEN_BY_CANCELLATION
from tests.testing.catching import (
    BROKEN,
    BrokenStore,
    Capabilities,
    async_contract_of,
    broken_promises,
    contract_of,
    fails,
    promises,
)
from tests.testing.reference import AsyncReference, FullAsyncReference, FullReferenceStore, ReferenceStore

if TYPE_CHECKING:
    from types import ModuleType

    from sojourn.clock import Clock

#: One for each module of the contract.
MODULES: tuple[ModuleType, ...] = (keeping, changing, moving, expiring, capabilities)
DECLARED = "test_each_capability_of_the_store_is_under_contract"


def in_sequence(names: set[str]) -> set[str]:
    """Return the promises of ``names`` that have nothing to do with who comes first."""
    return {name for name in names if "racing" not in name}


def test_the_reference_keeps_every_promise() -> None:
    assert broken_promises(contract_of(BrokenStore)) == set()
    assert broken_promises(async_contract_of(BrokenStore)) == set()


@pytest.mark.parametrize("store", BROKEN, ids=lambda store: store.__name__)
def test_the_contract_finds_exactly_what_is_broken(store: type[BrokenStore]) -> None:
    """What is broken without a race may break a race too; that depends on who comes first."""
    found = broken_promises(contract_of(store))
    assert found >= BROKEN[store]
    assert in_sequence(found) == in_sequence(BROKEN[store])


@pytest.mark.parametrize("store", BROKEN, ids=lambda store: store.__name__)
def test_the_asynchronous_contract_finds_it_too(store: type[BrokenStore]) -> None:
    contract = async_contract_of(store)
    assert [name for name in sorted(BROKEN[store]) if not fails(getattr(contract(), name))] == []


@pytest.mark.parametrize("store", BROKEN_BY_CANCELLATION, ids=lambda store: store.__name__)
def test_the_asynchronous_contract_finds_what_cancellation_breaks(store: type[FullAsyncReference]) -> None:
    found = broken_promises(async_contract_of(BrokenStore, store))
    assert {name for name in found if "cancelled" in name} == {BROKEN_BY_CANCELLATION[store]}


def test_every_promise_is_seen_broken_by_some_store() -> None:
    """A test that cannot fail proves nothing."""
    seen = set().union(*BROKEN.values(), BROKEN_BY_CANCELLATION.values(), {DECLARED})
    assert promises(async_contract_of(BrokenStore)) == seen


@pytest.mark.parametrize("number", range(2))
def test_a_capability_that_is_not_under_contract_is_found(number: int) -> None:
    class Plain(StoreContract):
        def make_store(self, clock: Clock) -> ReferenceStore:
            return FullReferenceStore(clock)

    class Async(AsyncStoreContract):
        async def make_store(self, clock: Clock) -> AsyncReference:
            return FullAsyncReference(FullReferenceStore(clock))

    assert broken_promises((Plain, Async)[number]) == {DECLARED}


@pytest.mark.parametrize("number", range(2))
def test_a_capability_that_the_store_does_not_have_is_found(number: int) -> None:
    class Plain(Capabilities, StoreContract):
        def make_store(self, clock: Clock) -> ReferenceStore:
            return ReferenceStore(clock)

    class Async(Capabilities, AsyncStoreContract):
        async def make_store(self, clock: Clock) -> AsyncReference:
            return AsyncReference(ReferenceStore(clock))

    found = broken_promises((Plain, Async)[number])
    assert found == promises(Capabilities) | {DECLARED}
