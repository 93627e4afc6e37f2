"""Sites whose sessions are in a database: aliases that come and go, and whom the router sends there."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.db.backends.signals import connection_created

from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Router", "entry_for", "sessions_in"]

#: Ours, and Django's; the last is that of its caches, which is no app.
APPS = ("sojourn", "sessions", "django_cache")

_numbers = itertools.count()


class Router:
    """Sends the models of sessions to the database of the site under test."""

    #: The last one counts.
    aliases: ClassVar[list[str]] = ["default"]

    def db_for_read(self, model: Any, **_: object) -> str | None:
        return self._db(model)

    def db_for_write(self, model: Any, **_: object) -> str | None:
        return self._db(model)

    def _db(self, model: Any) -> str | None:
        return self.aliases[-1] if model._meta.app_label in APPS else None


def entry_for(where: PostgreSQL | MariaDB | Path, port: int | None = None, **more: Any) -> dict[str, Any]:
    """Return what a project writes into ``DATABASES``."""
    if not isinstance(where, PostgreSQL | MariaDB):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(where), "OPTIONS": {"timeout": 60}} | more
    kind, user = ("postgresql", "postgres") if isinstance(where, PostgreSQL) else ("mysql", "root")
    return {
        "ENGINE": f"django.db.backends.{kind}",
        "HOST": "127.0.0.1",
        "PORT": where.port if port is None else port,
        "USER": user,
        "NAME": where.database,
    } | more


@contextmanager
def sessions_in(entry: dict[str, Any], *, alias: str | None = None) -> Iterator[str]:
    """Keep sessions in this database, in an empty table, until the end; yield the database's alias."""
    if alias is None:  # threads that last, as those of asgiref, remember what an alias was
        alias = f"sessions_{next(_numbers)}"
    opened: list[Any] = []

    def note(connection: Any, **_: object) -> None:
        if connection.alias == alias:
            opened.append(connection)  # threads of tests do not close theirs

    connection_created.connect(note)
    settings.DATABASES[alias] = entry
    connections.configure_settings(settings.DATABASES)
    Router.aliases.append(alias)
    try:
        for label in APPS:
            if label in apps.app_configs:
                call_command("migrate", label, database=alias, verbosity=0)
        with connections[alias].cursor() as cursor:
            for table in connections[alias].introspection.table_names(cursor):
                if table in ("sojourn_session", "django_session", "django_cache"):
                    cursor.execute(f"DELETE FROM {table}")
        yield alias
    finally:
        Router.aliases.remove(alias)
        connection_created.disconnect(note)
        for connection in opened:
            connection.inc_thread_sharing()
            connection.close()
        del connections[alias]
        del settings.DATABASES[alias]
