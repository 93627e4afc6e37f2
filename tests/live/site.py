"""A small Django site for a real server.  The environment says where it keeps what.

``SITE`` is its folder, ``ENGINE`` its ``SESSION_ENGINE``, ``SOJOURN`` and ``CACHES`` those settings as JSON,
``MIDDLEWARE`` the one for sessions.  ``DATABASE`` is the entry of ``DATABASES``, likewise, where Sojourn
has a table; without it the database is a file, and it has none.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase

FOLDER = Path(os.environ["SITE"])

LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

FILE = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(FOLDER / "db.sqlite3")}

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    BASE_DIR=FOLDER,
    CACHES=json.loads(os.environ.get("CACHES", json.dumps(LOCMEM))),
    DATABASES={"default": json.loads(os.environ.get("DATABASE", json.dumps(FILE)))},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        *(["sojourn.django"] if "DATABASE" in os.environ else []),
    ],
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


_present: list[str] = []
_everybody = asyncio.Event()


async def meet(request: HttpRequest, count: int) -> HttpResponse:
    """Read the session, wait until ``count`` requests have got as far, and write it."""
    visits: int = await request.session.aget("visits", 0)
    _present.append("")
    if len(_present) == count:
        _everybody.set()
    await asyncio.wait_for(_everybody.wait(), 60)
    await request.session.aset("visits", visits + 1)
    return JsonResponse({"visits": visits + 1, "met": len(_present)})


async def visit(request: HttpRequest) -> HttpResponse:
    """Read and write the session."""
    visits: int = await request.session.aget("visits", 0)
    await request.session.aset("visits", visits + 1)
    return JsonResponse({"visits": visits + 1})


_started: list[str] = []
_start = threading.Thread.start


def _start_and_note(thread: threading.Thread) -> None:
    _started.append(thread.name)
    _start(thread)


threading.Thread.start = _start_and_note  # type: ignore[method-assign, assignment]


async def threads(request: HttpRequest) -> HttpResponse:
    """Name the threads started so far, without a look at the session."""
    return JsonResponse({"started": _started})


urlpatterns = [
    path("meet/<int:count>/", meet),
    path("visit/", visit),
    path("threads/", threads),
    path("sign-in/<name>/", sign_in),
    path("put/<key>/", put),
    path("show/", show),
    path("sign-out/", sign_out),
]
