"""What Django's cache engine stored, taken from the server as it is: nothing here unpickles.

Django's own cache object says which server, which key and how values are written.  It is not asked for the
value, for two reasons: it would unpickle, and its clients may call a session "not there" while its server
does not answer.
"""

from __future__ import annotations

import base64
import zlib
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.utils import timezone
from django.utils.module_loading import import_string

from sojourn.django.caches.entry import cache_entry
from sojourn.errors import ConfigurationError
from sojourn.project import DATABASE_CACHE, DJANGO_REDIS, LOCMEM, PYLIBMC, PYMEMCACHE, REDIS
from sojourn.token import Token
from sojourn.values import MAX_SIZE, SerializerCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FormerCache", "Pickled", "former_cache"]


class Pickled(bytes):
    """A pickle, not read yet."""

    __slots__ = ()


class FormerCache(Protocol):
    """A cache that Django's engine kept sessions in.  Either call raises whatever the driver raises."""

    @property
    def thread_sensitive(self) -> bool | None:
        """Whether it is asked in the thread of the request's database work, as ``sync_to_async`` takes it.

        ``None``: in any thread, for it is in this process and nobody waits.
        """
        ...

    def load(self, key: str) -> Any:
        """Return what is under Django's ``key``: a :class:`Pickled`, or what another serializer makes of it.

        ``None`` only if the server says that there is nothing.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete what is under Django's ``key``."""
        ...


def former_cache(alias: str, *, timeout: float) -> FormerCache:
    """Return the cache ``alias``, to be read without unpickling.

    ``timeout``, in seconds, is for servers whose options set none.  No I/O.  Raises ``ImproperlyConfigured``.
    """
    try:
        return _FORMER[cache_entry(alias).backend](alias, timeout)
    except (ConfigurationError, ImproperlyConfigured, ImportError) as error:
        raise ImproperlyConfigured(
            f"Django's sessions in CACHES[{alias!r}] cannot be taken over ({error}): put that right, or "
            "write SOJOURN = {'ADOPT': None}; then everybody signs in again"
        ) from error


def _made(alias: str, defaults: dict[str, Any], forced: dict[str, Any]) -> Any:
    """Return Django's object for the cache, a new one, with other options."""
    parameters: dict[str, Any] = dict(settings.CACHES[alias])
    backend, location = import_string(parameters.pop("BACKEND")), parameters.pop("LOCATION", "")
    options = {**defaults, **(parameters.get("OPTIONS") or {}), **forced}
    return backend(location, {**parameters, "OPTIONS": options})


def _name(cache: Any, key: str) -> str:
    """Return the name of ``key`` on the server; it holds a token."""
    return Token(cache.make_and_validate_key(key))


class _OnServers:
    """Any cache that is asked over a socket."""

    thread_sensitive = False


class _LocMem:
    """``LocMemCache``."""

    thread_sensitive = None

    def __init__(self, alias: str, _: float) -> None:
        self._alias = alias

    def load(self, key: str) -> Any:
        cache: Any = caches[self._alias]
        name = _name(cache, key)
        with cache._lock:  # noqa: SLF001 - get() would unpickle whatever is there
            pickled = None if cache._has_expired(name) else cache._cache[name]  # noqa: SLF001
        return None if pickled is None else Pickled(pickled)

    def delete(self, key: str) -> None:
        caches[self._alias].delete(key)


class _InDatabase:
    """``DatabaseCache``.  In the database it is written to: a replica may not know yet."""

    thread_sensitive = True

    def __init__(self, alias: str, _: float) -> None:
        self._alias = alias
        self._exists: bool | None = None  # not looked yet

    def load(self, key: str) -> Any:
        cache, connection = self._opened()
        if not self._table_exists(cache, connection):
            return None
        quote, now = connection.ops.quote_name, timezone.now().replace(microsecond=0)
        statement = (
            f"SELECT {quote('value')} FROM {quote(cache._table)} "  # noqa: S608, SLF001 - a name of the project's
            f"WHERE {quote('cache_key')} = %s AND {quote('expires')} > %s"
        )
        with connection.cursor() as cursor:
            cursor.execute(statement, [_name(cache, key), connection.ops.adapt_datetimefield_value(now)])
            row = cursor.fetchone()
        return None if row is None else Pickled(base64.b64decode(row[0]))

    def delete(self, key: str) -> None:
        cache, connection = self._opened()
        if self._table_exists(cache, connection):
            cache.delete(key)

    def _opened(self) -> tuple[Any, Any]:
        cache: Any = caches[self._alias]
        return cache, connections[router.db_for_write(cache.cache_model_class)]

    def _table_exists(self, cache: Any, connection: Any) -> bool:
        """Whether ``createcachetable`` was ever run, which is asked once in the life of the process."""
        if self._exists is None:
            self._exists = cache._table in connection.introspection.table_names()  # noqa: SLF001
        return self._exists


# --- memcached ---------------------------------------------------------------------------------------

#: What both of Django's clients for memcached write into an item's flags.
_PICKLE: Final = 1
_COMPRESSED: Final = 8


class _AsStored:
    """Of pymemcache: reads a value as bytes and flags."""

    def deserialize(self, _: object, value: bytes, flags: int) -> Any:
        return _as_stored(value, flags)


def _as_stored(value: bytes, flags: int) -> Any:
    if flags & _COMPRESSED:
        inflating = zlib.decompressobj()
        value = inflating.decompress(value, MAX_SIZE)
        if not inflating.eof:
            raise ValueError("a compressed session is damaged or larger than any may be")
    return Pickled(value) if flags & _PICKLE else value


