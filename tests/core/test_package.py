"""What importing Sojourn brings with it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sojourn

_SOURCE = Path(sojourn.__file__).parent.parent

#: Everything a part of Sojourn may use but its core may not.
_DRIVERS = frozenset(
    {"django", "flask", "starlette", "werkzeug"}
    | {"redis", "valkey", "pymemcache", "meta_memcache", "emcache", "pylibmc"}
    | {"sqlalchemy", "psycopg", "asyncpg", "sqlite3", "_sqlite3"}
    | {"pickle", "marshal", "shelve", "dbm", "yaml"}
    | {"pytest", "hypothesis"}
)


def _imported_by(statement: str) -> set[str]:
    """Return the modules a new interpreter without the environment's settings has after ``statement``."""
    program = f"import sys; sys.path.insert(0, {str(_SOURCE)!r}); {statement}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", textwrap.dedent(program)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_importing_sojourn_pulls_in_no_framework_and_no_driver() -> None:
    before, after = _imported_by("pass"), _imported_by("import sojourn")
    assert "sojourn.manager" in after
    assert not (after - before) & _DRIVERS


def test_importing_sojourn_pulls_in_no_store_and_no_adapter() -> None:
    ours = {name for name in _imported_by("import sojourn") if name.startswith("sojourn.")}
    assert {name.split(".")[1] for name in ours}.isdisjoint(
        {"stores", "django", "asgi", "wsgi", "flask", "testing"}
    )


def test_importing_the_memory_store_pulls_in_no_driver() -> None:
    before, after = _imported_by("pass"), _imported_by("import sojourn.stores.memory")
    assert not (after - before) & _DRIVERS


def test_only_the_embedded_engine_needs_sqlite() -> None:
    assert "sqlite3" in _imported_by("import sojourn.stores.embedded")


def test_S4_neither_core_nor_stores_can_read_pickles_yaml_or_code() -> None:
    refused = (
        "import pickle",
        "from pickle",
        "import yaml",
        "import marshal",
        "import shelve",
        "eval(",
        "exec(",
    )
    core = _SOURCE / "sojourn"
    for path in [*core.glob("*.py"), *(core / "stores").rglob("*.py")]:
        for line in path.read_text("utf-8").splitlines():
            assert not any(f" {start}" in f" {line.strip()}" for start in refused), f"{path.name}: {line}"


def test_everything_the_package_offers_is_there() -> None:
    assert sorted(sojourn.__all__) == sojourn.__all__
    for name in sojourn.__all__:
        assert getattr(sojourn, name).__doc__


@pytest.mark.parametrize("name", ["AAL1", "Policy", "Session", "Manager", "AsyncManager", "Keyring"])
def test_the_names_of_the_first_page_are_there(name: str) -> None:
    assert name in sojourn.__all__
