"""The doctor finds each fault, and does not find it where its own lines were written."""

from __future__ import annotations

from pkgutil import iter_modules
from typing import TYPE_CHECKING

import pytest
from django.conf import global_settings
from django.contrib.sessions import backends as djangos
from django.db.utils import ConnectionHandler
from hypothesis import given
from hypothesis import strategies as st

from docs.faulty import FAULTY
from sojourn.django import backends
from sojourn.operations.check import STATIC, Settings, Severity, drivers, findings
from sojourn.operations.check.databases import KEYS
from sojourn.operations.check.reading import read
from sojourn.operations.check.settings import DJANGO
from sojourn.project import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sojourn.operations.check import Finding


_CACHES = "django.core.cache.backends"

#: With these above, the faulty settings have no other fault.
SOUND = """\
SECRET_KEY = "VwN3x0Qe7Jk2YpR9sTzA4bDf6GhLmC8u"
BASE_DIR = "/srv/mysite"
SESSION_COOKIE_SECURE = True
INSTALLED_APPS = ["django.contrib.sessions", "sojourn.django"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
SESSION_ENGINE = "sojourn.django.backends.embedded"
SOJOURN = {"ABSOLUTE_TIMEOUT": 86400, "ANONYMOUS_TIMEOUT": 3600}
"""

#: Horizon's guide of 2012, and the one of 2026 where it differs, word for word.
GUIDE = {
    "2012, local memory": (
        """
SESSION_ENGINE = 'django.contrib.sessions.backends.cache'
CACHES = {
    'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'
}
""",
        ["sojourn.E005", "sojourn.W004", "sojourn.I002"],
    ),
    "2012, memcached": (
        """
SESSION_ENGINE = 'django.contrib.sessions.backends.cache'
CACHES = {
    'BACKEND': 'django.core.cache.backends.memcached.MemcachedCache'
    'LOCATION': 'my_memcached_host:11211',
}
""",
        ["sojourn.E002"],
    ),
    "2012, database": (
        """
SESSION_ENGINE = 'django.core.cache.backends.db.DatabaseCache'
DATABASES = {
    'default': {
        # Databe configuration here
    }
}
""",
        ["sojourn.E003", "sojourn.W004"],
    ),
    "2012, cached database": (
        """
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
""",
        ["sojourn.E011", "sojourn.W004", "sojourn.I002"],
    ),
    "local memory": (
        """
SESSION_ENGINE = 'django.contrib.sessions.backends.cache'
CACHES = {
  'default' : {
    'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'
  }
}
""",
        ["sojourn.W003", "sojourn.W004"],
    ),
    "memcached": (
        """
SESSION_ENGINE = 'django.contrib.sessions.backends.cache'
CACHES = {
  'default': {
    'BACKEND': 'django.core.cache.backends.memcached.MemcachedCache',
    'LOCATION': 'my_memcached_host:11211',
  }
}
""",
        ["sojourn.E007", "sojourn.W004", "sojourn.I002"],
    ),
    "Redis": (
        """
SESSION_ENGINE = 'django.contrib.sessions.backends.cache'
CACHES = {
    "default": {
        "BACKEND": "redis_cache.cache.RedisCache",
        "LOCATION": "127.0.0.1:6379:1",
        "OPTIONS": {
            "CLIENT_CLASS": "redis_cache.client.DefaultClient",
        }
    }
}
""",
        ["sojourn.E007", "sojourn.W004", "sojourn.I002"],
    ),
    "database": (
        """
SESSION_ENGINE = 'django.contrib.sessions.backends.db'
DATABASES = {
    'default': {
        # Database configuration here
        'ENGINE': 'django.db.backends.mysql',
        'NAME': 'dash',
        'USER': 'dash',
        'PASSWORD': 'DASH_DBPASS',
        'HOST': 'localhost',
        'default-character-set': 'utf8'
    }
}
""",
        ["sojourn.W004", "sojourn.W009", "sojourn.W012", "sojourn.I002"],
    ),
    "cookies": (
        """
SESSION_ENGINE = 'django.contrib.sessions.backends.signed_cookies'
""",
        ["sojourn.W004", "sojourn.W010"],
    ),
}


@pytest.fixture
def diagnose(tmp_path: Path) -> Callable[..., list[Finding]]:
    def check(source: str, name: str = "settings.py") -> list[Finding]:
        path = tmp_path / name
        path.write_text(source)
        reading = read(str(path))
        assert not reading.unread or reading.settings is None
        return [*reading.findings, *(findings(reading.settings) if reading.settings is not None else ())]

    return check


def ids(found: list[Finding]) -> list[str]:
    return [finding.id for finding in found]


