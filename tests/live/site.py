"""A small Django site for a real server.  The environment says where it keeps what.

``SITE`` is its folder, ``ENGINE`` its ``SESSION_ENGINE``, ``SOJOURN`` that setting as JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase

FOLDER = Path(os.environ["SITE"])

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    BASE_DIR=FOLDER,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        os.environ.get("MIDDLEWARE", "django.contrib.sessions.middleware.SessionMiddleware"),
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="a secret for tests, of fifty characters or thereabouts",
    SESSION_ENGINE=os.environ["ENGINE"],
    SESSION_FILE_PATH=str(FOLDER),
    SOJOURN=json.loads(os.environ.get("SOJOURN", "{}")),
    USE_TZ=True,
)
django.setup()

from django.contrib.auth import login, logout  # noqa: E402 - after the settings
from django.contrib.auth.models import User  # noqa: E402


def sign_in(request: HttpRequest, name: str) -> HttpResponse:
    user, _ = User.objects.get_or_create(username=name)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session["basket"] = {"items": [name]}
    return show(request)


def put(request: HttpRequest, key: str) -> HttpResponse:
    """Keep ``key``, as an assignment; answers 200 only if the save was made."""
    if request.user.is_authenticated:
        request.session[key] = True
    return show(request)


def show(request: HttpRequest) -> HttpResponse:
    session: SessionBase = request.session
    return JsonResponse(
        {
            "user": request.user.get_username() or None,
            "keys": sorted(key for key in session.keys() if not key.startswith("_")),  # noqa: SIM118
            "basket": session.get("basket"),
            "pid": os.getpid(),
        }
    )


def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return show(request)


urlpatterns = [
    path("sign-in/<name>/", sign_in),
    path("put/<key>/", put),
    path("show/", show),
    path("sign-out/", sign_out),
]
