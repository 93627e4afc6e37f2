"""The contract, kept by memcached: one server, three, plain and asynchronous."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import pytest

from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.testing import AsyncStoreContract, StoreContract
from tests.stores.server_clocks import expiry_is_tested_elsewhere

if TYPE_CHECKING:
    from sojourn.clock import Clock
    from tests.servers.memcached import Memcached


class OnMemcached:
    expiry: ClassVar[Literal["clock", "server"]] = "server"
    clients = 2
    #: 1.5 s (2.5 s beyond thirty days) and what a busy machine takes; the contract moves deadlines by 30 s.
    touch_grain = 10.0
    #: A busy machine is no fault.
    timeout = 20.0

    servers: list[str]


class OnOne(OnMemcached):
    @pytest.fixture(autouse=True)
    def _server(self, memcached: Memcached) -> None:
        self.servers = [memcached.address]


class OnThree(OnMemcached):
    @pytest.fixture(autouse=True)
    def _servers(self, memcached_nodes: list[Memcached]) -> None:
        self.servers = [node.address for node in memcached_nodes]


class TestMemcachedStore(OnOne, StoreContract):
    def make_store(self, clock: Clock) -> MemcachedStore:
        return MemcachedStore(self.servers, timeout=self.timeout, clock=clock)


@expiry_is_tested_elsewhere
class TestMemcachedStoreOnThreeNodes(OnThree, StoreContract):
    def make_store(self, clock: Clock) -> MemcachedStore:
        return MemcachedStore(self.servers, timeout=self.timeout, clock=clock)


@expiry_is_tested_elsewhere
class TestAsyncMemcachedStore(OnOne, AsyncStoreContract):
    async def make_store(self, clock: Clock) -> AsyncMemcachedStore:
        return AsyncMemcachedStore(self.servers, timeout=self.timeout, clock=clock)


@expiry_is_tested_elsewhere
class TestAsyncMemcachedStoreOnThreeNodes(OnThree, AsyncStoreContract):
    async def make_store(self, clock: Clock) -> AsyncMemcachedStore:
        return AsyncMemcachedStore(self.servers, timeout=self.timeout, clock=clock)
