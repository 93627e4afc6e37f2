"""The contract, kept by the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sojourn.testing import (
    AsyncStoreContract,
    FakeClock,
    PurgeContract,
    ScanContract,
    StoreContract,
    SubjectIndexContract,
)
from tests.testing.reference import AsyncReference, FullAsyncReference, FullReferenceStore, ReferenceStore

if TYPE_CHECKING:
    from sojourn.clock import Clock


class TestReference(StoreContract):
    def make_store(self, clock: Clock) -> ReferenceStore:
        return ReferenceStore(clock)


class TestFullReference(StoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    def make_store(self, clock: Clock) -> ReferenceStore:
        return FullReferenceStore(clock)


class TestAsyncReference(AsyncStoreContract):
    async def make_store(self, clock: Clock) -> AsyncReference:
        return AsyncReference(ReferenceStore(clock))


class TestFullAsyncReference(AsyncStoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    async def make_store(self, clock: Clock) -> AsyncReference:
        return FullAsyncReference(FullReferenceStore(clock))


class TestReferenceWhoseServerDecides(StoreContract):
    """With the machine's clock in the place of a server's."""

    expiry = "server"
    grain = 0.1

    def make_store(self, clock: Clock) -> ReferenceStore:
        return ReferenceStore(clock)


class TestReferenceOfTwoWorkers(StoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    """Two stores that keep the same records, as two workers of one deployment do."""

    clients = 2

    @pytest.fixture(autouse=True)
    def _shared(self) -> None:
        shared = ReferenceStore(FakeClock())
        self.records, self.lock = shared.records, shared.lock

    def make_store(self, clock: Clock) -> ReferenceStore:
        store = FullReferenceStore(clock)
        store.records, store.lock = self.records, self.lock
        return store
