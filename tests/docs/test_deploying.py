"""The guides to deployments show what was run."""

from __future__ import annotations

import ast
import re
from string import Template
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import DOCS, ROOT, blocks_of
from tests.horizon.engines import ENGINES
from tests.horizon.test_engines import MIDDLEWARE
from tests.horizon.test_switch import CLASSES, TO_A_FILE

if TYPE_CHECKING:
    from tests.horizon.engines import Engine, Need

PAGE = "docs/deploying/horizon.md"
ADDRESSES: dict[Need, str] = {
    "mariadb": "127.0.0.1:3306",
    "memcached": "127.0.0.1:11211",
    "postgresql": "127.0.0.1:5432",
    "valkey": "127.0.0.1:6379",
}


#: What a page says that proves a promise.
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def shown() -> list[str]:
    return [block.text.strip() for block in blocks_of(PAGE)]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_the_guide_has_the_lines_that_horizon_is_run_with(engine: Engine) -> None:
    there = engine.moved({need: ADDRESSES[need] for need in engine.needs})
    lines = Template(there.lines).substitute(folder="/var/lib/horizon")
    assert lines.strip() in shown()


@pytest.mark.parametrize(
    "lines", [MIDDLEWARE, CLASSES, TO_A_FILE], ids=["middleware", "classes", "to a file"]
)
def test_the_guide_has_the_optional_lines_that_horizon_is_run_with(lines: str) -> None:
    assert lines.strip().replace("$folder", "/var/lib/horizon") in shown()


def test_every_test_that_a_guide_names_is_there() -> None:
    named = [
        (page.name, *found)
        for page in (DOCS / "deploying").glob("*.md")
        for found in _TEST.findall(page.read_text("utf-8"))
    ]
    assert len(named) > 20
    assert [name for name in named if name[2] not in functions_in(name[1])] == []


def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_bytes())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_engine_of_the_guide_says_what_it_is_when_to_choose_it_and_what_proves_it() -> None:
    page = (DOCS / "deploying" / "session-storage.md").read_text("utf-8")
    sections = dict(section.split("\n", 1) for section in page.split("\n## ")[1:])
    engines = [title for title, text in sections.items() if "**What it is**" in text]
    assert len(engines) == 7
    for title in engines:
        text = sections[title]
        assert all(word in text for word in ("**Choose it**", "**Do not**", "```python", "horizon.md#")), (
            title
        )
        assert _TEST.search(text), title


def test_the_guide_is_for_every_engine_there_is() -> None:
    page = (DOCS / "deploying" / "session-storage.md").read_text("utf-8")
    backends = ROOT / "src" / "sojourn" / "django" / "backends"
    names = {path.stem for path in backends.glob("[!_]*.py")} - {
        "base",
        "file",
    }  # file is embedded, elsewhere
    assert {name for name in names if f"| `.{name}` |" not in page} == set()
