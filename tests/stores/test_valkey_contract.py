"""The contract, kept by Valkey: one server, a Cluster, a primary with Sentinels; plain and asynchronous."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest

from sojourn.stores.valkey import AsyncValkeyStore, ValkeyStore
from sojourn.testing import AsyncStoreContract, StoreContract, SubjectIndexContract
from tests.stores.server_clocks import expiry_is_tested_elsewhere

if TYPE_CHECKING:
    from sojourn.clock import Clock
    from tests.servers.valkey import Cluster, Sentinels, Valkey


class OnValkey:
    expiry: ClassVar[Literal["clock", "server"]] = "server"
    grain = 0.25
    clients = 2

    settings: dict[str, Any]

    @pytest.fixture(autouse=True)
    def _keys_of_its_own(self) -> None:
        # A busy machine is no fault.
        self.settings = {"key_prefix": f"{secrets.token_hex(8)}:", "timeout": 60.0}


class OnOne(OnValkey):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: Valkey, _keys_of_its_own: None) -> None:
        self.settings |= {"servers": valkey.address}


class OnCluster(OnValkey):
    @pytest.fixture(autouse=True)
    def _servers(self, valkey_cluster: Cluster, _keys_of_its_own: None) -> None:
        self.settings |= {"servers": valkey_cluster.addresses, "cluster": True}


class OnSentinels(OnValkey):
    @pytest.fixture(autouse=True)
    def _servers(self, valkey_sentinels: Sentinels, _keys_of_its_own: None) -> None:
        self.settings |= {"servers": valkey_sentinels.addresses, "sentinel": valkey_sentinels.name}


class Plain(StoreContract, SubjectIndexContract):
    __test__ = False
    settings: dict[str, Any]

    def make_store(self, clock: Clock) -> ValkeyStore:
        return ValkeyStore(**self.settings, clock=clock)


class Asynchronous(AsyncStoreContract, SubjectIndexContract):
    __test__ = False
    settings: dict[str, Any]

    async def make_store(self, clock: Clock) -> AsyncValkeyStore:
        return AsyncValkeyStore(**self.settings, clock=clock)


class TestValkeyStore(OnOne, Plain):
    __test__ = True


@expiry_is_tested_elsewhere
class TestAsyncValkeyStore(OnOne, Asynchronous):
    __test__ = True


@expiry_is_tested_elsewhere
class TestValkeyStoreOnCluster(OnCluster, Plain):
    __test__ = True


@expiry_is_tested_elsewhere
class TestAsyncValkeyStoreOnCluster(OnCluster, Asynchronous):
    __test__ = True


@expiry_is_tested_elsewhere
class TestValkeyStoreOnSentinels(OnSentinels, Plain):
    __test__ = True


@expiry_is_tested_elsewhere
class TestAsyncValkeyStoreOnSentinels(OnSentinels, Asynchronous):
    __test__ = True
