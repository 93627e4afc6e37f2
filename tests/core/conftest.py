"""What tests of the core share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from sojourn.testing import FakeClock
from tests.core.sites import KINDS, STORES, Site, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest_asyncio.fixture(params=KINDS, ids="-".join)
async def world(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[World]:
    """Sessions in each store, plain and asynchronous."""
    name, kind = request.param
    plain, asynchronous = STORES[name](tmp_path / "sessions", clock)
    world = World(plain, asynchronous, clock, use_async=kind == "async")
    yield world
    await world.close()


@pytest.fixture
def site(world: World) -> Site:
    """One process of a site with the default settings."""
    return world.site()
