"""Who keeps sessions on servers: memcached and Redis, started for the run, and gone with it."""

from __future__ import annotations

import secrets
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import redis
from django.core.cache import caches
from pymemcache.client.base import Client

from bench.contenders import DjangoEngine
from bench.raw import payload_like
from tests.servers.memcached import Memcached
from tests.servers.valkey import PROGRAMS, Valkey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from django.contrib.sessions.backends.base import SessionBase

    from bench.contenders import Contender

__all__ = [
    "KEPT_OPEN",
    "MEMCACHED",
    "PYMEMCACHE",
    "RAW_MEMCACHED",
    "RAW_REDIS",
    "REDIS",
    "REDIS_CACHE",
    "networked",
    "servers",
]

PYMEMCACHE = "Django cache (PyMemcache)"
KEPT_OPEN = "Django, connection kept open"
REDIS_CACHE = "Django cache (Redis)"
MEMCACHED = "Sojourn memcached"
REDIS = "Sojourn Redis"
RAW_MEMCACHED = "raw pymemcache"
RAW_REDIS = "raw redis-py"

_DJANGOS: Final = "django.core.cache.backends"
_LASTING: Final = 1_209_600


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, Any]]:
    """Start what is installed; give the aliases for ``CACHES``."""
    aliases: dict[str, Any] = {}
    with ExitStack() as stack:
        if shutil.which("memcached"):
            memcached = stack.enter_context(Memcached("-m", "256"))
            aliases["memcached"] = {
                "BACKEND": f"{_DJANGOS}.memcached.PyMemcacheCache",
                "LOCATION": memcached.address,
                "OPTIONS": {"no_delay": True},
            }
        if any(shutil.which(program) for program in PROGRAMS):
            server = stack.enter_context(Valkey(folder / "redis"))
            aliases["redis"] = {
                "BACKEND": f"{_DJANGOS}.redis.RedisCache",
                "LOCATION": f"redis://{server.address}/0",
            }
        yield aliases


def networked(aliases: Mapping[str, Any]) -> dict[str, Contender]:
    """Return those whose servers there are, by name."""
    found: dict[str, Contender] = {}
    if "memcached" in aliases:
        found[PYMEMCACHE] = AsInRequests("bench.engines.django_memcached", alias="memcached")
        found[KEPT_OPEN] = DjangoEngine("bench.engines.django_memcached")
        found[MEMCACHED] = DjangoEngine("bench.engines.sojourn_memcached")
        found[RAW_MEMCACHED] = RawMemcached(aliases["memcached"]["LOCATION"])
    if "redis" in aliases:
        found[REDIS_CACHE] = DjangoEngine("bench.engines.django_redis")
        found[REDIS] = DjangoEngine("bench.engines.sojourn_redis")
        found[RAW_REDIS] = RawRedis(aliases["redis"]["LOCATION"])
    return found


class AsInRequests(DjangoEngine):
    """An engine whose cache closes its connection when a request ends, which each operation here stands for.

    (So does Django's for memcached: it connects anew in each request.)
    """

    def __init__(self, engine: str, *, alias: str) -> None:
        super().__init__(engine)
        self._alias = alias

    def _end(self) -> None:
        caches[self._alias].close()

    def new(self, values: Mapping[str, Any]) -> str:
        """See :meth:`Contender.new`."""
        token = super().new(values)
        self._end()
        return token

    def login(self, token: str) -> str:
        """See :meth:`Contender.login`."""
        token = super().login(token)
        self._end()
        return token

    def read(self, token: str) -> object:
        """See :meth:`Contender.read`."""
        value = super().read(token)
        self._end()
        return value

    def save(self, opened: SessionBase) -> None:
        """See :meth:`Contender.save`."""
        super().save(opened)
        self._end()

    def logout(self, token: str) -> None:
        """See :meth:`Contender.logout`."""
        super().logout(token)
        self._end()


class RawMemcached:
    """What pymemcache takes for a get, and for a get with its compare-and-set."""

    def __init__(self, address: str) -> None:
        self._client: Any = Client(address, no_delay=True, default_noreply=False)

    def new(self, values: Mapping[str, Any]) -> str:
        """Add a session of these values; return its key."""
        key = secrets.token_hex(32)
        self._client.add(key, payload_like(values), _LASTING)
        return key

    def login(self, key: str) -> str:
        """Get, add under a new key, delete, then set; return the new key."""
        payload, _ = self._client.gets(key)
        new_key = secrets.token_hex(32)
        self._client.add(new_key, payload, _LASTING)
        self._client.delete(key)
        self._client.set(new_key, payload, _LASTING)
        return new_key

    def read(self, key: str) -> object:
        """Get."""
        return self._client.get(key)

    def open(self, key: str) -> tuple[str, bytes, bytes]:
        """Get, with what the compare-and-set needs."""
        payload, cas = self._client.gets(key)
        return key, payload, cas

    def save(self, opened: tuple[str, bytes, bytes]) -> None:
        """Compare and set."""
        key, payload, cas = opened
        self._client.cas(key, payload, cas, _LASTING)

    def logout(self, key: str) -> None:
        """Get and delete."""
        self._client.get(key)
        self._client.delete(key)


#: Sets if the first bytes are as they were: the least that makes a save safe.
_COMPARE_AND_SET: Final = """
if redis.call("GETRANGE", KEYS[1], 0, 15) ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[2], "EX", ARGV[3])
return 1
"""


class RawRedis:
    """What redis-py takes for a get, and for a get with a script that compares and sets."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(url)
        self._save = self._client.script_load(_COMPARE_AND_SET)

    def new(self, values: Mapping[str, Any]) -> str:
        """Set a session of these values; return its key."""
        key = secrets.token_hex(32)
        self._client.set(key, payload_like(values), ex=_LASTING, nx=True)
        return key

    def login(self, key: str) -> str:
        """Get, rename, then set; return the new key."""
        payload = self._client.get(key)
        new_key = secrets.token_hex(32)
        self._client.rename(key, new_key)
        self._client.set(new_key, payload, ex=_LASTING)
        return new_key

    def read(self, key: str) -> object:
        """Get."""
        return self._client.get(key)

    def open(self, key: str) -> tuple[str, bytes]:
        """Get."""
        return key, self._client.get(key)

    def save(self, opened: tuple[str, bytes]) -> None:
        """Compare and set."""
        key, payload = opened
        self._client.evalsha(self._save, 1, key, payload[:16], payload, _LASTING)

    def logout(self, key: str) -> None:
        """Get and delete."""
        self._client.get(key)
        self._client.delete(key)