def corrected(source: str, finding: Finding) -> str:
    """Do what the finding says."""
    if finding.id == "sojourn.E002":
        lines = source.splitlines()
        lines[int(finding.where.rpartition(":")[2]) - 1] = finding.corrected
        return "\n".join(lines)
    return f"{source}\n{finding.corrected}".replace('"…"', '"qk9Xw2Zr5Ht8Lb1Nv4Pc7Sd0Fg3Jm6Ya"')


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_is_found_and_its_corrected_lines_mend_it(
    fault: str, diagnose: Callable[..., list[Finding]]
) -> None:
    source = SOUND.replace("SOJOURN = ", "# ") if fault in ("sojourn.I001", "sojourn.I003") else SOUND
    assert ids(diagnose(SOUND)) == []
    source += FAULTY[fault]
    found = next(finding for finding in diagnose(source) if finding.id == fault)
    assert found.where.startswith(("/", "SOJOURN"))
    assert fault not in ids(diagnose(corrected(source, found)))


@pytest.mark.parametrize("fault", FAULTY)
def test_doing_all_it_says_leaves_nothing_to_say(fault: str, diagnose: Callable[..., list[Finding]]) -> None:
    source = SOUND + FAULTY[fault]
    for _ in range(10):
        found = diagnose(source)
        if not found:
            break
        source = corrected(source, found[0])
    assert ids(found) == []


def test_each_check_has_a_faulty_example(diagnose: Callable[..., list[Finding]]) -> None:
    finding = set()
    for source in FAULTY.values():
        settings = read_settings(SOUND.replace("SOJOURN = ", "# ") + source)
        finding |= {check for check in STATIC if settings is not None and list(check(settings))}
    installed = {drivers.driver_is_missing}  # whose example is an environment
    assert finding == set(STATIC) - installed


def read_settings(source: str) -> Settings | None:
    values: dict[str, object] = {}
    try:
        exec(source, values)  # noqa: S102 - settings of these tests
    except SyntaxError:
        return None
    return Settings(given={name: value for name, value in values.items() if name.isupper()})


@pytest.mark.parametrize("part", GUIDE)
def test_what_is_wrong_in_Horizons_guide_is_found(part: str, diagnose: Callable[..., list[Finding]]) -> None:
    snippet, expected = GUIDE[part]
    found = diagnose(snippet, "local_settings.py")
    assert ids(found) == expected
    source = snippet
    for _ in range(10):
        if not found:
            break
        source = corrected(source, found[0])
        found = diagnose(source, "local_settings.py")
    assert ids(found) == []


def test_what_a_project_leaves_out_is_as_Django_has_it() -> None:
    assert {name: getattr(global_settings, name) for name in DJANGO if name != "DATABASES"} == {
        name: value for name, value in DJANGO.items() if name != "DATABASES"
    }
    assert set(ENGINES) == {module.name for module in iter_modules(backends.__path__)} - {"base"}
    assert set(ENGINES) - {"embedded"} == {m.name for m in iter_modules(djangos.__path__)} - {"base"}


def test_every_key_that_Django_reads_of_a_database_is_known() -> None:
    handler = ConnectionHandler({"default": {}})
    assert set(handler.settings["default"]) <= KEYS


@pytest.mark.parametrize(
    "backend",
    [
        f"{_CACHES}.memcached.PyMemcacheCache",
        f"{_CACHES}.redis.RedisCache",
        f"{_CACHES}.db.DatabaseCache",
        "mysite.cache.Cache",
    ],
)
def test_another_cache_under_Djangos_cache_engine_is_no_error(backend: str) -> None:
    given_ = {
        "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
        "CACHES": {"default": {"BACKEND": backend, "LOCATION": "redis://127.0.0.1:6379/0"}},
    }
    found = findings(Settings(given=given_))
    assert not [finding for finding in found if finding.severity is Severity.ERROR]
    assert ("sojourn.I002" in ids(found)) == (backend != "mysite.cache.Cache")


