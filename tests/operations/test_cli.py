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
BASE_DIR = "/srv/mysite"
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
        f"{path}:6: warning sojourn.W005: SESSION_COOKIE_HTTPONLY is not True.\n"
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
    assert finding["where"] == f"{path}:6"
    [reason] = said["not_checked"]
    assert reason.startswith(f"{path}:7: cannot import a_module_nobody_has")


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
    assert said["not_checked"] == [f"{path}:8: SystemExit"]


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


@pytest.mark.parametrize("named", ["mysite", "mysite/", "."])
def test_a_folder_is_no_settings(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mysite").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["check", named]) == 2
    assert capsys.readouterr() == (
        "",
        f"sojourn: {named} is a folder; name the settings file in it, or the module\n",
    )


def test_a_file_may_import_what_is_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop_of_a_test").mkdir()
    (tmp_path / "shop_of_a_test" / "base.py").write_text(SOUND)
    (tmp_path / "shop_of_a_test" / "live.py").write_text("from shop_of_a_test.base import *\n")
    monkeypatch.chdir(tmp_path)
    assert main(["check", "shop_of_a_test/live.py"]) == 0
    assert capsys.readouterr().out == "shop_of_a_test/live.py: nothing found\n"


def test_who_checks_a_file_of_a_package_is_told_to_check_the_module(
    settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(f"{SOUND}from .secrets import *\n")
    assert main(["check", path]) == 2
    assert f"not checked: {path}:6: a file by itself has no package to import from; check the module" in (
        capsys.readouterr().out
    )


def test_a_file_that_Python_cannot_hold_is_one_line(
    settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(f"A = {'-' * 100_000}1\n")
    assert main(["check", path]) == 2
    assert capsys.readouterr().err.startswith(f"sojourn: {path} cannot be read: ")


def in_a_process(*arguments: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command where Django is not configured and these modules are not installed."""
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({without!r}))\n"
        "from sojourn.cli import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={"PYTHONPATH": str(Path(sojourn.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )


REDIS = """\
SECRET_KEY = "VwN3x0Qe7Jk2YpR9sTzA4bDf6GhLmC8u"
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"},
}
"""


@pytest.mark.parametrize("more", [(), ("--live",)])
def test_a_missing_driver_is_a_finding(more: tuple[str, ...], settings: Callable[[str], str]) -> None:
    path = settings(f'{REDIS}SESSION_ENGINE = "sojourn.django.backends.cache"\n')
    done = in_a_process("check", path, *more, without=("hiredis",))
    assert done.returncode == 1
    assert "sojourn.E015" in done.stdout
    assert "needs hiredis" in done.stdout
    assert "pip install 'redis[hiredis]>=6'" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_driver_that_only_asking_needs_is_one_line(settings: Callable[[str], str]) -> None:
    path = settings(
        f'{REDIS}SESSION_ENGINE = "django.contrib.sessions.backends.cache"\nSESSION_COOKIE_SECURE = True\n'
    )
    done = in_a_process("check", path, "--live", without=("hiredis",))
    assert done.returncode == 2
    assert "sojourn.E015" not in done.stdout
    assert "not checked: hiredis cannot be imported: pip install 'redis[hiredis]>=6'\n" in done.stdout
    assert "# pip install 'redis[hiredis]>=6'\n" in done.stdout  # before the engine of ours
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("purge", "postgresql://u:hunter2@127.0.0.1:1/shop"),
        ("plan", "--users=1", "--requests=1", "--sample=postgresql://u:hunter2@127.0.0.1:1/shop"),
    ],
)
def test_a_command_without_its_driver_says_what_to_install(arguments: tuple[str, ...]) -> None:
    done = in_a_process(*arguments, without=("sqlalchemy",))
    assert done.returncode == 2
    assert (
        done.stderr == "sojourn: sqlalchemy cannot be imported: pip install 'SQLAlchemy[asyncio]>=2.0.43'\n"
    )


def test_an_address_of_a_list_without_its_driver_is_a_finding(settings: Callable[[str], str]) -> None:
    path = settings(
        f'{SOUND}SESSION_ENGINE = "sojourn.django.backends.signed_cookies"\n'
        'SOJOURN["COOKIE_REVOCATIONS"] = "postgresql://u:hunter2@127.0.0.1:1/shop"\n'
    )
    done = in_a_process("check", path, "--live", without=("sqlalchemy",))
    assert done.returncode == 1
    assert 'SOJOURN["COOKIE_REVOCATIONS"] needs sqlalchemy' in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("SOJOURN['ADOPT'] = 'django.contrib.sessions.backends.chache'", "SOJOURN['ADOPT'] names"),
        ("SESSION_ENGINE = f'{OURS}.file'\nSESSION_FILE_PATH = '/nowhere/at/all'", "does not exist"),
        ("SOJOURN['PATH'] = '/srv/../sessions.sqlite3'", "contains '..'"),
        ("SESSION_ENGINE = f'{OURS}.db'\nSOJOURN['PARTITION_BY'] = 'day'", "needs PostgreSQL"),
        (
            (
                "SESSION_ENGINE, SOJOURN = f'{OURS}.db', {'PARTITION_BY': 'day'}\n"
                "DATABASES['default']['ENGINE'] = 'django.db.backends.postgresql'"
            ),
            "set absolute_timeout (in Django, SOJOURN['ABSOLUTE_TIMEOUT'])",
        ),
        (
            "SESSION_ENGINE = f'{OURS}.signed_cookies'\nSOJOURN['ADOPT'] = f'{DJANGOS}.db'",
            "ADOPT",
        ),
        (
            "SESSION_ENGINE = f'{OURS}.signed_cookies'\nSOJOURN['COOKIE_REVOCATIONS'] = 'postgrsql://h/shop'",
            "no store's address begins so; write postgresql://",
        ),
        (
            "SESSION_ENGINE = f'{OURS}.signed_cookies'\nSOJOURN['COOKIE_REVOCATIONS'] = 'memory://'",
            "a store that forgets",
        ),
    ],
)
def test_what_keeps_the_engine_from_starting_is_what_it_says_itself(
    more: str, said: str, settings: Callable[[str], str]
) -> None:
    path = settings(
        f'{SOUND}OURS, DJANGOS = "sojourn.django.backends", "django.contrib.sessions.backends"\n'
        'INSTALLED_APPS = ["sojourn.django"]\n'
        'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}\n'
        f"{more}\n"
    )
    done = in_a_process("check", path)
    assert done.returncode == 1, done
    [line] = [line for line in done.stdout.splitlines() if "sojourn.E001" in line]
    assert said in line
    assert line.startswith(path)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("databases", "said"),
    [
        ("{'default': {'ENGINE': 'django.db.backends.mysql'}}", "Did you install mysqlclient?"),
        ("{'default': {'ENGINE': 'django.db.backends.oracle'}}", "oracledb"),
        ("{'default': {'ENGINE': 'no.such.backend'}}", "'no.such.backend' isn't an available database"),
        ("{'other': {'ENGINE': 'django.db.backends.sqlite3'}}", 'DATABASES["default"], which is not there'),
        ("3", 'DATABASES["default"], which is not there'),
    ],
)
@pytest.mark.parametrize("more", [(), ("--live",)])
def test_a_database_that_Django_does_not_take_is_a_finding(
    databases: str, said: str, more: tuple[str, ...], settings: Callable[[str], str]
) -> None:
    path = settings(
        f'{SOUND}SESSION_ENGINE = "sojourn.django.backends.db"\nINSTALLED_APPS = ["sojourn.django"]\n'
        f"DATABASES = {databases}\n"
    )
    done = in_a_process("check", path, *more, "--fail-level", "error", without=("MySQLdb", "oracledb"))
    assert (done.returncode, done.stderr) == (1, ""), done
    [line] = [line for line in done.stdout.splitlines() if "error sojourn." in line]
    assert said in line


@pytest.mark.parametrize(
    "site",
    ["ftp://shop", "http://shop:hunter2/", "http://[::1", f"http://{'x' * 300}/", "http://127.0.0.1:1/\xe9"],
)
def test_an_address_that_is_none_is_one_line(
    site: str, settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(f"{SOUND}SESSION_ENGINE = 'sojourn.django.backends.signed_cookies'\n")
    assert main(["check", path, "--site", site]) == 2
    said = capsys.readouterr().err
    assert said.startswith("sojourn: the site's address has to be that of a page")
    assert site not in said


def test_a_site_is_asked_whatever_the_number_of_cookies_is(
    settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(
        f"{SOUND}SESSION_ENGINE = 'sojourn.django.backends.signed_cookies'\n"
        "SOJOURN['COOKIE_REVOCATIONS'] = 'sqlite:///srv/mysite/ended.sqlite3'\n"
        "SOJOURN['MAX_COOKIES'] = 'three'\n"
    )
    assert main(["check", path, "--site", "http://127.0.0.1:1/"]) == 1
    said = capsys.readouterr().out
    assert "sojourn.E013" in said
    assert "There is no answer from http://127.0.0.1:1/" in said


@pytest.mark.parametrize("engine", ["file", "db", "signed_cookies"])
def test_an_engine_that_starts_has_nothing_found(engine: str, settings: Callable[[str], str]) -> None:
    path = settings(
        f'{SOUND}SESSION_ENGINE = "sojourn.django.backends.{engine}"\n'
        'INSTALLED_APPS = ["django.contrib.auth", "a_project.of_its_own", "sojourn.django"]\n'
        'ADD_INSTALLED_APPS = ["sojourn.django"]\n'  # as Horizon's have it in both
        'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}\n'
        'SOJOURN["COOKIE_REVOCATIONS"] = "sqlite:///srv/mysite/ended.sqlite3"\n'
    )
    done = in_a_process("check", path, "--fail-level", "info")
    assert (done.returncode, done.stderr) == (0, ""), done


def test_Horizons_settings_are_checked_where_Horizon_is_not(settings: Callable[..., str]) -> None:
    path = settings(SOUND.replace("BASE_DIR", "OPENSTACK_HOST"), "local_settings.py")
    done = in_a_process("check", path)
    assert done.returncode == 1
    assert "sojourn.E016" in done.stdout
    assert 'SOJOURN["PATH"] = "/var/lib/openstack-dashboard/sessions.sqlite3"' in done.stdout
    mended = settings(
        SOUND.replace("BASE_DIR", "OPENSTACK_HOST")
        + 'SOJOURN["PATH"] = "/var/lib/openstack-dashboard/sessions.sqlite3"\n',
        "local_settings.py",
    )
    assert "sojourn.E" not in in_a_process("check", mended).stdout


def test_who_has_read_enough_ends_the_command_quietly(settings: Callable[[str], str]) -> None:
    for arguments in (["check", settings(SOUND)], ["plan", "--users=1", "--requests=1", "--formulas"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "sojourn.cli", *arguments],
            env={"PYTHONPATH": str(Path(sojourn.__file__).parents[1])},
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, b"")


def test_a_file_that_is_no_Python_is_a_finding_and_the_rest_was_not_checked(
    settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", settings("A = [1\n"), "--format", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [finding["id"] for finding in said["findings"]] == ["sojourn.E002"]
    assert len(said["not_checked"]) == 1


def test_a_site_is_asked_for_sessions_in_cookies_only(
    settings: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", settings(SOUND), "--site", "http://127.0.0.1:1/"]) == 2
    assert (
        "not checked: --site: sojourn.django.backends.embedded keeps no sessions" in capsys.readouterr().out
    )


def test_a_folder_that_may_not_be_made_is_found(
    settings: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = settings(f"{SOUND}SOJOURN['PATH'] = {str(tmp_path / 'a' / 'b' / 'sessions.sqlite3')!r}\n")
    assert main(["check", path]) == 0
    monkeypatch.setattr(os, "access", lambda folder, _: folder != tmp_path)  # root may write anywhere
    assert main(["check", path]) == 1
    assert f"may not write in {tmp_path}." in capsys.readouterr().out


def test_a_database_is_asked_without_a_warning_of_Djangos(
    settings: Callable[[str], str], tmp_path: Path
) -> None:
    path = settings(
        f'{SOUND}SESSION_ENGINE = "sojourn.django.backends.db"\nINSTALLED_APPS = ["sojourn.django"]\n'
        'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", '
        f'"NAME": {str(tmp_path / "d")!r}}}}}\n'
    )
    done = in_a_process("check", path, "--live")
    assert (done.returncode, done.stderr) == (1, "")  # there is no table
    assert "sojourn.E103" in done.stdout
