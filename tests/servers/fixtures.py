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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


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
)


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
        left_out = [item for item in items if not missing.isdisjoint(getattr(item, "fixturenames", ()))]
        if left_out:
            items[:] = [item for item in items if item not in left_out]
            config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def _has_memcached() -> None:
    [engine] = [engine for engine in ENGINES if engine.name == "memcached"]
    if not engine.is_installed:
        pytest.fail(f"apt-get install {engine.package}")


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
