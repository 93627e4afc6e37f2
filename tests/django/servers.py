"""Sites whose sessions are on servers: what a project has in its settings for each."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pytest

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

__all__ = [
    "CACHED",
    "DATABASES",
    "DATABASE_CACHE",
    "DJANGO_REDIS",
    "HAS_PYLIBMC",
    "IN_CACHES",
    "PYLIBMC",
    "PYMEMCACHE",
    "REDIS",
    "Keeper",
    "database_of",
    "on_servers",
    "sites",
]


class Keeper(Protocol):
    """A server of ``tests/servers`` that can be looked into."""

    def keys(self) -> list[str]: ...


#: Settings, and the servers they name.
Made: TypeAlias = tuple[dict[str, Any], Sequence[Keeper]]

DATABASE_CACHE = "django.core.cache.backends.db.DatabaseCache"
PYMEMCACHE = "django.core.cache.backends.memcached.PyMemcacheCache"
PYLIBMC = "django.core.cache.backends.memcached.PyLibMCCache"
REDIS = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"


#: It has no wheels for later versions of Python.
HAS_PYLIBMC = sys.version_info < (3, 12)


def _memcached(server: Any, backend: str = PYMEMCACHE) -> Made:
    return _cache(BACKEND=backend, LOCATION=server.address), [server]


def _memcached_nodes(servers: Any) -> Made:
    return _cache(BACKEND=PYMEMCACHE, LOCATION=[server.address for server in servers]), servers


def _redis(server: Any) -> Made:
    return _cache(BACKEND=REDIS, LOCATION=f"redis://{server.address}/0"), [server]


def _django_redis(server: Any, **options: Any) -> Made:
    return _cache(BACKEND=DJANGO_REDIS, LOCATION=f"redis://{server.address}/0", OPTIONS=options), [server]


def _sentinels(sentinels: Any) -> Made:
    options = {
        "CLIENT_CLASS": "django_redis.client.SentinelClient",
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "SENTINELS": [tuple(address.split(":")) for address in sentinels.addresses],
    }
    location = f"redis://{sentinels.name}/0"
    return _cache(BACKEND=DJANGO_REDIS, LOCATION=location, OPTIONS=options), sentinels.servers[:1]


def _cluster(cluster: Any) -> Made:
    address = f"redis+cluster://{','.join(cluster.addresses)}/?key_prefix={_unused()}:"
    return {"SOJOURN": {"STORE": address, "ADOPT": None}}, cluster.nodes[: cluster.primaries]


def _cache(**entry: Any) -> dict[str, Any]:
    return {"CACHES": {"default": {"KEY_PREFIX": _unused(), **entry}}, "SOJOURN": {}}


def _unused() -> str:
    """Return a prefix that no other test has on a server they share."""
    return f"t{secrets.token_hex(6)}"


#: The fixture with the servers, and what makes settings of it.
SERVERS: dict[str, tuple[str, Callable[[Any], Made]]] = {
    "memcached": ("memcached", _memcached),
    "memcached nodes": ("memcached_nodes", _memcached_nodes),
    "pylibmc": ("memcached", partial(_memcached, backend=PYLIBMC)),
    "redis": ("valkey", _redis),
    "django-redis": ("valkey", _django_redis),
    "django-redis, JSON, compressed": (
        "valkey",
        partial(
            _django_redis,
            SERIALIZER="django_redis.serializers.json.JSONSerializer",
            COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
        ),
    ),
    "redis sentinels": ("valkey_sentinels", _sentinels),
    "redis cluster": ("valkey_cluster", _cluster),
}

#: Databases, and the fixture with their server: ``None`` if they are a file.
DATABASES: dict[str, str | None] = {"db": None, "db on postgresql": "postgresql", "db on mariadb": "mariadb"}

#: Databases with a cache before them: on which servers the copies are, and the database as above.
CACHED: dict[str, tuple[str, str]] = {
    "cached_db on memcached": ("memcached", "db"),
    "cached_db on redis": ("redis", "db"),
    "cached_db on memcached and postgresql": ("memcached", "db on postgresql"),
    "cached_db on redis and mariadb": ("redis", "db on mariadb"),
}

#: Databases that ``CACHES`` names, by ``DatabaseCache``: the database as above.
IN_CACHES: dict[str, str] = {
    "cache on db": "db",
    "cache on postgresql": "db on postgresql",
    "cache on mariadb": "db on mariadb",
}


def sites(*names: str) -> list[ParameterSet]:
    """Return the sites of these names as parameters of a test, which asks for the servers they need."""
    return [
        pytest.param(name, marks=[pytest.mark.asks_for(fixture) for fixture in fixtures_of(name)])
        for name in names
    ]


def fixtures_of(name: str) -> list[str]:
    """Return the fixtures with the servers that the site of that name needs."""
    if name in CACHED:
        return [fixture for part in CACHED[name] for fixture in fixtures_of(part)]
    fixture = SERVERS[name][0] if name in SERVERS else DATABASES.get(IN_CACHES.get(name, name))
    return [] if fixture is None else [fixture]


def database_of(name: str) -> str | None:
    """Return the site's database, by its name in ``DATABASES``; ``None`` if it has none."""
    if name in CACHED:
        return CACHED[name][1]
    return IN_CACHES.get(name, name if name in DATABASES else None)


def on_servers(name: str, request: pytest.FixtureRequest) -> Made:
    """Return the settings of a site of that name, and the servers; none for one in this process."""
    if name in CACHED:  # the sessions themselves are in the database
        return on_servers(CACHED[name][0], request)[0], ()
    if name in IN_CACHES:
        return _cache(BACKEND=DATABASE_CACHE, LOCATION="django_cache"), ()
    if name not in SERVERS:
        return {}, ()
    fixture, settings_on = SERVERS[name]
    return settings_on(request.getfixturevalue(fixture))
