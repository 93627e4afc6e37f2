"""The contract, kept by each of our stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.testing import (
    AsyncStoreContract,
    PurgeContract,
    ScanContract,
    StoreContract,
    SubjectIndexContract,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sojourn.clock import Clock


class TestMemoryStore(StoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    def make_store(self, clock: Clock) -> MemoryStore:
        return MemoryStore(clock=clock)


class TestAsyncMemoryStore(AsyncStoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    async def make_store(self, clock: Clock) -> AsyncMemoryStore:
        return AsyncMemoryStore(MemoryStore(clock=clock))


class InAFile:
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "sessions.db"


class TestEmbeddedStore(InAFile, StoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    clients = 2

    def make_store(self, clock: Clock) -> EmbeddedStore:
        return EmbeddedStore(self.path, clock=clock)


class TestAsyncEmbeddedStore(InAFile, AsyncStoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    clients = 2

    async def make_store(self, clock: Clock) -> AsyncEmbeddedStore:
        return AsyncEmbeddedStore(EmbeddedStore(self.path, clock=clock))
