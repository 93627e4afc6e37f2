"""The settings: ``SOJOURN`` is typed, other engines' settings keep their meaning, what is wrong is said."""

from __future__ import annotations

import logging
import re
import stat
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_started

from sojourn.django.backends import cache
from sojourn.django.backends.cache import _warn_of_several_processes
from tests.django.site import Browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.django.site import Site


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"PAHT": "x"}, "'PAHT': did you mean 'PATH'"),
        ({"path": "x"}, "'path': did you mean 'PATH'"),
        ({"ABSOLUTE_TIME_OUT": 60}, "did you mean 'ABSOLUTE_TIMEOUT'"),
        ({"MAX_SESSIONS": 60}, "did you mean 'MAX_SESSIONS_PER_USER'"),
        ({"zzzzzzzzzzzz": 1}, "valid are ABSOLUTE_TIMEOUT, "),
        ({1: 1}, "no setting 1"),
        ([("PATH", "x")], "SOJOURN has to be a dictionary"),
        (None, "SOJOURN has to be a dictionary"),
        ({"PATH": 1}, r"\['PATH'\] has to be a path"),
        ({"ABSOLUTE_TIMEOUT": 0}, r"\['ABSOLUTE_TIMEOUT'\] has to be a positive whole number"),
        ({"ANONYMOUS_TIMEOUT": 0}, r"\['ANONYMOUS_TIMEOUT'\] has to be a positive whole number"),
        ({"ABSOLUTE_TIMEOUT": -1}, r"\['ABSOLUTE_TIMEOUT'\] has to be a positive whole number"),
        ({"ABSOLUTE_TIMEOUT": 1.5}, r"\['ABSOLUTE_TIMEOUT'\] has to be a positive whole number"),
        ({"ABSOLUTE_TIMEOUT": True}, r"\['ABSOLUTE_TIMEOUT'\] has to be a positive whole number"),
        ({"ABSOLUTE_TIMEOUT": "60"}, r"\['ABSOLUTE_TIMEOUT'\] has to be a positive whole number"),
        ({"SLIDING": 1}, r"\['SLIDING'\] has to be True or False"),
        ({"MAX_SESSIONS_PER_USER": 0}, r"\['MAX_SESSIONS_PER_USER'\] has to be a positive whole number"),
        ({"STORE": 1}, r"\['STORE'\] has to be the address of a store"),
        ({"MAX_PAYLOAD": None}, r"\['MAX_PAYLOAD'\] has to be a positive whole number of bytes"),
        ({"MEMORY_LIMIT": "1M"}, r"\['MEMORY_LIMIT'\] has to be a positive whole number of bytes"),
        ({"MEMORY_LIMIT": 10}, "max_bytes=10 has no room"),
        ({"TIMEOUT": 0}, r"\['TIMEOUT'\] has to be a positive number of seconds"),
        ({"TIMEOUT": float("nan")}, r"\['TIMEOUT'\] has to be a positive number of seconds"),
        ({"SUBJECT": len}, r"\['SUBJECT'\] has to be the dotted path"),
    ],
)
def test_an_unknown_or_wrong_setting_is_improperly_configured(
    given: Any, meant: str, make_site: Callable[..., Site]
) -> None:
    site = make_site("cache", SOJOURN=given)
    with pytest.raises(ImproperlyConfigured, match=meant):
        site.session()


def test_a_function_of_the_project_tells_whose_session_it_is(make_site: Callable[..., Site]) -> None:
    site = make_site("cache", SOJOURN={"SUBJECT": f"{__name__}.of_tenant"})
    site.saved(tenant="acme")
    [summary] = site.engine.manager.sessions_of("acme")
    assert summary.subject == "acme"


def of_tenant(session: Any) -> str | None:
    tenant: str | None = session.get("tenant")
    return tenant


@pytest.mark.parametrize(
    "backend",
    [
        "django.core.cache.backends.dummy.DummyCache",
        "django.core.cache.backends.filebased.FileBasedCache",
        "somebody.elses.Cache",
    ],
)
def test_a_cache_that_keeps_no_sessions_is_refused_saying_what_to_use(
    backend: str, make_site: Callable[..., Site]
) -> None:
    site = make_site("cache", CACHES={"default": {"BACKEND": backend, "LOCATION": "somewhere"}})
    with pytest.raises(ImproperlyConfigured, match=r"use .*sojourn\.django\.backends\.embedded") as refused:
        site.session()
    assert backend in str(refused.value)


def test_the_cache_that_SESSION_CACHE_ALIAS_names_is_used(
    make_site: Callable[..., Site], change_settings: Callable[..., None]
) -> None:
    locmem = "django.core.cache.backends.locmem.LocMemCache"
    caches: dict[str, Any] = {
        "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
        "one": {"BACKEND": locmem, "LOCATION": "one"},
        "two": {"BACKEND": locmem, "LOCATION": "two"},
    }
    site = make_site("cache", CACHES=caches, SESSION_CACHE_ALIAS="one")
    key = site.saved(x=1).session_key
    change_settings(SESSION_CACHE_ALIAS="two")
    assert site.stored(key) == {}
    change_settings(SESSION_CACHE_ALIAS="one")
    assert site.stored(key) == {"x": 1}
    change_settings(SESSION_CACHE_ALIAS="three")
    with pytest.raises(ImproperlyConfigured, match="CACHES has no 'three'"):
        site.session()


def test_memory_is_bounded_and_the_least_recently_used_session_goes(
    make_site: Callable[..., Site],
) -> None:
    site = make_site("cache", SOJOURN={"MEMORY_LIMIT": 20_000})
    keys = [site.saved(x="x" * 1000).session_key for _ in range(30)]
    kept = [key for key in keys if site.stored(key)]
    assert 0 < len(kept) < 30
    assert kept == keys[-len(kept) :]


