"""``CACHES`` entries for memcached, as arguments of :class:`~sojourn.stores.memcached.MemcachedStore`."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from sojourn.project import PYMEMCACHE

if TYPE_CHECKING:
    from sojourn.django.caches.entry import CacheEntry

__all__ = ["memcached_arguments"]

#: Options of Django's two backends that change nothing about what a session store promises: how values are
#: serialized (ours are bytes), which of several servers a key belongs to (ours has rules of its own), and
#: when to look on another server or to say "not there" while one does not answer (ours never does).
_PYMEMCACHE_OPTIONS: Final = frozenset(
    {
        *(
            "allow_unicode_keys",
            "connect_timeout",
            "dead_timeout",
            "default_noreply",
            "deserializer",
            "encoding",
        ),
        *("hasher", "ignore_exc", "lock_generator", "max_pool_size", "no_delay", "pool_idle_timeout"),
        *("retry_attempts", "retry_timeout", "serde", "serializer", "socket_keepalive", "use_pooling"),
        # honoured
        *("timeout", "tls_context"),
    }
)
_PYLIBMC_OPTIONS: Final = frozenset({"behaviors", "binary"})


def memcached_arguments(entry: CacheEntry, *, timeout: float) -> dict[str, Any]:
    """Return what the store is made with.  Raises ``ImproperlyConfigured``."""
    options = entry.options
    arguments: dict[str, Any] = {
        "servers": [_address(entry, location) for location in entry.locations(";,")],
        "key_prefix": entry.key_prefix,
        "timeout": timeout,
    }
    if entry.backend != PYMEMCACHE:
        if options.get("username") is not None or options.get("password") is not None:
            raise entry.error(
                "OPTIONS has a user and password: Sojourn speaks memcached's meta protocol, which has none. "
                "Let memcached listen where only the application gets (a unix socket, a private network) and "
                "leave them out, or keep sessions in Redis or Valkey"
            )
        entry.check_options(options, _PYLIBMC_OPTIONS | {"username", "password"})
        return arguments
    entry.check_options(options, _PYMEMCACHE_OPTIONS)
    theirs = entry.checked(options, "timeout", (int, float), "seconds, such as 2.0")
    if theirs is not None:
        arguments["timeout"] = min(timeout, theirs)
    tls = entry.checked(options, "tls_context", ssl.SSLContext, "what ssl.create_default_context() returns")
    if tls is not None:
        arguments["tls"] = tls
    return arguments


def _address(entry: CacheEntry, location: Any) -> str:
    """Return the address of a server; pymemcache takes a tuple of host and port, too."""
    match location:
        case str():
            return location.strip()
        case [str() as host, int() | str() as port]:
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case _:
            raise entry.error(
                f"each server in LOCATION has to be text, such as {entry.example!r}, or a tuple of host and "
                "port, such as [('127.0.0.1', 11211)]"
            )