class _PyMemcache(_OnServers):
    """``PyMemcacheCache``.  The client of the one server, which raises, and not the one of several.

    That answers ``None`` for a while after a failure, and then looks on other servers.
    """

    def __init__(self, alias: str, timeout: float) -> None:
        serde: Any = (settings.CACHES[alias].get("OPTIONS") or {}).get("serde")
        compressed: Any = import_string("pymemcache.serde.CompressedSerde")
        inner: Any = serde._serde if type(serde) is compressed else serde  # noqa: SLF001
        if inner is not None and type(inner) is not import_string("pymemcache.serde.PickleSerde"):
            raise ConfigurationError(f"how {type(serde).__name__}, its serde, writes values is not known")
        self._open: Callable[[], Any] = lambda: _made(
            alias, {"timeout": timeout, "connect_timeout": timeout}, {"serde": _AsStored()}
        )

    def load(self, key: str) -> Any:
        cache = self._open()
        with closing(cache):
            name = _name(cache, key)
            return cache._cache._get_client(name).get(name)  # noqa: SLF001 - as said

    def delete(self, key: str) -> None:
        cache = self._open()
        with closing(cache):
            name = _name(cache, key)
            cache._cache._get_client(name).delete(name)  # noqa: SLF001


class _PyLibMC(_OnServers):
    """``PyLibMCCache``.  A new client each time: one that has met failures may look on other servers."""

    def __init__(self, alias: str, _: float) -> None:
        self._alias = alias

        def deserialize(_: object, value: bytes, flags: int) -> Any:
            return _as_stored(value, flags)

        self._client = type("AsStored", (import_string("pylibmc.Client"),), {"deserialize": deserialize})

    def _open(self) -> Any:
        cache = _made(self._alias, {}, {})
        cache._class = self._client  # noqa: SLF001 - Django has no option for it
        return cache

    def load(self, key: str) -> Any:
        cache = self._open()
        return cache._cache.get(_name(cache, key))  # noqa: SLF001

    def delete(self, key: str) -> None:
        cache = self._open()
        cache._cache.delete(_name(cache, key))  # noqa: SLF001


# --- Redis -------------------------------------------------------------------------------------------


class _Redis(_OnServers):
    """``RedisCache``.  On the primary: a replica may not know yet."""

    def __init__(self, alias: str, timeout: float) -> None:
        once: Any = import_string("redis.retry.Retry")(import_string("redis.backoff.NoBackoff")(), 0)
        defaults = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": once}
        self._open: Callable[[], Any] = lambda: _made(alias, defaults, {})
        self._loads = _loads_of(self._open()._cache._serializer)  # noqa: SLF001

    def load(self, key: str) -> Any:
        cache = self._open()
        name = _name(cache, key)
        client = cache._cache.get_client(name, write=True)  # noqa: SLF001
        with closing(client.connection_pool):
            value: bytes | None = client.get(name)
        return None if value is None else self._loads(value)

    def delete(self, key: str) -> None:
        cache = self._open()
        name = _name(cache, key)
        client = cache._cache.get_client(name, write=True)  # noqa: SLF001
        with closing(client.connection_pool):
            client.delete(name)


class _DjangoRedis(_OnServers):
    """django-redis.  Its client raises where its cache may keep silent."""

    def __init__(self, alias: str, _: float) -> None:
        self._alias = alias
        client = self._client()
        kind = type(client).__name__
        if kind not in ("DefaultClient", "SentinelClient"):
            raise ConfigurationError(f"how {kind}, its CLIENT_CLASS, writes values is not known")
        self._loads = _loads_of(client._serializer)  # noqa: SLF001
        self._not_compressed: type[Exception] = import_string("django_redis.exceptions.CompressorError")

    def _client(self) -> Any:
        cache: Any = caches[self._alias]
        return cache.client

    def load(self, key: str) -> Any:
        client = self._client()
        value: Any = client.get_client(write=True).get(Token(client.make_key(key)))
        if value is None:
            return None
        with suppress(self._not_compressed):  # small values are not compressed
            value = client._compressor.decompress(value)  # noqa: SLF001
        return self._loads(value)

    def delete(self, key: str) -> None:
        client = self._client()
        client.get_client(write=True).delete(Token(client.make_key(key)))


#: Whose ``loads`` unpickles, and nothing else.
_PICKLING: Final = (
    "django.core.cache.backends.redis.RedisSerializer",
    "django_redis.serializers.pickle.PickleSerializer",
)


def _loads_of(serializer: Any) -> Callable[[bytes], Any]:
    """Return how to read what ``serializer`` wrote.

    Raises ``ConfigurationError`` for one that rebuilds objects in a way of its own.
    """
    loads = type(serializer).loads
    if f"{loads.__module__}.{loads.__qualname__.rpartition('.')[0]}" in _PICKLING:
        return Pickled
    SerializerCodec(serializer)
    own: Callable[[bytes], Any] = serializer.loads
    return own


_FORMER: Final[Mapping[str, Callable[[str, float], FormerCache]]] = {
    LOCMEM: _LocMem,
    DATABASE_CACHE: _InDatabase,
    PYMEMCACHE: _PyMemcache,
    PYLIBMC: _PyLibMC,
    REDIS: _Redis,
    DJANGO_REDIS: _DjangoRedis,
}
