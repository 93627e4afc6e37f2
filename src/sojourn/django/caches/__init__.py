"""Where ``CACHES`` says that sessions are kept, read as Django reads it.

``entry`` is one alias, ``memcached`` and ``redis`` say what a server's store is made with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.core.exceptions import ImproperlyConfigured

from sojourn.django.caches.entry import CacheEntry, cache_entry
from sojourn.django.caches.memcached import memcached_arguments
from sojourn.django.caches.redis import redis_arguments
from sojourn.errors import ConfigurationError
from sojourn.project import LOCMEM, PYLIBMC, PYMEMCACHE
from sojourn.stores.from_url import parsed

if TYPE_CHECKING:
    from sojourn.django.conf import SojournSettings

__all__ = ["CacheEntry", "Made", "cache_entry", "store_at", "store_in"]

#: The kind of store, as :func:`sojourn.stores.from_url.open_store` takes it, and what it is made with.
Made: TypeAlias = "tuple[str, dict[str, Any]]"

_KINDS: Final = {LOCMEM: "memory", PYMEMCACHE: "memcached", PYLIBMC: "memcached"}


def store_in(entry: CacheEntry, given: SojournSettings) -> Made:
    """Return the store that keeps sessions where ``entry`` says.  Raises ``ImproperlyConfigured``."""
    kind = _KINDS.get(entry.backend, "valkey")
    arguments: dict[str, Any] = {}
    if kind == "memory":
        arguments["max_bytes"] = given.MEMORY_LIMIT
    elif kind == "memcached":
        arguments = memcached_arguments(entry, timeout=given.TIMEOUT)
    else:
        arguments = redis_arguments(entry, timeout=given.TIMEOUT)
    return kind, _capped(kind, arguments, given)


def store_at(address: str, given: SojournSettings) -> Made:
    """Return the store at ``address``, for ``SOJOURN["STORE"]``.  Raises ``ImproperlyConfigured``."""
    try:
        kind, arguments = parsed(address)
    except ConfigurationError as error:
        raise ImproperlyConfigured(f"SOJOURN['STORE']: {error}") from error
    if kind not in ("memcached", "valkey"):
        raise ImproperlyConfigured(
            "SOJOURN['STORE'] is the address of a memcached or of a Redis or Valkey server; for process "
            "memory use LocMemCache in CACHES, for a file "
            "SESSION_ENGINE = 'sojourn.django.backends.embedded', for a table 'sojourn.django.backends.db'"
        )
    arguments.setdefault("timeout", given.TIMEOUT)
    if arguments.get("max_sessions_per_subject") is not None:
        raise ImproperlyConfigured(
            "max_sessions_per_subject in SOJOURN['STORE']: write SOJOURN = {'MAX_SESSIONS_PER_USER': "
            f"{arguments['max_sessions_per_subject']}, …}} instead"
        )
    return kind, _capped(kind, arguments, given)


def _capped(kind: str, arguments: dict[str, Any], given: SojournSettings) -> dict[str, Any]:
    """Return ``arguments`` with the cap on a user's sessions, if this kind of store can keep one."""
    cap = given.MAX_SESSIONS_PER_USER
    if kind != "memcached":
        return {**arguments, "max_sessions_per_subject": cap}
    if cap is not None:
        raise ImproperlyConfigured(
            "SOJOURN['MAX_SESSIONS_PER_USER'] cannot be kept in memcached, which does not know whose "
            "sessions it has: leave it out, or keep sessions in Redis, Valkey or "
            "SESSION_ENGINE = 'sojourn.django.backends.embedded'"
        )
    return arguments