@pytest.mark.parametrize(
    ("missing", "expected"),
    [(None, []), ("INSTALLED_APPS", ["sojourn.E010"]), ("DATABASES", ["sojourn.E011"])],
)
def test_a_cache_in_a_database_needs_what_a_database_needs(missing: str | None, expected: list[str]) -> None:
    given_ = {
        "SESSION_ENGINE": "sojourn.django.backends.cache",
        "CACHES": {"default": {"BACKEND": f"{_CACHES}.db.DatabaseCache", "LOCATION": "django_cache"}},
        "INSTALLED_APPS": ["sojourn.django"],
        "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    }
    if missing is not None:
        given_[missing] = type(given_[missing])()
    found = findings(Settings(given=given_))
    assert [finding.id for finding in found if finding.severity is Severity.ERROR] == expected


def test_whoever_keeps_sessions_in_a_cache_in_a_database_is_told_to_add_the_app() -> None:
    given_ = {
        "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
        "CACHES": {"default": {"BACKEND": f"{_CACHES}.db.DatabaseCache", "LOCATION": "django_cache"}},
    }
    [finding] = [finding for finding in findings(Settings(given=given_)) if finding.id == "sojourn.I002"]
    assert finding.corrected.splitlines() == [
        'SESSION_ENGINE = "sojourn.django.backends.cache"',
        'INSTALLED_APPS = [*INSTALLED_APPS, "sojourn.django"]',
    ]
    assert "nobody is signed out" in finding.what
    assert "manage.py migrate" in finding.what


@pytest.mark.parametrize(
    ("location", "mended"),
    [
        ("redis://10.0.0.1:6379/0", None),
        ("rediss://user:hunter2@10.0.0.1:6379/0", None),
        (("redis://10.0.0.1", "redis://10.0.0.2"), None),
        ("redis://10.0.0.1,redis://10.0.0.2", None),
        ("unix:///run/redis.sock", None),
        ("10.0.0.1", '"redis://10.0.0.1:6379/0"'),
        ("10.0.0.1:6380:2", '"redis://10.0.0.1:6380/2"'),
        (["10.0.0.1:6380"], '[\n    "redis://10.0.0.1:6380/0",\n]'),
    ],
)
def test_addresses_of_Redis_are_URLs(location: object, mended: str | None) -> None:
    given_ = {
        "SESSION_ENGINE": "sojourn.django.backends.cache",
        "CACHES": {"default": {"BACKEND": f"{_CACHES}.redis.RedisCache", "LOCATION": location}},
    }
    found = [finding for finding in findings(Settings(given=given_)) if finding.id == "sojourn.E009"]
    assert [finding.corrected for finding in found] == (
        [] if mended is None else [f'CACHES["default"]["LOCATION"] = {mended}']
    )


@pytest.mark.parametrize(
    ("lines", "number", "mended"),
    [
        ("CACHES = {\n    'a': 1\n    'b': 2,\n}", 2, "    '…': 1,"),
        ("CACHES = {\n    'a': 'b'\n    'c': 'd',\n}", 2, "    '…': '…',"),
        ("CACHES = {\n    'a': 'x.y'   # the driver\n    'b': 2,\n}", 2, "    '…': 'x.y',   # the driver"),
        ("CACHES = {\n    'default': {\n        'a': 1\n    }\n    'b': 2,\n}", 4, "    },"),
        ("A = [\n    1\n    2\n    3\n]", 2, "    1,"),
        ("A = 1\nB = f(1,\n      2\n      3)", 3, "      2,"),
    ],
)
def test_a_missing_comma_is_shown_where_it_belongs(
    lines: str, number: int, mended: str, diagnose: Callable[..., list[Finding]]
) -> None:
    [finding] = diagnose(lines)
    assert finding.id == "sojourn.E002"
    assert finding.where.endswith(f":{number}")
    assert "lacks a comma" in finding.what
    assert finding.corrected == mended


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("SECRET_KEY = hunter2!x", "SECRET_KEY = …"),
        ("SECRET_KEY = hunter2'", "SECRET_KEY = …'…"),
        ("X = {'PASSWORD': 'a'hunter2', 'PORT': 1}", "X = {'…': '…'…'…'…'…"),
        ("X = {'PASSWORD' hunter2!x}", "X = {'……'…"),
        ("LOCATION = redis://:hunter2@10.0.0.1:6379", "LOCATION = redis://…@10.0.0.1:6379"),
    ],
)
def test_a_secret_without_its_quotes_is_not_shown(
    line: str, told: str, diagnose: Callable[..., list[Finding]]
) -> None:
    [finding] = diagnose(line)
    assert finding.id == "sojourn.E002"
    assert finding.what.endswith(f": {told}")


def test_a_secret_that_is_taken_for_a_name_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_text("DATABASES = {\n    'PASSWORD': hunter2,\n}\nA = missing\n", "utf-8")
    assert read(str(file)).unread == (
        f"{file}:1: a name there is unknown",
        f"{file}:4: there is no missing",
    )


def test_another_mistake_of_syntax_is_shown_with_what_Python_says(
    diagnose: Callable[..., list[Finding]],
) -> None:
    [finding] = diagnose("A = 1\nB = [1, 2\n")
    assert finding.where.endswith(":2")
    assert finding.what == "Line 2 is not Python ('[' was never closed): B = [1, 2"


