"""The fixtures, and what becomes of tests whose engine is not installed.  Loaded by ``tests/conftest.py``."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.servers.memcached import Memcached
from tests.servers.proxy import Proxy
from tests.servers.valkey import PROGRAMS, Cluster, Sentinels, Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Engine:
    """A server that tests may need."""

    name: str
    #: Any one of these programs will do.
    programs: Sequence[str]
    #: The Debian package to install.
    package: str
    #: Tests that take one of these need it.
    fixtures: frozenset[str]

    @property
    def is_installed(self) -> bool:
        return any(shutil.which(program) for program in self.programs)


ENGINES = (
    Engine(
        "memcached",
        ("memcached",),
        "memcached",
        frozenset(("memcached", "new_memcached", "memcached_nodes", "memcached_proxy")),
    ),
    Engine(
        "Valkey or Redis",
        PROGRAMS,
        "redis-server",
        frozenset(
            (
                *("valkey", "new_valkey", "valkey_proxy"),
                *("valkey_cluster", "new_cluster", "valkey_sentinels", "new_sentinels"),
            )
        ),
    ),
)


def pytest_configure(config: pytest.Config) -> None:
    """Let tests say which fixtures they ask for only while they run."""
    config.addinivalue_line("markers", "asks_for(fixture): this test asks for the fixture by its name")


def pytest_report_header() -> list[str]:
    """Name the engines whose tests are left out."""
    return [
        f"{engine.name} is not installed, its tests are left out: apt-get install {engine.package}"
        for engine in ENGINES
        if not engine.is_installed
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of engines that are not installed; with ``CI`` set they stay, to fail."""
    if os.environ.get("CI"):
        return
    missing: set[str] = set()
    for engine in ENGINES:
        if not engine.is_installed:
            missing |= engine.fixtures
    if missing:
        left_out = [item for item in items if not missing.isdisjoint(_fixtures_of(item))]
        if left_out:
            items[:] = [item for item in items if item not in left_out]
            config.hook.pytest_deselected(items=left_out)


def _fixtures_of(item: pytest.Item) -> set[str]:
    """Return what it takes, and what its parameters say it will ask for."""
    asked_for = {name for mark in item.iter_markers("asks_for") for name in mark.args}
    return {*getattr(item, "fixturenames", ()), *asked_for}


def _demand(name: str) -> None:
    [engine] = [engine for engine in ENGINES if engine.name == name]
    if not engine.is_installed:
        pytest.fail(f"apt-get install {engine.package}")


@pytest.fixture(scope="session")
def _has_memcached() -> None:
    _demand("memcached")


@pytest.fixture(scope="session")
def _memcached_of_the_session(_has_memcached: None) -> Iterator[Memcached]:
    server = Memcached()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def memcached(_memcached_of_the_session: Memcached) -> Memcached:
    """A memcached, emptied for this test, not to be killed."""
    _memcached_of_the_session.empty()
    return _memcached_of_the_session


@pytest.fixture
def new_memcached(_has_memcached: None) -> Iterator[Callable[..., Memcached]]:
    """Start a memcached of this test's own, to be killed, stopped and resumed."""
    with ExitStack() as stack:

        def start(*options: str, **where: object) -> Memcached:
            server = Memcached(*options, **where)  # type: ignore[arg-type]
            stack.callback(server.kill)
            server.start()
            return server

        yield start


@pytest.fixture(scope="session")
def _nodes_of_the_session(_has_memcached: None) -> Iterator[list[Memcached]]:
    servers = [Memcached() for _ in range(3)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.kill()


@pytest.fixture
def memcached_nodes(_nodes_of_the_session: list[Memcached]) -> list[Memcached]:
    """Three memcacheds, emptied for this test, not to be killed."""
    for server in _nodes_of_the_session:
        server.empty()
    return _nodes_of_the_session


@pytest.fixture
def memcached_proxy(memcached: Memcached) -> Iterator[Proxy]:
    """A proxy before ``memcached``."""
    with Proxy(memcached.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def _has_valkey() -> None:
    _demand("Valkey or Redis")


@pytest.fixture(scope="session")
def valkey(_has_valkey: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server that tests share, each under a key prefix of its own; not to be killed."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def new_valkey(_has_valkey: None, tmp_path: Path) -> Iterator[Callable[..., Valkey]]:
    """Start a server of this test's own, to be killed, stopped and resumed."""
    with ExitStack() as stack:

        def start(*options: str) -> Valkey:
            server = Valkey(tmp_path / "valkey", *options)
            stack.callback(server.kill)
            server.start()
            return server

        yield start


@pytest.fixture
def valkey_proxy(valkey: Valkey) -> Iterator[Proxy]:
    """A proxy before ``valkey``."""
    with Proxy(valkey.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def valkey_cluster(_has_valkey: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Cluster that tests share, each under a key prefix of its own; not to be killed."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
def new_cluster(_has_valkey: None, tmp_path: Path) -> Iterator[Cluster]:
    """A Cluster of this test's own, to be harmed."""
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
def new_sentinels(_has_valkey: None, tmp_path: Path) -> Iterator[Sentinels]:
    """A primary with a replica and Sentinels of this test's own, to be harmed."""
    sentinels = Sentinels(tmp_path)
    try:
        sentinels.start()
        yield sentinels
    finally:
        sentinels.kill()


@pytest.fixture(scope="session")
def valkey_sentinels(_has_valkey: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    """A primary with Sentinels that tests share, each under a key prefix of its own; not to be killed."""
    sentinels = Sentinels(tmp_path_factory.mktemp("sentinels"))
    try:
        sentinels.start()
        yield sentinels
    finally:
        sentinels.kill()
