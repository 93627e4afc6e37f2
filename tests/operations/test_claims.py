"""What the doctor calls an error is one: Django itself serves no page that has a session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sojourn
from docs.faulty import FAULTY

ROOT = Path(__file__).parents[2]

#: A site of one page, which counts visits in the session.
SITE = """
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

SECRET_KEY = "VwN3x0Qe7Jk2YpR9sTzA4bDf6GhLmC8u"
ALLOWED_HOSTS = ["testserver"]
INSTALLED_APPS = ["django.contrib.sessions", "sojourn.django"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
ROOT_URLCONF = "__main__"
SESSION_ENGINE = "sojourn.django.backends.embedded"
SOJOURN = {{"PATH": {folder!r} + "/sessions/sessions.sqlite3"}}
{faulty}
settings.configure(**{{name: value for name, value in globals().items() if name.isupper()}})
django.setup()


def page(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse("a page")


urlpatterns = [path("", page)]

from django.test import Client

print(Client().get("/").status_code)
"""


def visit(faulty: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SITE.format(faulty=faulty, folder=str(folder))],
        cwd=folder,
        env={"PYTHONPATH": str(Path(sojourn.__file__).parents[1]), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("fault", [fault for fault in FAULTY if ".E" in fault])
def test_with_an_error_Django_serves_no_page_that_has_a_session(fault: str, tmp_path: Path) -> None:
    done = visit(FAULTY[fault], tmp_path)
    assert done.returncode != 0
    assert "Error" in done.stderr.splitlines()[-1] or "ImproperlyConfigured" in done.stderr


def test_without_one_it_does(tmp_path: Path) -> None:
    done = visit("", tmp_path)
    assert done.stdout == "200\n", done.stderr
