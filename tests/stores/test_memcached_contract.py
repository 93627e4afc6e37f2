"""The contract, kept by memcached: one server, three, plain and asynchronous."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

import pytest

from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.testing import AsyncStoreContract, StoreContract
from sojourn.testing.contract.expiring import Expiring

if TYPE_CHECKING:
    from sojourn.clock import Clock
    from tests.servers.memcached import Memcached

T = TypeVar("T")

#: Promises of deadlines that need no waiting.
_AT_ONCE = ("in_the_past", "thirty_days", "no_session_ends")


def expiry_is_tested_elsewhere(contract: type[T]) -> type[T]:
    """Leave out what waits for memcached's clock: it is the same one for all, and a minute is enough."""
    for name in dir(contract):
        waits = name in vars(Expiring) and not any(words in name for words in _AT_ONCE)
        if name.startswith("test_") and (waits or "expired" in name):
            setattr(contract, name, None)
    return contract


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
