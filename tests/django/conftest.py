"""A Django project in this process, with each of our engines in turn."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import django
import pytest
import pytest_asyncio
from django import conf

if not conf.settings.configured:
    conf.settings.configure(
        ALLOWED_HOSTS=["testserver"],
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASE_ROUTERS=["tests.django.databases.Router"],
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "sojourn.django",
        ],
        LOGGING_CONFIG=None,
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF="tests.django.site",
        SECRET_KEY="a secret for tests, of fifty characters or thereabouts",
        USE_TZ=True,
    )
    django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from sojourn.clock import SystemClock
from sojourn.django import engine as engines
from sojourn.testing import FakeClock
from tests.django.databases import entry_for, sessions_in
from tests.django.servers import DATABASES, IN_CACHES, database_of, on_servers
from tests.django.site import ENGINES, Site
from tests.django.wire import KINDS, OURS, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def database() -> Iterator[None]:
    call_command("migrate", verbosity=0)
    yield
    connection.close()
    if connection.connection is not None:  # Django keeps a database in memory open
        connection.connection.close()


@pytest.fixture(scope="session")
def users(database: None) -> dict[str, User]:
    return {name: User.objects.create_user(name, password=name) for name in ("alice", "bob")}


@pytest.fixture
def alice(users: dict[str, User]) -> User:
    return User.objects.get(pk=users["alice"].pk)


@pytest.fixture
def bob(users: dict[str, User]) -> User:
    return User.objects.get(pk=users["bob"].pk)


@pytest.fixture
def make_site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Make a site on the engine, or on the servers, named; what it opened is closed after the test."""
    kept = dict(engines._places), dict(engines._engines)
    engines._places.clear()
    engines._engines.clear()
    overrides: list[Any] = []
    stack = ExitStack()

    def make(name: str, **more: Any) -> Site:
        on_them, servers = on_servers(name, request)
        database = database_of(name)
        if database is not None:
            stack.close()
            fixture = DATABASES[database]
            where = tmp_path / "db.sqlite3" if fixture is None else request.getfixturevalue(fixture)
            alias = stack.enter_context(sessions_in(entry_for(where)))
        engine = "cache" if servers else name.partition(" on ")[0]
        chosen: dict[str, Any] = {
            "SESSION_ENGINE": f"sojourn.django.backends.{engine}",
            "SESSION_FILE_PATH": str(tmp_path),
            "SOJOURN": {"PATH": tmp_path / "private" / "sessions.sqlite3"},
        }
        override = override_settings(**chosen | on_them | more)
        override.enable()
        overrides.append(override)
        if name in IN_CACHES:
            call_command("createcachetable", database=alias, verbosity=0)
        return Site(name, tmp_path, servers)

    yield make
    for override in reversed(overrides):
        override.disable()
    for place in engines._places.values():
        asyncio.run(place.async_store.close())
        place.store.close()
    engines._places.clear()
    engines._engines.clear()
    engines._places.update(kept[0])
    engines._engines.update(kept[1])
    stack.close()


@pytest_asyncio.fixture
async def _in_the_loop(make_site: Any) -> AsyncIterator[None]:
    """Close connections to servers in the event loop that opened them: a test's own."""
    yield
    for place in engines._places.values():
        await place.async_store.close()


@pytest.fixture(autouse=True)
def _close_in_the_loop(request: pytest.FixtureRequest) -> None:
    if "make_site" in request.fixturenames and asyncio.iscoroutinefunction(request.function):
        request.getfixturevalue("_in_the_loop")


@pytest.fixture(params=ENGINES)
def site(request: pytest.FixtureRequest, make_site: Any) -> Site:
    """A site on each of our engines in turn."""
    made: Site = make_site(request.param)
    return made


@pytest.fixture
def change_settings(make_site: Any) -> Iterator[Any]:
    """Change settings until the end of the test."""
    overrides: list[Any] = []

    def change(**settings: Any) -> None:
        override = override_settings(**settings)
        override.enable()
        overrides.append(override)

    yield change
    for override in reversed(overrides):
        override.disable()


@pytest.fixture(params=KINDS)
def make_wire(request: pytest.FixtureRequest, make_site: Any) -> Callable[..., Wire]:
    """Make a site behind Sojourn's middleware, served by WSGI and by ASGI."""

    def make(name: str = "cache", **more: Any) -> Wire:
        chosen = {"MIDDLEWARE": [OURS], "ROOT_URLCONF": "tests.django.wire"} | more
        return Wire(make_site(name, **chosen), request.param)

    return make


@pytest.fixture
def wire(make_wire: Callable[..., Wire]) -> Wire:
    """A site with the default settings, sessions in memory."""
    return make_wire()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of everything of ours; it starts at the present time, for Django looks at its own."""
    fake = FakeClock(now=SystemClock().now())
    monkeypatch.setattr(SystemClock, "now", lambda _: fake.now())
    return fake
