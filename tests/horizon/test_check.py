"""``sojourn check`` on the real Horizon's settings: what it says is true, and nothing else is said."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.horizon.dashboard import Horizon
from tests.horizon.engines import ENGINES, Engine
from tests.horizon.environments import HORIZON
from tests.horizon.keystone import Keystone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: The tests' Horizon is served without TLS.
PLAIN_HTTP = "sojourn.W004"
IN_MEMORY = "sojourn.W003"
NOT_REVOCABLE = "sojourn.W010"
DJANGOS = "sojourn.I002"
#: Sessions that nobody has signed in to live for Django's two weeks.
ANONYMOUS = "sojourn.I003"

#: Horizon's own settings, and nothing else.
DEFAULT = Engine(
    "Horizon's default",
    """
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": "127.0.0.1:11211",
    },
}
""",
)
COOKIES = Engine("Django's cookies", "SESSION_ENGINE = 'django.contrib.sessions.backends.signed_cookies'\n")


#: The command on each of two arguments: importing Horizon is what takes time.
TWICE = """
import sys
from sojourn.cli import main

for settings in sys.argv[1:]:
    assert main(["check", settings, "--format", "json"]) in (0, 1)
    print(end="\\0")
"""


def cases() -> Iterator[Any]:
    for engine in ENGINES:
        yield pytest.param(
            engine, warnings(engine) + ([] if engine.in_cookie else [ANONYMOUS]), id=engine.name
        )
        djangos = engine.djangos
        if djangos is not None:
            found = warnings(djangos)
            told = {IN_MEMORY, NOT_REVOCABLE} & set(found)  # these name the engine of ours themselves
            yield pytest.param(djangos, found if told else [*found, DJANGOS], id=djangos.name)
    yield pytest.param(DEFAULT, [PLAIN_HTTP, DJANGOS], id=DEFAULT.name)
    yield pytest.param(COOKIES, [PLAIN_HTTP, NOT_REVOCABLE], id=COOKIES.name)


def warnings(engine: Engine) -> list[str]:
    process_memory = [IN_MEMORY] if "locmem" in engine.lines else []
    return [*process_memory, PLAIN_HTTP, *([] if engine.can_end_sessions else [NOT_REVOCABLE])]


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Any]:
    """Run the command where Horizon is installed, on the settings of a deployment that is not started.

    Once on the module of Horizon's settings, once on the file that deployments write.
    """
    (tmp_path / "keystone").mkdir()
    keystone = Keystone(tmp_path / "keystone")
    horizon = Horizon(tmp_path / "horizon", keystone, DEFAULT)

    def run(engine: Engine, more: str = "") -> tuple[Any, Any]:
        horizon.configure(engine.moved(dict.fromkeys(engine.needs, "127.0.0.1:9")), more)
        file = tmp_path / "horizon" / "local" / "local_settings.py"
        done = subprocess.run(
            [HORIZON.program("python"), "-c", TWICE, "openstack_dashboard.settings", str(file)],
            env={**os.environ, "PYTHONPATH": horizon._path, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        module, said_of_file = map(json.loads, done.stdout.split(b"\0")[:2])
        return module, said_of_file

    return run


def ids(said: Any) -> list[str]:
    return [finding["id"] for finding in said["findings"]]


@pytest.mark.parametrize(("chosen", "expected"), [*cases()])
def test_what_is_said_of_the_real_Horizons_settings_is_true_and_all_there_is(
    chosen: Engine, expected: list[str], check: Callable[..., Any]
) -> None:
    module, file = check(chosen)
    assert ids(module) == ids(file) == expected
    assert module["not_checked"] == file["not_checked"] == []


@pytest.mark.parametrize("chosen", [ENGINES[0], DEFAULT], ids=lambda engine: engine.name)
def test_with_the_lines_that_it_says_to_write_there_is_nothing_left_to_say(
    chosen: Engine, check: Callable[..., Any]
) -> None:
    more = ""
    for _ in range(5):
        module, file = check(chosen, more)
        assert ids(module) == ids(file)
        more += "".join(f"{finding['corrected']}\n" for finding in module["findings"][:1])
    assert ids(module) == []


def test_a_file_that_Horizon_ignores_because_of_an_import_is_an_error(check: Callable[..., Any]) -> None:
    module, file = check(ENGINES[0], "from a_panel_nobody_has import SETTINGS\n")
    assert ids(file)[0] == "sojourn.E014"
    assert "cannot import a_panel_nobody_has" in file["findings"][0]["what"]
    # Horizon says so itself: its settings are as if there were no file.
    assert ids(module) == [PLAIN_HTTP, DJANGOS]
