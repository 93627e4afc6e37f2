"""``manage.py sojourn_partition``: what ``SOJOURN["PARTITION_BY"]`` needs once."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from sojourn.django.database import DatabaseStore
from sojourn.django.engine import configured_engine
from sojourn.errors import SessionError

__all__ = ["Command"]


class Command(BaseCommand):
    """Partitions the table that ``migrate`` made."""

    help = (
        "Partitions the table of sessions by day, once, for PARTITION_BY. No row moves, nobody has to wait."
    )

    def handle(self, *_: object, **__: Any) -> None:
        """See Django."""
        engine = configured_engine()
        store = None if engine is None else engine.manager.store
        origin = getattr(store, "origin", store)
        if not isinstance(origin, DatabaseStore):
            raise CommandError(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}, which keeps no table: set "
                "'sojourn.django.backends.db' or 'sojourn.django.backends.cached_db' first"
            )
        try:
            done = origin.partition()
        except SessionError as error:
            raise CommandError(str(error)) from error
        self.stdout.write("The table is partitioned by day now." if done else "It is partitioned already.")
        if origin.partition_by is None:
            self.stdout.write("Set SOJOURN['PARTITION_BY'] = 'day' and restart the site, so that it is used.")
