"""The contract, kept by each of our stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.testing import (
    AsyncStoreContract,
    PurgeContract,
    ScanContract,
    StoreContract,
    SubjectIndexContract,
)

if TYPE_CHECKING:
    from sojourn.clock import Clock


class TestMemoryStore(StoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    def make_store(self, clock: Clock) -> MemoryStore:
        return MemoryStore(clock=clock)


class TestAsyncMemoryStore(AsyncStoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    async def make_store(self, clock: Clock) -> AsyncMemoryStore:
        return AsyncMemoryStore(MemoryStore(clock=clock))
