"""``sojourn check``: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sojourn
from sojourn.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

SOUND = """\
SECRET_KEY = "VwN3x0Qe7Jk2YpR9sTzA4bDf6GhLmC8u"
SESSION_COOKIE_SECURE = True
SESSION_ENGINE = "sojourn.django.backends.embedded"
SOJOURN = {"ABSOLUTE_TIMEOUT": 86400, "ANONYMOUS_TIMEOUT": 3600}
"""
#: What must not be printed.
SECRETS = ("hunter2", "HUNTER", "hunter.two", "VwN3x0Qe7Jk2", "s3cr3t")


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], str]:
    def write(source: str, name: str = "settings.py") -> str:
        path = tmp_path / name
        path.write_text(source)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("more", "level", "code"),
    [
        ("", "info", 0),
        ("del SOJOURN", "warning", 0),
        ("del SOJOURN", "info", 1),
        ("SESSION_COOKIE_HTTPONLY = False", "warning", 1),
        ("SESSION_COOKIE_HTTPONLY = False", "error", 0),
        ("SESSION_ENGINE = 'sojourn.django.backends.chache'", "error", 1),
        ("import a_module_nobody_has", "info", 2),
        ("import a_module_nobody_has\nSESSION_COOKIE_HTTPONLY = False", "warning", 1),
    ],
)
def test_the_exit_code_tells_CI_what_was_found(
    more: str, level: str, code: int, settings: Callable[[str], str]
) -> None:
    assert main(["check", settings(SOUND + more), "--fail-level", level]) == code


def test_a_finding_says_where_what_happens_and_what_to_write(
    settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(f"{SOUND}SESSION_COOKIE_HTTPONLY = False\n")
    main(["check", path])
    assert capsys.readouterr().out == (
        f"{path}:5: warning sojourn.W005: SESSION_COOKIE_HTTPONLY is not True.\n"
        "  Users: Any script on a page, also one that an attacker slipped in, can read the cookie and send "
        "it away.\n"
        "  Write:\n"
        "      SESSION_COOKIE_HTTPONLY = True\n"
        "\n"
        f"{path}: 1 warning\n"
    )


def test_nothing_found_is_said(settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    path = settings(SOUND)
    main(["check", path])
    assert capsys.readouterr().out == f"{path}: nothing found\n"


def test_json_holds_the_same(settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    path = settings(f"{SOUND}SESSION_COOKIE_HTTPONLY = False\nimport a_module_nobody_has\n")
    assert main(["check", path, "--format", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"settings", "findings", "not_checked"}
    assert said["settings"] == path
    [finding] = said["findings"]
    assert set(finding) == {"id", "severity", "what", "happens", "corrected", "where"}
    assert (finding["id"], finding["severity"]) == ("sojourn.W005", "warning")
    assert finding["where"] == f"{path}:5"
    [reason] = said["not_checked"]
    assert reason.startswith(f"{path}:6: cannot import a_module_nobody_has")


@pytest.mark.parametrize(
    "source",
    [
        # nothing of the value of a setting
        """
SECRET_KEY = 'hunter2'
SESSION_ENGINE = 'sojourn.django.backends.cache'
CACHES = {
    'BACKEND': 'django.core.cache.backends.redis.RedisCache',
    'LOCATION': 'redis://somebody:hunter2@10.0.0.1:6379/0?password=s3cr3t',
    'OPTIONS': {'PASSWORD': 'hunter2', 'password': 's3cr3t', 'x': ['y@hunter2@h'], 'b': b'hunter2'},
}
""",
        """
SESSION_ENGINE = 'sojourn.django.backends.cache'
CACHES = {'default': {'BACKEND': 'redis_cache.RedisCache', 'LOCATION': 'hunter2@10.0.0.1:6379:1'}}
""",
        # of a line that is no Python
        "SECRET_KEY = 'VwN3x0Qe7Jk2",
        "DATABASES = {'default': {'PASSWORD': 'hunter2'\n 'USER': 'x'}}",
        "CACHES = {\n'LOCATION': 'redis://x:hunter2@h'\n'BACKEND': 's3cr3t'}",
        "SECRET_KEY = f('hunter2' 1)",
        'SECRET_KEY = """hunter2\ns3cr3t',
        "DATABASES = {'default': {'PASSWORD': 'HUNTER'\n 'USER': 'x'}}",
        "DATABASES = {'default': {'PASSWORD': 'hunter.two' 'USER': 'x'}}",
        # of an option of a driver's
        "CACHES = {'BACKEND': 'x.y', 'OPTIONS': {'pwd': 'hunter2', 'KWARGS': {'y': 'hunter2'}}}",
        # of an error
        "raise ValueError('hunter2')",
        "{}['hunter2']",
        "open('/hunter2')",
        "class E(ImportError): pass\nraise E('hunter2')",
        "SESSION_ENGINE = 'postgresql://x:hunter2@h/?password=s3cr3t'",
        "SESSION_COOKIE_SAMESITE = SECRET_KEY = 'VwN3x0Qe7Jk2@'",
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_output_shows_a_secret(
    source: str, form: str, settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", settings(source), "--format", form]) in (1, 2)
    said = "".join(capsys.readouterr())
    assert said
    assert not [secret for secret in SECRETS if secret in said]


def test_what_settings_print_is_not_in_the_JSON(
    settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(f"{SOUND}print('hello')\nimport sys\nsys.exit()\n")
    assert main(["check", path, "--format", "json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["findings"] == []
    assert said["not_checked"] == [f"{path}:7: SystemExit"]


@pytest.mark.parametrize("named", ["/nowhere/settings.py", "nowhere.settings", "no module", "nowhere.py"])
def test_settings_that_are_not_there_could_not_be_checked(
    named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", named]) == 2
    assert named in capsys.readouterr().err


def test_without_settings_it_says_how_to_name_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    assert main(["check"]) == 2
    assert "DJANGO_SETTINGS_MODULE" in capsys.readouterr().err


def test_a_module_is_imported_as_manage_py_does(tmp_path: Path) -> None:
    package = tmp_path / "mysite"
    package.mkdir()
    (package / "base.py").write_text(SOUND)
    (package / "settings.py").write_text(
        "from mysite.base import *\n\nSESSION_COOKIE_HTTPONLY = False\nSESSION_COOKIE_SECURE = False\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(sojourn.__file__).parents[1]),
        "DJANGO_SETTINGS_MODULE": "mysite.settings",
    }
    done = subprocess.run(
        [sys.executable, "-m", "sojourn.cli", "check", "--format", "json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert [finding["where"] for finding in said["findings"]] == [
        f"{package / 'settings.py'}:4",
        f"{package / 'settings.py'}:3",
    ]
