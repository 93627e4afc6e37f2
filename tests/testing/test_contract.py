"""The contract, kept by the reference."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from sojourn.testing import (
    AsyncFaultyStore,
    AsyncStoreContract,
    FakeClock,
    FaultyStore,
    PurgeContract,
    ScanContract,
    StoreContract,
    SubjectIndexContract,
)
from sojourn.testing.contract.bench import ServerClock
from tests.testing.reference import AsyncReference, FullAsyncReference, FullReferenceStore, ReferenceStore

if TYPE_CHECKING:
    from sojourn.clock import Clock
    from sojourn.record import Record


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


class ServerStore(ReferenceStore):
    """Expires as memcached does: by its own clock, which knows whole seconds."""

    def living(self, key: str) -> Record | None:
        record = self.records.get(key)
        if record is not None and record.expires_at // 1000 >= self.clock.now() // 1000:
            return record
        return super().living(key)


class ClientClock(FakeClock):
    """The clock of a client: when it is stepped, the server's is not."""

    def __init__(self, server: FakeClock) -> None:
        super().__init__(now=server.now())
        self.server = server

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.server.advance(seconds)


class TestReferenceWhoseServerDecides(StoreContract):
    expiry = "server"

    def make_clock(self) -> ClientClock:
        self.server = FakeClock()
        return ClientClock(self.server)

    def make_store(self, clock: Clock) -> ReferenceStore:
        return ServerStore(self.server)


def test_with_a_server_that_decides_time_passes_by_waiting() -> None:
    clock = ServerClock()
    start = time.time_ns() // 1_000_000
    clock.step(-3600)
    clock.advance_to(start - 3_600_000 + 50)
    assert time.time_ns() // 1_000_000 >= start + 50
    assert clock.now() == pytest.approx(time.time_ns() // 1_000_000 - 3_600_000, abs=5000)
    clock.advance_to(start - 3_600_000)


class TestFaultyStore(StoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    """Without a plan the wrapper keeps whatever the wrapped store keeps."""

    def make_store(self, clock: Clock) -> FaultyStore:
        return FaultyStore(FullReferenceStore(clock))


class TestAsyncFaultyStore(AsyncStoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    async def make_store(self, clock: Clock) -> AsyncFaultyStore:
        return AsyncFaultyStore(FullAsyncReference(FullReferenceStore(clock)))


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
