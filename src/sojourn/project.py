"""What a Django project's settings may name: engines, cache backends, serializers; known without Django."""

from __future__ import annotations

from typing import Final

__all__ = [
    "DATABASE_CACHE",
    "DJANGOS",
    "DJANGO_REDIS",
    "DUMMY",
    "ELSEWHERE",
    "ENGINES",
    "EXAMPLES",
    "GONE",
    "JSON",
    "KNOWN",
    "LOCMEM",
    "OURS",
    "PYLIBMC",
    "PYMEMCACHE",
    "REDIS",
    "TIMEOUT",
]

#: What the names of our engines, and of Django's, begin with.
OURS: Final = "sojourn.django.backends."
DJANGOS: Final = "django.contrib.sessions.backends."

#: Every engine; Django has all but ``embedded``.
ENGINES: Final = ("cache", "cached_db", "db", "embedded", "file", "signed_cookies")

#: The serializer that Django takes where a project names none.
JSON: Final = "django.contrib.sessions.serializers.JSONSerializer"

_CACHES: Final = "django.core.cache.backends"
DUMMY: Final = f"{_CACHES}.dummy.DummyCache"
LOCMEM: Final = f"{_CACHES}.locmem.LocMemCache"
DATABASE_CACHE: Final = f"{_CACHES}.db.DatabaseCache"
PYMEMCACHE: Final = f"{_CACHES}.memcached.PyMemcacheCache"
PYLIBMC: Final = f"{_CACHES}.memcached.PyLibMCCache"
REDIS: Final = f"{_CACHES}.redis.RedisCache"
DJANGO_REDIS: Final = "django_redis.cache.RedisCache"

#: The backends sessions can be kept in, or in what is derived from them.
KNOWN: Final = frozenset({LOCMEM, DATABASE_CACHE, PYMEMCACHE, PYLIBMC, REDIS, DJANGO_REDIS})

#: What ``LOCATION`` of each kind of server looks like.
EXAMPLES: Final = {PYMEMCACHE: "127.0.0.1:11211", REDIS: "redis://127.0.0.1:6379/0"}

#: Backends that are no more, and what took their place.
GONE: Final = {
    f"{_CACHES}.memcached.MemcachedCache": PYMEMCACHE,
    "redis_cache.RedisCache": REDIS,
    "redis_cache.ShardedRedisCache": REDIS,
    "redis_cache.cache.RedisCache": REDIS,
    "redis_cache.backends.single.RedisCache": REDIS,
}

#: Backends that keep no sessions of ours, and why; the embedded engine does.
ELSEWHERE: Final = {
    f"{_CACHES}.filebased.FileBasedCache": "one file keeps them better than a folder of pickles",
    DUMMY: "it keeps nothing",
}

#: What messages of stores call the setting of the time they have.
TIMEOUT: Final = "timeout (in Django, SOJOURN['TIMEOUT'])"
