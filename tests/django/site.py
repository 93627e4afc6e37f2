"""The project under test: one URL, whose view each request brings along, and browsers to visit it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from django.conf import settings
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from sojourn.django import engine as engines
from sojourn.testing import AsyncFaultyStore, FaultyStore
from tests.django.servers import CACHED, DATABASES, sites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from django.contrib.auth.models import User

    from tests.django.servers import Keeper

    View: TypeAlias = Callable[[HttpRequest], object]

__all__ = [
    "ENGINES",
    "FIREFOX",
    "MODEL_BACKEND",
    "Browser",
    "Site",
    "everywhere",
    "in_process",
    "sign_in",
    "sign_out",
    "with_index",
]

IN_PROCESS = ("cache", "embedded", "file")
#: Where our engines keep sessions: in this process, in databases, and on servers that ``CACHES`` names
#: (``servers.py``).
ENGINES = sites(*IN_PROCESS, *DATABASES, *CACHED, "redis", "memcached")

#: For tests of what several servers may get wrong.
everywhere = pytest.mark.parametrize(
    "site", ENGINES + sites("memcached nodes", "redis cluster", "redis sentinels"), indirect=True
)
#: For tests whose sessions end by the clock of this process; a server has one of its own.
in_process = pytest.mark.parametrize("site", sites(*IN_PROCESS, *DATABASES, *CACHED), indirect=True)
#: For tests that ask whose sessions there are; memcached cannot tell.
with_index = pytest.mark.parametrize("site", sites(*IN_PROCESS, *DATABASES, *CACHED, "redis"), indirect=True)
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

_views: dict[int, View] = {}
_numbers = itertools.count()


def _run(request: HttpRequest, number: int) -> HttpResponse:
    answer = _views[number](request)
    return answer if isinstance(answer, HttpResponse) else HttpResponse(str(answer))


urlpatterns = [path("<int:number>/", _run)]


class Browser:
    """Keeps the cookies of one browser and forgets those it is told to, which Django's client does not."""

    def __init__(self, *, user_agent: str = FIREFOX, token: str | None = None, **extra: Any) -> None:
        self.client = Client(raise_request_exception=False, HTTP_USER_AGENT=user_agent, **extra)
        if token is not None:
            self.token = token

    def visit(self, view: View, **extra: Any) -> Any:
        """Return the response of a request that ``view`` answers, behind the middleware."""
        number = next(_numbers)
        _views[number] = view
        try:
            response: Any = self.client.get(f"/{number}/", **extra)
        finally:
            del _views[number]
        for name, morsel in response.cookies.items():
            if morsel["max-age"] == 0:
                del self.client.cookies[name]
        return response

    @property
    def token(self) -> str | None:
        morsel = self.client.cookies.get(settings.SESSION_COOKIE_NAME)
        return None if morsel is None else morsel.value

    @token.setter
    def token(self, token: str) -> None:
        self.client.cookies[settings.SESSION_COOKIE_NAME] = token

    def twin(self) -> Browser:
        """Return another tab: what it sends is what this one sends now."""
        other = Browser(user_agent=self.client.defaults["HTTP_USER_AGENT"])
        other.client.cookies.load(self.client.cookies.output(attrs=[], header=""))
        return other


@dataclass(frozen=True)
class Site:
    """The site on one engine."""

    name: str
    folder: Path
    #: The servers that keep the sessions, if any do.
    servers: Sequence[Keeper] = ()

    @property
    def session_class(self) -> Any:
        return import_module(settings.SESSION_ENGINE).SessionStore

    def session(self, key: str | None = None) -> Any:
        """Return a session as the middleware would make it."""
        return self.session_class(key)

    def saved(self, **values: Any) -> Any:
        """Return a session that is stored and holds ``values``."""
        session = self.session()
        session.update(values)
        session.save()
        return session

    def stored(self, key: str | None) -> dict[str, Any]:
        """Return what is stored under the token; nothing if it is no session."""
        return dict(self.session(key).items())

    @property
    def engine(self) -> Any:
        return self.session_class.get_engine()

    @property
    def store(self) -> Any:
        """The site's store, also if it is watched."""
        store = self.engine.manager.store
        return getattr(store, "inner", store)

    def watch(self) -> FaultyStore:
        """Return a store that from now on counts what is asked of the site's, and fails as planned."""
        self.engine  # noqa: B018 - opens the place
        [(where, place)] = engines._places.items()
        watched = FaultyStore(place.store)
        engines._places[where] = replace(
            place, store=watched, async_store=AsyncFaultyStore(place.async_store)
        )
        engines._engines.clear()
        return watched

    def elsewhere(self) -> None:
        """Let sessions made from now on be those of another process: no turns are shared, only the store."""
        engines._engines.clear()

    @property
    def count(self) -> int:
        """How many sessions live; marks that a revocation leaves behind are none."""
        if not self.servers:
            return sum(bool(record.payload) for record in self.engine.manager.store.scan(limit=100_000))
        records = [self.store.load(key) for server in self.servers for key in self.keys(server)]
        return sum(record is not None and bool(record.payload) for record in records)

    def keys(self, server: Keeper) -> list[str]:
        """Return the lookup keys that lie on ``server``, of this site's only."""
        prefix: str = self.store._prefix.decode()
        names = [name.removeprefix(prefix) for name in server.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
        return [name for name in names if len(name) == 64]


def sign_in(user: User) -> View:
    return lambda request: login(request, user, backend=MODEL_BACKEND)


def sign_out(request: HttpRequest) -> None:
    logout(request)
