"""The guides to deployments show what was run."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import blocks_of
from tests.horizon.engines import ENGINES
from tests.horizon.test_engines import MIDDLEWARE
from tests.horizon.test_switch import CLASSES

if TYPE_CHECKING:
    from tests.horizon.engines import Engine

PAGE = "docs/deploying/horizon.md"
ADDRESSES = {
    None: "",
    "memcached": "127.0.0.1:11211",
    "postgresql": "127.0.0.1:5432",
    "valkey": "127.0.0.1:6379",
}


def shown() -> list[str]:
    return [block.text.strip() for block in blocks_of(PAGE)]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_the_guide_has_the_lines_that_horizon_is_run_with(engine: Engine) -> None:
    lines = Template(engine.lines_for(ADDRESSES[engine.server])).substitute(folder="/var/lib/horizon")
    assert lines.strip() in shown()


@pytest.mark.parametrize("lines", [MIDDLEWARE, CLASSES], ids=["middleware", "classes"])
def test_the_guide_has_the_optional_lines_that_horizon_is_run_with(lines: str) -> None:
    assert lines.strip() in shown()
