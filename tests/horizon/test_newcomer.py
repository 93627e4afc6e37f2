"""Whoever has a Horizon installs Sojourn as the guide says: how long it takes until sessions are in it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import blocks_of
from tests.horizon.engines import on
from tests.horizon.environments import HORIZON, ROOT
from tests.horizon.test_engines import is_signed_in
from tests.horizon.test_switch import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.horizon.dashboard import Horizon
    from tests.horizon.engines import Engine
    from tests.horizon.keystone import User


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder beside the environments, so that they can share files."""
    with TemporaryDirectory(dir=HORIZON.folder.parent) as name:
        yield Path(name)


@on(lambda engine: engine.name == "cache in memcached")  # what Horizon comes with
def test_from_pip_install_to_sessions_with_the_lines_of_the_guide(
    engine: Engine,
    user: User,
    folder: Path,
    new_horizon: Callable[..., Horizon],
    record_property: Callable[[str, object], None],
) -> None:
    [install] = [
        block.text for block in blocks_of("docs/deploying/horizon.md") if "pip install" in block.text
    ]
    environment = HORIZON.copy(folder / "horizon", without=("ormsgpack",))
    assert engine.djangos is not None
    horizon = new_horizon(engine.djangos, environment=environment)
    browser = horizon.browser(user)
    assert is_signed_in(browser)
    before = environment.packages()

    spent = {}
    began = time.monotonic()
    command = install.replace("/opt/horizon", str(environment.folder))
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, shell=True, check=True, cwd=ROOT, env=variables, capture_output=True)  # noqa: S602
    spent["installed"] = time.monotonic() - began
    horizon.end()
    horizon.configure(engine, CLASSES)
    horizon.start()
    spent["restarted"] = time.monotonic() - began
    assert is_signed_in(browser), horizon.log.read_text()[-3000:]
    spent["a page for who was signed in"] = time.monotonic() - began
    newcomer = horizon.browser(user)
    assert newcomer.get("/").cost.operations == {"load": 1}
    spent["another sign-in"] = time.monotonic() - began

    added = {name.partition("-")[0] for name in environment.packages() - before}
    assert (added, before - environment.packages()) == ({"sojourn", "ormsgpack"}, set())
    record_property("newcomer", (engine.name, spent))
