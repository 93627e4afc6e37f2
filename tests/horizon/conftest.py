"""Keystone and Horizon for these tests, and the table at the end."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.horizon.dashboard import Horizon
from tests.horizon.keystone import PROJECTS, SERVICES, Keystone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.horizon.engines import Engine
    from tests.horizon.keystone import User
    from tests.horizon.test_outages import Outage

_numbers = count(1)


class _ByEngine(LoadScopeScheduling):  # type: ignore[misc]
    """Gives all tests of an engine to one process, so that servers and Horizon are started once for them."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.rpartition("[")[2]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Distribute tests by engine.  (``--dist=loadgroup`` does nothing with xdist 3.8 under pytest 9.2.)"""
    return _ByEngine(config, log)


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """A Keystone that all these tests share."""
    with Keystone(tmp_path_factory.mktemp("keystone")) as keystone:
        yield keystone


@pytest.fixture
def user(keystone: Keystone) -> User:
    """A user of this test's own."""
    return keystone.add_user(f"user{next(_numbers)}")


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine the test is run on (``engines.on``), with the servers it needs."""
    engine: Engine = request.param
    with ExitStack() as stack:
        servers = engine.new_servers(tmp_path_factory.mktemp("server"))
        for server in servers.values():
            stack.enter_context(server)
        yield engine.at(servers)


@pytest.fixture
def new_horizon(keystone: Keystone, tmp_path: Path) -> Iterator[Callable[..., Horizon]]:
    """Start a Horizon of this test's own: on an engine, with more lines of settings, in an environment."""
    with ExitStack() as stack:

        def start(engine: Engine, more: str = "", **options: Any) -> Horizon:
            return stack.enter_context(Horizon(tmp_path / "horizon", keystone, engine, more, **options))

        yield start


@pytest.fixture
def note_costs(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Put a row into the table at the end."""

    def note(engine: str, **costs: Any) -> None:
        record_property("horizon", (engine, costs))

    return note


@pytest.fixture
def note_outage(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Put a row into the other table at the end."""

    def note(engine: str, outage: Outage, seen: Iterable[str], *afterwards: str) -> None:
        row = (engine, f"{outage.server} {outage.how}", " or ".join(sorted(seen)), " or ".join(afterwards))
        record_property("outage", row)

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what a session costs in Horizon, and what users see when a server is away, by engine."""
    noted: defaultdict[str, list[Any]] = defaultdict(list)
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            noted[name].append(value)
    for name, spent in noted["newcomer"]:
        terminalreporter.section(f"a newcomer's way from Django's {name} to Sojourn's, in seconds")
        for step, seconds in spent.items():
            terminalreporter.write_line(f"{step}: {seconds:.0f}")
    if noted["outage"]:
        titles = ("engine", "server", "meanwhile", "afterwards")
        _print(terminalreporter, "what users see when a server is away", [titles, *noted["outage"]])
    if noted["horizon"]:
        title = "what a session costs in Horizon: operations of the store, and bytes"
        _print(terminalreporter, title, _costs(noted["horizon"]))


def _costs(noted: Iterable[tuple[str, Any]]) -> list[Sequence[str]]:
    columns = ("page", "sign-in", "sign-in after a failed one", "failed sign-in", "sign-out")
    titles = ("engine", *columns, "writes per page", "stored, 2 services", f"{SERVICES} services", "cookie")
    lines: list[Sequence[str]] = [titles]
    for engine, costs in noted:
        counts = (str(sum(costs[column].values())) for column in columns)
        sizes = (str(costs["sizes"].get(project, "no room")) for project in PROJECTS)
        lines.append((engine, *counts, str(costs["writes"]), *sizes, str(costs["cookie"])))
    return lines


def _print(terminalreporter: pytest.TerminalReporter, title: str, lines: Iterable[Sequence[str]]) -> None:
    terminalreporter.section(title)
    for line in lines:
        terminalreporter.write_line("| " + " | ".join(line) + " |")


@pytest.fixture(scope="session")
def horizon(
    engine: Engine, keystone: Keystone, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Horizon]:
    """Horizon on that engine, for all tests that need no other settings."""
    with Horizon(tmp_path_factory.mktemp("horizon"), keystone, engine) as horizon:
        yield horizon
