"""The contract, kept by a store with a cache: process memory, memcached and Valkey before memory and a file.

Several stores share a cache and an origin, as workers do.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.clock import SystemClock
from sojourn.stores.cached import AsyncCachedStore, CachedStore
from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore
from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.stores.valkey import AsyncValkeyStore, ValkeyStore
from sojourn.testing import (
    AsyncStoreContract,
    FakeClock,
    PurgeContract,
    ScanContract,
    StoreContract,
    SubjectIndexContract,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sojourn.clock import Clock
    from tests.servers.memcached import Memcached
    from tests.servers.valkey import Valkey

#: A busy machine is no fault.
PATIENCE = 20.0


class Plain(StoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    __test__ = False
    clients = 2


class Asynchronous(AsyncStoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    __test__ = False
    clients = 2


class InMemory:
    stores: list[Any]

    def both(self, clock: Clock) -> tuple[MemoryStore, MemoryStore]:
        """Return the cache and the origin, the same for all stores of a test."""
        if not self.stores:
            self.pair = MemoryStore(clock=clock), MemoryStore(clock=clock)
        return self.pair


class TestMemoryBeforeMemory(InMemory, Plain):
    __test__ = True

    def make_store(self, clock: Clock) -> CachedStore:
        return CachedStore(*self.both(clock), clock=clock)


class TestAsyncMemoryBeforeMemory(InMemory, Asynchronous):
    __test__ = True

    async def make_store(self, clock: Clock) -> AsyncCachedStore:
        cache, origin = self.both(clock)
        return AsyncCachedStore(AsyncMemoryStore(cache), AsyncMemoryStore(origin), clock=clock)


class InAFile:
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "sessions.db"

    def origin(self, clock: Clock) -> EmbeddedStore:
        return EmbeddedStore(self.path, clock=clock)

    def async_origin(self, clock: Clock) -> AsyncEmbeddedStore:
        return AsyncEmbeddedStore(EmbeddedStore(self.path, clock=clock))


class OnMemcached(InAFile):
    @pytest.fixture(autouse=True)
    def _server(self, memcached: Memcached) -> None:
        self.servers = memcached.address


class TestMemcachedBeforeAFile(OnMemcached, Plain):
    __test__ = True

    def make_store(self, clock: Clock) -> CachedStore:
        cache = MemcachedStore(self.servers, timeout=PATIENCE, clock=clock)
        return CachedStore(cache, self.origin(clock), clock=clock)


class TestAsyncMemcachedBeforeAFile(OnMemcached, Asynchronous):
    __test__ = True

    async def make_store(self, clock: Clock) -> AsyncCachedStore:
        cache = AsyncMemcachedStore(self.servers, timeout=PATIENCE, clock=clock)
        return AsyncCachedStore(cache, self.async_origin(clock), clock=clock)


class OnValkey(InAFile):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: Valkey) -> None:
        self.settings: dict[str, Any] = {
            "servers": valkey.address,
            "key_prefix": f"{secrets.token_hex(8)}:",
            "timeout": PATIENCE,
        }

    def make_clock(self) -> FakeClock:
        # The server is told instants: they have to be in its future.
        return FakeClock(now=SystemClock().now())


class TestValkeyBeforeAFile(OnValkey, Plain):
    __test__ = True

    def make_store(self, clock: Clock) -> CachedStore:
        return CachedStore(ValkeyStore(**self.settings, clock=clock), self.origin(clock), clock=clock)


class TestAsyncValkeyBeforeAFile(OnValkey, Asynchronous):
    __test__ = True

    async def make_store(self, clock: Clock) -> AsyncCachedStore:
        cache = AsyncValkeyStore(**self.settings, clock=clock)
        return AsyncCachedStore(cache, self.async_origin(clock), clock=clock)
