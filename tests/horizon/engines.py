"""The engines Horizon is run on: an entry each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from string import Template
from typing import TYPE_CHECKING, Literal, TypeAlias

import pytest

from tests.servers import mariadb
from tests.servers.mariadb import MariaDB
from tests.servers.memcached import Memcached
from tests.servers.postgresql import PostgreSQL
from tests.servers.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["ENGINES", "Budget", "Engine", "Need", "on"]

Need: TypeAlias = Literal["mariadb", "memcached", "postgresql", "valkey"]
#: One of these, which the tests start, kill and so on.
Server: TypeAlias = MariaDB | Memcached | PostgreSQL | Valkey

#: What is acknowledged has to live through a crash of the server, if not of the machine.
_SERVERS: dict[Need, Callable[[Path], Server]] = {
    "mariadb": lambda _: MariaDB(*mariadb.FAST),
    "memcached": lambda _: Memcached(),
    "postgresql": lambda _: PostgreSQL("fsync=off", "full_page_writes=off"),
    "valkey": lambda folder: Valkey(folder, "--appendonly", "yes"),
}
_DATABASES = ("mariadb", "postgresql")

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

    ``$folder`` stands for the deployment's folder, ``$memcached`` and ``$valkey`` for where those listen,
    ``$host`` and ``$port`` for where the database does.
    """

    name: str
    lines: str
    #: The servers it needs, by the fixtures of ``tests/servers`` that start such ones.
    needs: tuple[Need, ...] = ()
    workers: int = 2
    budget: Budget = Budget()
    #: Whether it goes through all checks.  One that differs from another in little does without most.
    is_checked_in_full: bool = True
    #: Those it needs, while they run.
    servers: Mapping[Need, Server] = field(default_factory=dict)

    @property
    def in_cookie(self) -> bool:
        """Whether the cookie is the session: of two answers at once the later one's counts."""
        return "signed_cookies" in self.lines

    @property
    def can_end_sessions(self) -> bool:
        """Whether a cookie from before a sign-out is good for nothing."""
        return not self.in_cookie or "COOKIE_REVOCATIONS" in self.lines

    @property
    def has_room(self) -> bool:
        """Whether the larger catalogue of these tests fits into a session."""
        return not self.in_cookie or "COOKIE_SPILL" in self.lines

    @property
    def djangos(self) -> Engine | None:
        """Django's engine in the same place: another prefix and nothing else.  ``None``: it has none."""
        if f"{_OURS}embedded" in self.lines:
            return None
        lines = self.lines.partition("SOJOURN = {")[0] if self.in_cookie else self.lines
        return replace(self, name=f"Django's {self.name}", lines=lines.replace(_OURS, _DJANGOS))

    def new_servers(self, folder: Path) -> Mapping[Need, Server]:
        """Return the servers it needs, not yet started."""
        return {need: _SERVERS[need](folder) for need in self.needs}

    def at(self, servers: Mapping[Need, Server]) -> Engine:
        """Return this engine with sessions in ``servers``."""
        return replace(
            self.moved({need: server.address for need, server in servers.items()}), servers=servers
        )

    def moved(self, addresses: Mapping[Need, str]) -> Engine:
        """Return this engine if its servers are at ``addresses``."""
        places: dict[str, str] = {}
        for need, address in addresses.items():
            places[need] = address
            if need in _DATABASES:
                places["host"], _, places["port"] = address.partition(":")
        return replace(self, lines=Template(self.lines).safe_substitute(places))


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
        is_checked_in_full=False,
    ),
    Engine(
        "cache in memcached",
        """
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": "$memcached",
    },
}
""",
        needs=("memcached",),
    ),
    Engine(
        "cache in Redis",
        """
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://$valkey/0",
    },
}
""",
        needs=("valkey",),
    ),
    Engine(
        "cache in Redis by django-redis",
        """
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://$valkey/0",
    },
}
""",
        needs=("valkey",),
        is_checked_in_full=False,
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
        needs=("postgresql",),
    ),
    Engine(
        "db in MariaDB",
        """
SESSION_ENGINE = "sojourn.django.backends.db"
ADD_INSTALLED_APPS = ["sojourn.django"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.mysql",
        "NAME": "sessions",
        "USER": "root",
        "HOST": "$host",
        "PORT": $port,
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 3, "read_timeout": 5, "write_timeout": 5},
    },
}
""",
        needs=("mariadb",),
    ),
    Engine(
        "cached_db in PostgreSQL and memcached",
        """
SESSION_ENGINE = "sojourn.django.backends.cached_db"
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
        "OPTIONS": {"connect_timeout": 3},
    },
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": "$memcached",
        "OPTIONS": {"connect_timeout": 1, "timeout": 1, "ignore_exc": True},
    },
}
""",
        needs=("postgresql", "memcached"),
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
    Engine(
        "cookies, nothing else",
        """
SESSION_ENGINE = "sojourn.django.backends.signed_cookies"
""",
        budget=Budget(page=0, sign_in=0, sign_in_after_a_failed_one=0, sign_out=0),
        is_checked_in_full=False,
    ),
    Engine(
        "cookies and a list of those that ended",
        """
SESSION_ENGINE = "sojourn.django.backends.signed_cookies"
SOJOURN = {"COOKIE_REVOCATIONS": "sqlite://$folder/sessions/ended.sqlite3"}
""",
        budget=Budget(sign_in=1),
        is_checked_in_full=False,
    ),
)


def on(
    which: Callable[[Engine], object] = lambda engine: engine.is_checked_in_full,
) -> pytest.MarkDecorator:
    """Run a test on each engine that ``which`` is true of, by default on those that go through all checks."""
    params = []
    for engine in filter(which, ENGINES):
        marks = [pytest.mark.asks_for(*engine.needs)] if engine.needs else []
        params.append(pytest.param(engine, id=engine.name, marks=marks))
    return pytest.mark.parametrize("engine", params, indirect=True, scope="session")
