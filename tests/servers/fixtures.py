"""The fixtures, and what becomes of tests whose engine is not installed.  Loaded by ``tests/conftest.py``."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.servers import mariadb as mariadb_server
from tests.servers import pgbouncer as pgbouncer_server
from tests.servers import postgresql as postgresql_server
from tests.servers.mariadb import MariaDB
from tests.servers.memcached import Memcached
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSQL, Standby
from tests.servers.proxy import Proxy
from tests.servers.valkey import PROGRAMS, Cluster, Sentinels, Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.servers.chromium import Chromium


@dataclass(frozen=True, slots=True)
class Engine:
    """A server that tests may need."""

    name: str
    #: Any one of these programs will do.
    programs: Sequence[str]
    #: What to do to have it.
    install: str
    #: Tests that take one of these need it.
    fixtures: frozenset[str]
    #: Where a program is, if it is.
    which: Callable[[str], str | None] = shutil.which
    #: Python packages that the tests need too and that not every machine can install.
    modules: Sequence[str] = ()

    @property
    def is_installed(self) -> bool:
        return any(map(self.which, self.programs)) and all(map(find_spec, self.modules))


ENGINES = (
    Engine(
        "memcached",
        ("memcached",),
        "apt-get install memcached",
        frozenset(("memcached", "new_memcached", "memcached_nodes", "memcached_proxy")),
    ),
    Engine(
        "Valkey or Redis",
        PROGRAMS,
        "apt-get install redis-server",
        frozenset(
            (
                *("valkey", "new_valkey", "valkey_proxy"),
                *("valkey_cluster", "new_cluster", "valkey_sentinels", "new_sentinels"),
            )
        ),
    ),
    Engine(
        "PostgreSQL",
        ("postgres",),
        "apt-get install postgresql",
        frozenset(("postgresql", "new_postgresql", "new_standby", "postgresql_proxy")),
        postgresql_server.program,
    ),
    Engine(
        "pgbouncer",
        ("pgbouncer",),
        "apt-get install pgbouncer",
        frozenset(("pgbouncer",)),
        pgbouncer_server.program,
    ),
    Engine(
        "MariaDB",
        ("mariadbd",),
        "apt-get install mariadb-server libmariadb-dev gcc python3-dev pkg-config; pip install mysqlclient",
        frozenset(("mariadb", "new_mariadb", "mariadb_proxy")),
        mariadb_server.program,
        ("MySQLdb",),
    ),
    Engine(
        "Chromium",
        ("chromedriver",),
        "apt-get install chromium chromium-driver",
        frozenset(("chromium", "other_chromium")),
        modules=("selenium",),
    ),
)


def pytest_configure(config: pytest.Config) -> None:
    """Let tests say which fixtures they ask for only while they run."""
    config.addinivalue_line("markers", "asks_for(fixture): this test asks for the fixture by its name")


def pytest_report_header() -> list[str]:
    """Name the engines whose tests are left out."""
    return [
        f"{engine.name} is not installed, its tests are left out: {engine.install}"
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
        pytest.fail(f"{engine.name} is not installed: {engine.install}")


@pytest.fixture(scope="session")
def _has_memcached() -> None:
    _demand("memcached")


@pytest.fixture(scope="session")
def _memcached_of_the_session(_has_memcached: None) -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


@pytest.fixture
def memcached(_memcached_of_the_session: Memcached) -> Memcached:
    """A memcached, emptied for this test, not to be killed."""
    _memcached_of_the_session.empty()
    return _memcached_of_the_session


@pytest.fixture
def new_memcached(_has_memcached: None) -> Iterator[Callable[..., Memcached]]:
    """Start a memcached of this test's own, to be killed, stopped and resumed."""
    with ExitStack() as stack:
        yield lambda *options, **where: stack.enter_context(Memcached(*options, **where))