@pytest.mark.parametrize(
    ("octets", "line", "said"),
    [
        (b"A = 1\nB = '\xe9'\n", 2, "'utf-8' codec can't decode"),  # saved as Latin-1
        (b"# coding: nonsense\nA = 1\n", 1, "unknown encoding: nonsense"),
        (b"A = 1\0\n", 1, "null bytes"),
    ],
)
def test_what_is_wrong_with_the_encoding_is_not_taken_for_a_missing_comma(
    octets: bytes, line: int, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings.py"
    file.write_bytes(octets)
    [finding] = read(str(file)).findings
    assert finding.where == f"{file}:{line}"
    assert said in finding.what
    assert "comma" not in finding.what


@pytest.mark.parametrize(
    "octets",
    [b"\xef\xbb\xbfA = 1\nB = 2\n", b"A = 1\r\nB = 2\r\n", b"# coding: latin-1\nA = 1\nB = 2  # \xe9\n"],
)
def test_a_file_with_a_mark_or_line_ends_of_Windows_is_read(octets: bytes, tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_bytes(octets)
    settings = read(str(file)).settings
    assert settings is not None
    assert (settings["A"], settings["B"]) == (1, 2)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["default", "BACKEND", "LOCATION", "ENGINE", "OPTIONS", "STORE", "x"])
            | st.integers(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
ENGINE_NAMES = st.sampled_from(
    [
        f"{prefix}.{name}"
        for prefix in ("sojourn.django.backends", "django.contrib.sessions.backends")
        for name in ("cache", "db", "cached_db", "signed_cookies", "file", "embedded")
    ]
)


@given(
    st.dictionaries(st.sampled_from([*DJANGO, "SOJOURN", "ADD_INSTALLED_APPS"]), VALUES),
    st.none() | ENGINE_NAMES,
)
def test_settings_of_any_type_are_no_error(values: dict[str, object], engine: str | None) -> None:
    given_ = values if engine is None else {**values, "SESSION_ENGINE": engine}
    for finding in findings(Settings(given=given_)):
        assert finding.severity in Severity


def test_one_settings_file_is_told_one_engine(diagnose: Callable[..., list[Finding]]) -> None:
    for engine, one in (("cache", "embedded"), ("signed_cookies", "signed_cookies")):
        source = f'SESSION_ENGINE = "django.contrib.sessions.backends.{engine}"\n'
        for name in ("settings.py", "local_settings.py"):
            caches = f'CACHES = {{"default": {{"BACKEND": "{_CACHES}.locmem.LocMemCache"}}}}\n'
            lines = "\n".join(finding.corrected for finding in diagnose(source + caches, name)).splitlines()
            engines = [line for line in lines if line.startswith("SESSION_ENGINE")]
            assert engines == [f'SESSION_ENGINE = "sojourn.django.backends.{one}"']


def test_the_embedded_engine_is_named_with_its_file_where_none_is_assumed(
    diagnose: Callable[..., list[Finding]],
) -> None:
    source = f'{LOCMEM}SESSION_ENGINE = "django.contrib.sessions.backends.cache"\n'
    for name, owner in (("local_settings.py", "openstack-dashboard"), ("settings.py", "mysite")):
        [finding] = [finding for finding in diagnose(source, name) if finding.id == "sojourn.W003"]
        assert f'"PATH": "/var/lib/{owner}/sessions.sqlite3"' in finding.corrected
    [finding] = [
        finding for finding in diagnose(f"BASE_DIR = '/srv'\n{source}") if finding.id == "sojourn.W003"
    ]
    assert "PATH" not in finding.corrected


LOCMEM = f'CACHES = {{"default": {{"BACKEND": "{_CACHES}.locmem.LocMemCache"}}}}\n'


def test_what_has_to_be_written_is_said_at_once(diagnose: Callable[..., list[Finding]]) -> None:
    [finding] = [
        finding for finding in diagnose(FAULTY["sojourn.E003"]) if finding.severity is Severity.ERROR
    ]
    assert "manage.py migrate" in finding.what
    assert "sojourn.django" in finding.corrected.splitlines()[1]
    flat = FAULTY["sojourn.E002"].replace("Cache'\n", "Cache',\n")
    [finding] = [finding for finding in diagnose(flat) if finding.severity is Severity.ERROR]
    assert finding.id == "sojourn.E005"
    assert "PyMemcacheCache" in finding.corrected
    assert "Install pymemcache" in finding.what


def test_a_weak_secret_that_is_on_its_way_out_is_no_warning(diagnose: Callable[..., list[Finding]]) -> None:
    source = f'{SOUND}SECRET_KEY_FALLBACKS = ["changeme", "{"qk9Xw2Zr5Ht8Lb1Nv4Pc7Sd0Fg3Jm6Ya"}", "x"]\n'
    [finding] = diagnose(source)
    assert (finding.id, finding.severity) == ("sojourn.I004", Severity.INFO)
    assert finding.corrected == "del SECRET_KEY_FALLBACKS[2]\ndel SECRET_KEY_FALLBACKS[0]"


def test_a_question_ends_with_its_mark(diagnose: Callable[..., list[Finding]]) -> None:
    [finding] = diagnose(SOUND + 'SOJOURN["PAHT"] = "/srv/mysite/sessions.sqlite3"\n')
    assert finding.what.endswith("did you mean 'PATH'?")
