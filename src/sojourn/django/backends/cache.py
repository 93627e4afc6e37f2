"""``SESSION_ENGINE = "sojourn.django.backends.cache"``: memcached, Redis or Valkey, a database or memory.

Where ``CACHES`` says; ``SESSION_CACHE_ALIAS`` names the alias, as for Django's engine of this name.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.cache import caches
from django.core.signals import request_started

from sojourn.django.backends import db
from sojourn.django.backends.base import SojournSession
from sojourn.django.caches import cache_entry, store_at, store_in
from sojourn.django.conf import sojourn_settings
from sojourn.django.engine import Engine, Place, engine_at
from sojourn.errors import ConfigurationError
from sojourn.project import DATABASE_CACHE, LOCMEM
from sojourn.stores.from_url import open_async_store, open_store
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.django.caches import CacheEntry, Made
    from sojourn.django.conf import SojournSettings

__all__ = ["SessionStore"]

logger = logging.getLogger("sojourn")

#: Octets a session may have in memcached, whose items have 1 MiB unless it is told otherwise.
_ITEM: Final = 1_000_000
#: Octets beside them: the seal, and whose it is.
_BESIDE: Final = 1_024


class SessionStore(SojournSession):
    """A session in the cache ``SESSION_CACHE_ALIAS`` names, or in the store at ``SOJOURN["STORE"]``."""

    @classmethod
    def get_engine(cls) -> Engine:
        """Return the engine of the configured cache."""
        address = sojourn_settings().STORE
        if address is not None:
            return engine_at(("store", address), partial(_at, address), like="cache")
        entry = cache_entry(settings.SESSION_CACHE_ALIAS)
        if entry.backend == LOCMEM:
            return engine_at(("memory", str(entry.location)), partial(_in_memory, entry), like="cache")
        if entry.backend == DATABASE_CACHE:
            db.SessionStore.get_model_class()  # or the error that says what a table takes
            cache: Any = caches[entry.alias]
            return db.engine_in(db.database_of(cache.cache_model_class), like="cache")
        return engine_at(entry.place, partial(_in_cache, entry), like="cache")


def _in_memory(entry: CacheEntry, given: SojournSettings) -> Place:
    if not settings.is_overridden("CACHES"):
        logger.warning(
            "there is no CACHES, so sessions are kept in the memory of this process, and everybody is signed "
            "out when it ends. Name a server in CACHES, or use SESSION_ENGINE = "
            "'sojourn.django.backends.embedded'."
        )
    _, arguments = store_in(entry, given)
    store = MemoryStore(**arguments)
    return Place("process memory", store, AsyncMemoryStore(store), sealed=False)


def _in_cache(entry: CacheEntry, given: SojournSettings) -> Place:
    return _on_servers(store_in(entry, given), f"CACHES[{entry.alias!r}]")


def _at(address: str, given: SojournSettings) -> Place:
    return _on_servers(store_at(address, given), "SOJOURN['STORE']")


def _on_servers(made: Made, configured: str) -> Place:
    kind, arguments = made
    limit: int | None = None
    if kind == "memcached":
        limit = int(arguments.get("max_payload", _ITEM))
        arguments = {**arguments, "max_payload": limit + _BESIDE}
    name = f"{'memcached' if kind == 'memcached' else 'Redis or Valkey'}, at {configured}"
    try:
        return Place(name, open_store(kind, arguments), open_async_store(kind, arguments), max_payload=limit)
    except ConfigurationError as error:
        raise ConfigurationError(f"{configured}: {error}") from error


#: It says that it has several processes, and has none.
_TEST_CLIENT: Final = "django.test.client"


def _warn_of_several_processes(environ: Mapping[str, Any] | None = None, **_: object) -> None:
    """Say once that sessions in process memory are not shared, if the server has several processes."""
    if environ is None or not environ.get("wsgi.multiprocess") or __name__ != settings.SESSION_ENGINE:
        return
    if type(environ.get("wsgi.input")).__module__ == _TEST_CLIENT:
        return
    request_started.disconnect(dispatch_uid=__name__)
    if sojourn_settings().STORE is not None or cache_entry(settings.SESSION_CACHE_ALIAS).backend != LOCMEM:
        return
    logger.warning(
        "sessions are kept in the memory of each process, but this server has several: users will be signed "
        "out at random. Use SESSION_ENGINE = 'sojourn.django.backends.embedded', which they all share."
    )


# With the import, which comes before the first request: its session is made when this signal is over.
request_started.connect(_warn_of_several_processes, dispatch_uid=__name__)
