"""Deadlines on Django's connections, which have none of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from sojourn.stores.sql.watchdog import Watch

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["connect", "watch_of"]

#: Where a connection of Django's, which is one thread's, has its watch: found sooner there than in a mapping.
_NAME: Final = "sojourn_watch"


def watch_of(connection: BaseDatabaseWrapper) -> Watch:
    """Return the watch over whatever this is connected to, always the same one."""
    known = vars(connection)
    watch: Watch | None = known.get(_NAME)
    if watch is None:
        watch = known[_NAME] = Watch()
    return watch


def connect(connection: BaseDatabaseWrapper, watch: Watch) -> None:
    """Connect within the time that ``watch`` has left, in whole seconds, or sooner if the project says so.

    Raises Django's ``OperationalError``.  ``connect_timeout`` counts for each server that ``HOST`` names; a
    pool has a ``timeout`` of its own.
    """
    if watch.left == math.inf:
        connection.ensure_connection()
        return
    make: Any = connection.get_new_connection

    def make_in_time(parameters: dict[str, Any]) -> Any:
        left = max(1, math.ceil(watch.left))
        given = int(parameters.get("connect_timeout") or left)
        driver = make({**parameters, "connect_timeout": min(given, left)})
        watch.connected(driver)
        return driver

    # For this once: what else the application connects for is its own business.
    vars(connection)["get_new_connection"] = make_in_time
    try:
        connection.ensure_connection()
    finally:
        del vars(connection)["get_new_connection"]
