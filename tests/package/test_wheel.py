"""What users install."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sojourn

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "sojourn"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    project: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def test_it_runs_on_any_machine_with_python_3(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


def test_it_holds_the_package_and_nothing_else(names: set[str]) -> None:
    package = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.split("/")[0].endswith(".dist-info")} == package


def test_it_brings_the_command_line(wheel: Path, names: set[str]) -> None:
    [name] = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
    assert b"sojourn = sojourn.cli:main" in zipfile.ZipFile(wheel).read(name)


def test_it_tells_type_checkers_that_it_is_typed(names: set[str]) -> None:
    assert "sojourn/py.typed" in names


def test_it_holds_no_tests_but_the_kit_for_stores(names: set[str]) -> None:
    assert "sojourn/testing/contract/__init__.py" in names
    assert not [name for name in names if "/test" in name and not name.startswith("sojourn/testing/")]
    assert not [name for name in names if name.endswith("conftest.py")]


def test_it_holds_the_licence(wheel: Path, names: set[str], metadata: Message) -> None:
    [name] = [name for name in names if name.endswith("/licenses/LICENSE")]
    assert zipfile.ZipFile(wheel).read(name) == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "BSD-3-Clause"


def test_its_metadata_is_that_of_the_project(metadata: Message, project: dict[str, object]) -> None:
    assert metadata["Name"] == "sojourn"
    assert metadata["Version"] == project["version"]
    assert metadata["Summary"] == project["description"]
    assert metadata["Requires-Python"] == project["requires-python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text("utf-8")
    assert set(metadata.get_all("Provides-Extra", [])) >= {"django", "demo"}


def test_it_needs_no_framework_and_no_driver(metadata: Message) -> None:
    always = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(line.split(">")[0] for line in always) == ["cryptography", "ormsgpack"]


def test_what_make_test_tests_is_the_wheel() -> None:
    """``make test`` puts the unpacked wheel first on PYTHONPATH; without it, the checkout is tested."""
    unpacked = ROOT / "build" / "wheel"
    tested = Path(sojourn.__file__).parent.parent
    if str(unpacked) in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        assert tested == unpacked
        distribution = importlib.metadata.distribution("sojourn")
        assert distribution.read_text("WHEEL") is not None
        assert Path(str(distribution.locate_file(""))) == unpacked
    else:
        assert tested != unpacked
