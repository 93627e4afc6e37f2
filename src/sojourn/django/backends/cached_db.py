"""``SESSION_ENGINE = "sojourn.django.backends.cached_db"``: the table of ``db``, with copies in a cache.

Takes the two steps more that ``db`` takes.  The cache is where ``CACHES`` says, as for ``cache``.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import connections, transaction

from sojourn.django.backends import db
from sojourn.django.caches import cache_entry, store_at, store_in
from sojourn.django.conf import sojourn_settings
from sojourn.django.database import AsyncDatabaseStore
from sojourn.django.engine import Engine, Place, engine_at
from sojourn.errors import ConfigurationError
from sojourn.project import DATABASE_CACHE, LOCMEM
from sojourn.stores.cached import AsyncCachedStore, CachedStore
from sojourn.stores.from_url import open_async_store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.django.caches import CacheEntry
    from sojourn.django.conf import SojournSettings

__all__ = ["SessionStore"]

logger = logging.getLogger("sojourn")

#: Seconds that the cache has to answer: there is a database to ask instead.
_PATIENCE: Final = 0.5
#: What comes after the prefix of the ``cache`` engine, whose sessions may be in the same cache.
_COPIES: Final = "copy/"
#: Caches that copies of sessions are not put into.
_WHY_NOT: Final = {
    LOCMEM: "is the memory of one process: what another one saves or ends would not be known here",
    DATABASE_CACHE: "is a table in a database, which answers no sooner than the one with the sessions",
}


class SessionStore(db.SessionStore):
    """A session in the database, as with ``db``, with a copy in the cache."""

    @classmethod
    def get_engine(cls) -> Engine:
        """Return the engine of the configured database and cache."""
        alias = db.database_of(cls.get_model_class())
        address = sojourn_settings().STORE
        if address is not None:
            opened = partial(_open, alias, cache=partial(store_at, address), named="SOJOURN['STORE']")
            return engine_at(("database", alias, address), opened, like="cached_db")
        entry = cache_entry(settings.SESSION_CACHE_ALIAS)
        where = ("database", alias, *entry.place)
        if entry.backend in _WHY_NOT:
            return engine_at(where, partial(_open_uncached, alias, entry), like="cached_db")
        opened = partial(_open, alias, cache=partial(store_in, entry), named=f"CACHES[{entry.alias!r}]")
        return engine_at(where, opened, like="cached_db")


def _open_uncached(alias: str, entry: CacheEntry, given: SojournSettings) -> Place:
    logger.warning(
        "CACHES[%r] %s, so no session is copied there and all come from the database. Name a memcached or "
        "Redis, or use SESSION_ENGINE = 'sojourn.django.backends.db'",
        entry.alias,
        _WHY_NOT[entry.backend],
    )
    return db.place_in(alias, given)


def _open(
    alias: str, given: SojournSettings, *, cache: Callable[[SojournSettings], Any], named: str
) -> Place:
    patience = min(given.TIMEOUT, _PATIENCE)
    # The cap on a user's sessions is the database's to keep.
    kind, arguments = cache(replace(given, TIMEOUT=patience, MAX_SESSIONS_PER_USER=None))
    arguments = {**arguments, "key_prefix": arguments.get("key_prefix", "sojourn:") + _COPIES}
    origin = db.place_in(alias, given)
    store: Any = origin.store
    try:
        cached = CachedStore(open_store(kind, arguments), store, after_commit=partial(_after_commit, alias))
        async_cached = AsyncCachedStore(
            open_async_store(kind, arguments), AsyncDatabaseStore(store), beside=cached
        )
        return Place(f"{origin.name}, with copies in {named}", cached, async_cached)
    except ConfigurationError as error:
        raise ConfigurationError(f"{named}: {error}") from error


def _after_commit(alias: str, write: Callable[[], object]) -> bool:
    """Keep what there is to be written to the cache until the transaction is committed, if there is one."""
    if not connections[alias].in_atomic_block:
        return False
    transaction.on_commit(write, using=alias)
    return True
