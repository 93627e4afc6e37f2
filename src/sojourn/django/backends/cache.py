"""``SESSION_ENGINE = "sojourn.django.backends.cache"``: sessions where ``CACHES`` says.

``SESSION_CACHE_ALIAS`` names the cache, as for Django's engine of this name.  ``LocMemCache`` becomes a
memory store in this process, not shared with other processes and lost on restart.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_started

from sojourn.django.backends.base import SojournSession
from sojourn.django.engine import Engine, Place, engine_at
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.django.conf import SojournSettings

__all__ = ["SessionStore"]

logger = logging.getLogger("sojourn")

_LOCMEM: Final = "django.core.cache.backends.locmem.LocMemCache"


class SessionStore(SojournSession):
    """A session in the cache ``SESSION_CACHE_ALIAS`` names."""

    @classmethod
    def get_engine(cls) -> Engine:
        """Return the engine of the configured cache."""
        cache = _configured_cache()
        return engine_at(("memory", str(cache.get("LOCATION", ""))), _memory, like="cache")


def _configured_cache() -> Mapping[str, Any]:
    alias = settings.SESSION_CACHE_ALIAS
    cache: Mapping[str, Any] | None = settings.CACHES.get(alias)
    if cache is None:
        raise ImproperlyConfigured(
            f"SESSION_CACHE_ALIAS is {alias!r}, but CACHES has no {alias!r}: add it, or name one it has"
        )
    if cache.get("BACKEND") != _LOCMEM:
        raise ImproperlyConfigured(
            f"sojourn.django.backends.cache cannot keep sessions in {cache.get('BACKEND')!r} yet: use "
            f"{_LOCMEM!r} (one process), or SESSION_ENGINE = 'sojourn.django.backends.embedded' "
            "(all processes of a machine, survives restarts)"
        )
    return cache


def _memory(given: SojournSettings) -> Place:
    store = MemoryStore(max_bytes=given.MEMORY_LIMIT, max_sessions_per_subject=given.MAX_SESSIONS_PER_USER)
    return Place("process memory", store, AsyncMemoryStore(store), sealed=False)


def _warn_of_several_processes(environ: Mapping[str, Any] | None = None, **_: object) -> None:
    """Say once that sessions in process memory are not shared, if the server has several processes."""
    if environ is None or not environ.get("wsgi.multiprocess") or __name__ != settings.SESSION_ENGINE:
        return
    request_started.disconnect(dispatch_uid="sojourn.django.backends.cache")
    logger.warning(
        "sessions are kept in the memory of each process, but this server has several: users will be signed "
        "out at random. Use SESSION_ENGINE = 'sojourn.django.backends.embedded', which they all share."
    )


# With the import, which comes before the first request: its session is made when this signal is over.
request_started.connect(_warn_of_several_processes, dispatch_uid="sojourn.django.backends.cache")