@pytest.fixture(scope="session")
def _nodes_of_the_session(_has_memcached: None) -> Iterator[list[Memcached]]:
    with Memcached() as one, Memcached() as two, Memcached() as three:
        yield [one, two, three]


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
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def new_valkey(_has_valkey: None, tmp_path: Path) -> Iterator[Callable[..., Valkey]]:
    """Start a server of this test's own, to be killed, stopped and resumed."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(Valkey(tmp_path / "valkey", *options))


@pytest.fixture
def valkey_proxy(valkey: Valkey) -> Iterator[Proxy]:
    """A proxy before ``valkey``."""
    with Proxy(valkey.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def valkey_cluster(_has_valkey: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Cluster that tests share, each under a key prefix of its own; not to be killed."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def new_cluster(_has_valkey: None, tmp_path: Path) -> Iterator[Cluster]:
    """A Cluster of this test's own, to be harmed."""
    with Cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def new_sentinels(_has_valkey: None, tmp_path: Path) -> Iterator[Sentinels]:
    """A primary with a replica and Sentinels of this test's own, to be harmed."""
    with Sentinels(tmp_path) as sentinels:
        yield sentinels


@pytest.fixture(scope="session")
def valkey_sentinels(_has_valkey: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    """A primary with Sentinels that tests share, each under a key prefix of its own; not to be killed."""
    with Sentinels(tmp_path_factory.mktemp("sentinels")) as sentinels:
        yield sentinels


@pytest.fixture(scope="session")
def _has_postgresql() -> None:
    _demand("PostgreSQL")


@pytest.fixture(scope="session")
def postgresql(_has_postgresql: None) -> Iterator[PostgreSQL]:
    """A server that tests share, each with a table of its own; not to be killed."""
    with PostgreSQL(*postgresql_server.FAST) as server:
        yield server


@pytest.fixture
def new_postgresql(_has_postgresql: None) -> Iterator[Callable[..., PostgreSQL]]:
    """Start a server of this test's own, to be killed, stopped and resumed."""
    with ExitStack() as stack:
        yield lambda *settings: stack.enter_context(PostgreSQL(*settings))


@pytest.fixture
def new_standby(_has_postgresql: None) -> Iterator[Callable[[int], Standby]]:
    """Start a standby of the primary on a port."""
    with ExitStack() as stack:
        yield lambda primary: stack.enter_context(Standby(primary))


@pytest.fixture
def postgresql_proxy(postgresql: PostgreSQL) -> Iterator[Proxy]:
    """A proxy before ``postgresql``."""
    with Proxy(postgresql.port) as proxy:
        yield proxy


@pytest.fixture
def pgbouncer(postgresql: PostgreSQL) -> Iterator[PgBouncer]:
    """A pooler before ``postgresql``, in transaction mode."""
    _demand("pgbouncer")
    with PgBouncer(postgresql) as pooler:
        yield pooler


@pytest.fixture(scope="session")
def _has_mariadb() -> None:
    _demand("MariaDB")


@pytest.fixture(scope="session")
def mariadb(_has_mariadb: None) -> Iterator[MariaDB]:
    """A server that tests share, each with a table of its own; not to be killed."""
    with MariaDB(*mariadb_server.FAST) as server:
        yield server


@pytest.fixture
def new_mariadb(_has_mariadb: None) -> Iterator[Callable[..., MariaDB]]:
    """Start a server of this test's own, to be killed, stopped and resumed."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(MariaDB(*options))


@pytest.fixture
def mariadb_proxy(mariadb: MariaDB) -> Iterator[Proxy]:
    """A proxy before ``mariadb``."""
    with Proxy(mariadb.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def _has_chromium() -> None:
    _demand("Chromium")


@pytest.fixture
def chromium(_has_chromium: None) -> Iterator[Chromium]:
    """A browser with a profile of its own."""
    yield from _open_chromium()


@pytest.fixture
def other_chromium(_has_chromium: None) -> Iterator[Chromium]:
    """Another browser, of the same user somewhere else."""
    yield from _open_chromium()


def _open_chromium() -> Iterator[Chromium]:
    from tests.servers.chromium import Chromium  # noqa: PLC0415 - its driver need not be installed

    browser = Chromium()
    yield browser
    browser.close()
