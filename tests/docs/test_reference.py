"""The reference names every setting, error, store, engine and command there is."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass, fields
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import sojourn
import sojourn.django
import sojourn.errors
import sojourn.operations.check
import sojourn.stores
import sojourn.testing
from sojourn.operations.check import Kind, Severity
from sojourn.options import SojournSettings
from tests.docs.pages import DOCS, PAGES, ROOT, blocks_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def from_code() -> Any:
    spec = importlib.util.spec_from_file_location("from_code", DOCS / "from_code.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page_text(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def test_each_part_read_from_the_code_is_on_a_page(from_code: Any) -> None:
    shown = {block.language for page in PAGES for block in blocks_of(page)}
    assert {f"{{from-code}} {part}" for part in from_code.PARTS} <= shown


def test_every_setting_is_in_the_reference_with_type_default_and_explanation(from_code: Any) -> None:
    text = from_code.settings()
    for field in fields(SojournSettings):
        [part] = [part for part in text.split("````{confval} ") if part.startswith(f"{field.name}\n")]
        assert ":type: `" in part
        assert ":default: " in part
        assert len(part.split("\n\n", 1)[1].split()) > 3, f"{field.name} is not explained"


def test_a_setting_without_a_comment_is_found(from_code: Any) -> None:
    @dataclass
    class Settings:
        #: Explained.
        FIRST: int = 1
        SECOND: int = 2

    with pytest.raises(from_code.UndocumentedError, match="SECOND"):
        from_code.setting_comments(Settings)


def test_every_error_is_in_the_reference(from_code: Any) -> None:
    text = from_code.errors()
    for name in sojourn.errors.__all__:
        assert f"{{py:exception}} sojourn.errors.{name}\n" in text
        assert getattr(sojourn.errors, name).__doc__


def test_the_tree_drawn_in_the_code_is_the_tree_there_is(from_code: Any) -> None:
    drawn = re.findall(r"^    ([ │├└─]*)(\w+Error)\b", str(sojourn.errors.__doc__), re.MULTILINE)
    there = [(error.__name__, depth) for error, depth in from_code.error_tree()]
    assert [(name, len(branches) // 4) for branches, name in drawn] == there


def test_an_error_outside_the_tree_is_found(from_code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sojourn.errors, "__all__", [*sojourn.errors.__all__, "StrayError"])
    with pytest.raises(from_code.UndocumentedError, match="StrayError"):
        from_code.errors()


def test_every_store_has_a_row_and_is_in_the_api(from_code: Any) -> None:
    rows, api = from_code.stores(), page_text("reference/api-stores.md")
    found = from_code.store_classes(sojourn.stores)
    assert len(found) >= 4
    for store in found:
        assert f".{store.__name__}` |" in rows
        assert f".{store.__name__}\n" in api, f"{store.__name__} is not in reference/api-stores.md"


def test_the_durability_of_every_engine_is_told(from_code: Any) -> None:
    [head] = [
        line
        for line in page_text("reference/stores.md").partition("## Durability")[2].splitlines()
        if line.startswith("| |")
    ]
    for line in from_code.engines().splitlines()[2:]:
        name = line.split("`")[1].rpartition(".")[2]
        assert name in head


def test_whatever_has_the_calls_of_a_store_is_found(from_code: Any) -> None:
    kit = {store.__name__ for store in from_code.store_classes(sojourn.testing)}
    assert kit >= {"AsyncFaultyStore", "FaultyStore"}
    assert not kit & {"FakeClock", "Call", "Fail"}


def test_every_command_is_in_the_reference(
    from_code: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ROOT / "src" / "sojourn" / "django" / "management" / "commands"
    for path in folder.glob("[!_]*.py"):
        assert f"`manage.py {path.stem}`" in from_code.commands()
    (tmp_path / "helped.py").write_text("class Command:\n    help = 'Does it.'\n")
    (tmp_path / "silent.py").write_text("class Command:\n    help = ''\n")
    package = ModuleType("made_up_commands")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "made_up_commands", package)
    with pytest.raises(from_code.UndocumentedError, match="silent"):
        from_code.command_helps(package)
    (tmp_path / "silent.py").unlink()
    assert from_code.command_helps(package) == {"helped": "Does it."}


def test_every_finding_is_in_the_reference_with_an_example(
    from_code: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = from_code.checks()
    for kind in from_code.finding_kinds():
        assert f"### {kind.id}\n\n**{kind.title}** ({kind.severity}). {kind.happens}\n" in text
    stray = Kind(id="sojourn.W099", severity=Severity.WARNING, title="Stray", happens="Nothing.")
    monkeypatch.setattr(sojourn.operations.check.cookies, "STRAY", stray, raising=False)
    with pytest.raises(from_code.UndocumentedError, match=r"sojourn\.W099"):
        from_code.checks()


def test_the_names_of_the_packages_are_in_the_api() -> None:
    core, django, testing = (page_text(f"reference/api{part}.md") for part in ("", "-django", "-testing"))
    for name in sojourn.__all__:
        assert f":: sojourn.{name}\n" in core
    assert ".. automodule:: sojourn.django\n   :members:" in django
    for name in sojourn.testing.__all__:
        assert name in testing or name.endswith("Contract") or name == "Operation", name


def test_every_page_is_reached_from_the_first() -> None:
    """What ``make docs`` checks link by link; here, that the map names each kind."""
    index = page_text("index.md")
    for folder in ("how-to", "reference", "explanation"):
        assert f"\n{folder}/*\n" in index
