"""Keystone and Horizon for these tests, and the table at the end."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.horizon.dashboard import Horizon
from tests.horizon.keystone import SERVICES, Keystone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.horizon.engines import Engine
    from tests.horizon.keystone import User

_numbers = count(1)


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """A Keystone that all these tests share."""
    keystone = Keystone(tmp_path_factory.mktemp("keystone"))
    try:
        keystone.start()
        yield keystone
    finally:
        keystone.kill()


@pytest.fixture
def user(keystone: Keystone) -> User:
    """A user of this test's own."""
    return keystone.add_user(f"user{next(_numbers)}")


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine the test is run on (``engines.on``), with the server it needs."""
    engine: Engine = request.param
    if engine.server is None:
        yield engine
        return
    server = engine.new_server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield engine.at(server)
    finally:
        getattr(server, "remove", server.kill)()


@pytest.fixture
def new_horizon(keystone: Keystone, tmp_path: Path) -> Iterator[Callable[..., Horizon]]:
    """Start a Horizon of this test's own: on an engine, with more lines of settings."""
    with ExitStack() as stack:

        def start(engine: Engine, more: str = "") -> Horizon:
            horizon = Horizon(tmp_path / "horizon", keystone, engine, more)
            stack.callback(horizon.kill)
            horizon.start()
            return horizon

        yield start


@pytest.fixture
def note_costs(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Put a row into the table at the end."""

    def note(engine: str, **costs: Any) -> None:
        record_property("horizon", (engine, costs))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what a session costs in Horizon, by engine."""
    rows = [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "horizon"
    ]
    if not rows:
        return
    terminalreporter.section("what a session costs in Horizon: operations of the store, and bytes")
    columns = ("page", "sign-in", "sign-in after a failed one", "failed sign-in", "sign-out")
    titles = ("engine", *columns, "writes per page", "stored, 2 services", f"{SERVICES} services", "cookie")
    lines = [titles]
    for engine, costs in rows:
        counts = (str(sum(costs[column].values())) for column in columns)
        sizes = (str(costs["sizes"][project]) for project in ("small", "large"))
        lines.append((engine, *counts, str(costs["writes"]), *sizes, str(costs["cookie"])))
    for line in lines:
        terminalreporter.write_line("| " + " | ".join(line) + " |")


@pytest.fixture(scope="session")
def horizon(
    engine: Engine, keystone: Keystone, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Horizon]:
    """Horizon on that engine, for all tests that need no other settings."""
    horizon = Horizon(tmp_path_factory.mktemp("horizon"), keystone, engine)
    try:
        horizon.start()
        yield horizon
    finally:
        horizon.kill()
