"""The engines Horizon is run on: an entry each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from string import Template
from typing import TYPE_CHECKING, Literal

import pytest

from tests.servers.memcached import Memcached
from tests.servers.postgresql import FAST, PostgreSQL
from tests.servers.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from tests.servers.process import Server

__all__ = ["ENGINES", "Budget", "Engine", "on"]

_OURS = "sojourn.django.backends."
_DJANGOS = "django.contrib.sessions.backends."


@dataclass(frozen=True, slots=True)
class Budget:
    """Operations of the store: the row of the engine in the design's table."""

    page: int = 1
    sign_in: int = 2
    sign_in_after_a_failed_one: int = 3
    sign_out: int = 2


@dataclass(frozen=True, slots=True)
class Engine:
    """Lines of ``local_settings.py`` that say where sessions are kept.

    ``$folder`` stands for the deployment's folder, ``$address``, or ``$host`` and ``$port``, for where the
    server listens.
    """

    name: str
    lines: str
    #: The server it needs, by the fixture of ``tests/servers`` that starts one like it.
    server: Literal["memcached", "postgresql", "valkey"] | None = None
    workers: int = 2
    budget: Budget = Budget()

    @property
    def in_cookie(self) -> bool:
        """Whether the cookie is the session: of two answers at once the later one's counts."""
        return "signed_cookies" in self.lines

    @property
    def djangos(self) -> Engine | None:
        """Django's engine in the same place: another prefix and nothing else.

        ``None``: it has none, or one whose cookie does not hold the larger catalogue of these tests.
        """
        if f"{_OURS}embedded" in self.lines or self.in_cookie:
            return None
        return replace(self, name=f"Django's {self.name}", lines=self.lines.replace(_OURS, _DJANGOS))

    def new_server(self, folder: Path) -> Server:
        """Return the server it needs, not yet started."""
        if self.server == "postgresql":
            return PostgreSQL(*FAST)
        return Memcached() if self.server == "memcached" else Valkey(folder)

    def at(self, server: Server) -> Self:
        """Return this engine with sessions in ``server``."""
        assert isinstance(server, Memcached | PostgreSQL | Valkey)
        return replace(self, lines=self.lines_for(server.address))

    def lines_for(self, address: str) -> str:
        """Return the lines if the server listens at ``address``."""
        host, _, port = address.partition(":")
        return Template(self.lines).safe_substitute(address=address, host=host, port=port)


ENGINES = (
    Engine(
        "embedded",
        """
SESSION_ENGINE = "sojourn.django.backends.embedded"
SOJOURN = {"PATH": "$folder/sessions/sessions.sqlite3"}
""",
    ),
    Engine(
        "file",
        """
SESSION_ENGINE = "sojourn.django.backends.file"
SESSION_FILE_PATH = "$folder"
""",
    ),
    Engine(
        "cache in memcached",
        """
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": "$address",
    },
}
""",
        server="memcached",
    ),
    Engine(
        "cache in Redis",
        """
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://$address/0",
    },
}
""",
        server="valkey",
    ),
    Engine(
        "db in SQLite",
        """
SESSION_ENGINE = "sojourn.django.backends.db"
ADD_INSTALLED_APPS = ["sojourn.django"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "$folder/horizon.sqlite3",
    },
}
""",
    ),
    Engine(
        "db in PostgreSQL",
        """
SESSION_ENGINE = "sojourn.django.backends.db"
ADD_INSTALLED_APPS = ["sojourn.django"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "sessions",
        "USER": "postgres",
        "HOST": "$host",
        "PORT": $port,
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    },
}
""",
        server="postgresql",
    ),
    Engine(
        "cached_db in SQLite and memcached",
        """
SESSION_ENGINE = "sojourn.django.backends.cached_db"
ADD_INSTALLED_APPS = ["sojourn.django"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "$folder/horizon.sqlite3",
    },
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": "$address",
    },
}
""",
        server="memcached",
        budget=Budget(sign_in=4, sign_in_after_a_failed_one=6, sign_out=3),
    ),
    Engine(
        "cache in process memory",
        """
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
    },
}
""",
        workers=1,
    ),
    Engine(
        "cookies",
        """
SESSION_ENGINE = "sojourn.django.backends.signed_cookies"
SOJOURN = {
    "COOKIE_REVOCATIONS": "sqlite://$folder/sessions/ended.sqlite3",
    "COOKIE_SPILL": "sqlite://$folder/sessions/large.sqlite3",
}
""",
        budget=Budget(sign_in=1),  # the larger catalogue spills
    ),
)


def on(which: Callable[[Engine], object] = lambda _: True) -> pytest.MarkDecorator:
    """Run a test on each engine that ``which`` is true of; those of one engine one after the other."""
    params = []
    for engine in filter(which, ENGINES):
        marks = [pytest.mark.xdist_group(engine.name)]
        if engine.server is not None:
            marks.append(pytest.mark.asks_for(engine.server))
        params.append(pytest.param(engine, id=engine.name, marks=marks))
    return pytest.mark.parametrize("engine", params, indirect=True, scope="session")