def test_sessions_in_the_memory_of_several_processes_are_warned_of_once_from_the_first_request(
    make_site: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    make_site("cache")
    request_started.connect(_warn_of_several_processes, dispatch_uid=cache.__name__)  # if it has warned
    several: dict[str, Any] = {"wsgi.multiprocess": True, "wsgi.input": BytesIO()}
    one: dict[str, Any] = {"wsgi.multiprocess": False, "wsgi.input": BytesIO()}
    Browser(**one).visit(lambda request: request.session.get("x"))
    Browser().visit(lambda request: request.session.get("x"))  # Django's test client, which claims several
    assert not caplog.records
    for _ in range(3):
        Browser(**several).visit(lambda request: request.session.get("x"))
    [record] = [record for record in caplog.records if record.name == "sojourn"]
    assert record.levelno == logging.WARNING
    assert "sojourn.django.backends.embedded" in record.getMessage()


FIRST_REQUEST = """
from django.conf import settings
settings.configure(
    ALLOWED_HOSTS=["testserver"],
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ROOT_URLCONF="tests.django.site",
    SECRET_KEY="a secret for tests, of fifty characters or thereabouts",
    SESSION_ENGINE="sojourn.django.backends.cache",
)
import django
django.setup()
from django.core.wsgi import get_wsgi_application
from django.test import RequestFactory
application = get_wsgi_application()
import io
environ = RequestFactory().get("/missing/").environ | {"wsgi.input": io.BytesIO(), "wsgi.multiprocess": True}
print(application(environ, lambda *_: None).status_code)
"""


def warnings_of(program: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ran.stdout == "404\n", ran.stderr
    return [line for line in ran.stderr.splitlines() if "sojourn.django.backends.embedded" in line]


def test_the_first_request_of_a_server_with_several_processes_is_the_one_that_warns() -> None:
    [warning] = warnings_of(FIRST_REQUEST)
    assert "this server has several" in warning


def test_sessions_in_process_memory_because_there_is_no_CACHES_are_warned_of() -> None:
    without = re.sub("    CACHES=.*\n", "", FIRST_REQUEST.replace("True}", "False}"))
    [warning] = warnings_of(without)
    assert "there is no CACHES" in warning


def test_S7_by_default_the_embedded_file_is_private_and_under_BASE_DIR(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = make_site("embedded", SOJOURN={}, BASE_DIR=tmp_path)
    site.saved(x=1)
    path = tmp_path / ".sojourn" / "sessions.sqlite3"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("base", [{}, {"BASE_DIR": None}])
def test_without_a_path_and_without_BASE_DIR_the_embedded_engine_asks_for_one(
    make_site: Callable[..., Site], base: dict[str, None]
) -> None:
    site = make_site("embedded", SOJOURN={}, **base)
    with pytest.raises(ImproperlyConfigured, match=r"SOJOURN = \{'PATH': "):
        site.session()


def test_the_file_engine_keeps_sessions_in_SESSION_FILE_PATH(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = make_site("file")
    site.saved(x=1)
    [folder] = tmp_path.iterdir()
    assert folder.name == f"sojourn-{settings.SESSION_COOKIE_NAME}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_is_missing_is_improperly_configured(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = make_site("file", SESSION_FILE_PATH=str(tmp_path / "missing"))
    with pytest.raises(ImproperlyConfigured, match=r"missing' does not exist: create it"):
        site.session()


def test_S7_a_symbolic_link_in_the_place_of_the_file_is_refused(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"")
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "private" / "sessions.sqlite3").symlink_to(target)
    site = make_site("embedded")
    with pytest.raises(Exception, match="symbolic link"):
        site.saved(x=1)
    assert target.read_bytes() == b""


@pytest.mark.parametrize(
    ("secret", "is_weak"),
    [
        ("short", True),
        ("django-insecure-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG", True),
        ("x" * 50, True),
        ("Zq1f8mB0sXv5R7uTnC3yLw2kE6hJ9gPdAiQoVbKtNrWMzU4", False),
    ],
)
def test_S9_a_weak_secret_is_warned_of_by_a_system_check_and_taken_all_the_same(
    make_site: Callable[..., Site], secret: str, is_weak: bool
) -> None:
    strong = "Zq1f8mB0sXv5R7uTnC3yLw2kE6hJ9gPdAiQoVbKtNrWMzU4"
    site = make_site("embedded", SECRET_KEY=secret)
    found = [message.id for message in run_checks() if message.id == "sojourn.W001"]
    assert found == ["sojourn.W001"] * is_weak
    assert site.stored(site.saved(x=1).session_key) == {"x": 1}
    make_site("embedded", SECRET_KEY=strong, SECRET_KEY_FALLBACKS=[secret])
    messages = [message for message in run_checks() if message.id == "sojourn.I004"]
    assert len(messages) == is_weak
    assert all(secret not in f"{message.msg}{message.hint}" for message in messages)
    assert all("SECRET_KEY_FALLBACKS[0]" in message.msg for message in messages)


def test_S9_a_project_on_another_engine_is_not_warned(make_site: Callable[..., Site]) -> None:
    make_site("cache", SESSION_ENGINE="django.contrib.sessions.backends.cache", SECRET_KEY="short")
    assert "sojourn.W001" not in [message.id for message in run_checks()]


def test_sites_with_other_cookie_names_do_not_open_each_others_sessions(
    make_site: Callable[..., Site], change_settings: Callable[..., None]
) -> None:
    site = make_site("embedded")
    key = site.saved(x=1).session_key
    change_settings(SESSION_COOKIE_NAME="other")
    assert site.stored(key) == {}
    change_settings(SESSION_COOKIE_NAME="sessionid")
    assert site.stored(key) == {"x": 1}
