"""What people get wrong, and what a failing request shows of a session."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from sojourn.errors import StoreUnavailableError
from sojourn.testing import Fail
from sojourn.token import Token, new_token

if TYPE_CHECKING:
    from pathlib import Path

    from tests.django.site import Site


@pytest.mark.parametrize("operation", ["load", "update", "move", "delete"])
def test_T12_the_page_and_the_mail_of_an_error_show_no_token(site: Site, operation: Any) -> None:
    token = site.saved(a=1).session_key
    store = site.watch()
    store.plan(Fail(operation))
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = token
    session: Any = site.session(token)
    request.session = session
    try:
        session["a"] = 2
        session.save() if operation == "update" else session.cycle_key()
        session.delete()
    except StoreUnavailableError:
        reporter = ExceptionReporter(request, *sys.exc_info())
        assert token not in reporter.get_traceback_html()
        assert token not in reporter.get_traceback_text()
    else:
        session.flush() if operation == "delete" else pytest.fail("the store did not fail")


def test_T12_a_token_does_not_show_itself() -> None:
    token = new_token()
    assert token not in repr(token)
    assert token not in f"{[token]} { ({'token': token}) }"
    assert str.__str__(token) == f"{token}" == Token(token)


DUMMY = "django.core.cache.backends.dummy.DummyCache"


@pytest.mark.parametrize(
    ("wrong", "found", "named"),
    [
        ({"SOJOURN": {"PAHT": "x"}}, "E013", "did you mean 'PATH'"),
        ({"SOJOURN": {"TIMEOUT": "5"}}, "E013", "SOJOURN['TIMEOUT'] has to be"),
        ({"SESSION_ENGINE": "sojourn.django.backends.embeded"}, "E004", "sojourn.django.backends.embedded"),
        (
            {"SESSION_ENGINE": "django.contrib.session.backends.db"},
            "E004",
            "django.contrib.sessions.backends.db",
        ),
        (
            {"SESSION_COOKIE_AGE": "1209600"},
            "E001",
            "a number of seconds, such as 1209600",
        ),
        ({"SESSION_COOKIE_AGE": timedelta(days=14)}, "E001", "it is of type timedelta"),
        ({"SOJOURN": {"ADOPT": "django.contrib.sessions.backends.signed_cookies"}}, "E001", "signed_cookies"),
        ({"SOJOURN": {"ADOPT": "sojourn.django.backends.file"}}, "E001", "sojourn.django.backends.file"),
        (
            {"CACHES": {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}},
            "E008",
            "Dummy",
        ),
    ],
)
def test_manage_py_check_reports_what_would_not_start(
    make_site: Any, wrong: dict[str, Any], found: str, named: str
) -> None:
    make_site("cache", **wrong)
    (error,) = [message for message in run_checks() if str(message.id).startswith("sojourn.E")]
    assert error.id == f"sojourn.{found}"
    assert named in error.msg


def test_manage_py_check_has_nothing_against_settings_that_are_right(site: Site) -> None:
    assert site.name
    in_memory = ["sojourn.W003"] if site.name == "cache" else []
    assert [message.id for message in run_checks() if str(message.id).startswith("sojourn.")] == in_memory


def test_manage_py_check_deploy_says_what_will_harm_users(make_site: Any) -> None:
    strong = "Zq1f8mB0sXv5R7uTnC3yLw2kE6hJ9gPdAiQoVbKtNrWMzU4"
    make_site("embedded", SESSION_COOKIE_HTTPONLY=False, SECRET_KEY=strong)

    def found(**how: Any) -> list[Any]:
        return [message for message in run_checks(**how) if str(message.id).startswith("sojourn.")]

    assert found() == []
    unsafe, readable, *rest = found(include_deployment_checks=True)
    assert (unsafe.id, readable.id) == ("sojourn.W004", "sojourn.W005")
    assert [message.id for message in rest] == ["sojourn.I001", "sojourn.I003"]
    assert readable.hint == "Write:\nSESSION_COOKIE_HTTPONLY = True"
    assert "can read the cookie" in readable.msg


def test_a_project_without_SECRET_KEY_can_be_checked(make_site: Any) -> None:
    make_site("embedded", SECRET_KEY="")
    assert [message.id for message in run_checks() if str(message.id).startswith("sojourn.")] == [
        "sojourn.E001"
    ]


def test_a_relative_path_is_under_the_project_wherever_a_command_is_run(
    make_site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    site: Site = make_site("embedded", BASE_DIR=tmp_path, SOJOURN={"PATH": "kept/sessions.sqlite3"})
    site.saved(a=1)
    assert (tmp_path / "kept" / "sessions.sqlite3").is_file()


def test_a_file_of_another_application_is_improperly_configured(make_site: Any, tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
    path.chmod(0o600)
    site: Site = make_site("embedded", SOJOURN={"PATH": path})
    with pytest.raises(ImproperlyConfigured, match="another application"):
        site.saved(a=1)
