"""``SESSION_ENGINE = "sojourn.django.backends.db"``: a table in one of ``DATABASES``.

Takes two steps more: ``"sojourn.django"`` in ``INSTALLED_APPS``, and ``manage.py migrate``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import router

from sojourn.django.backends.base import SojournSession
from sojourn.django.conf import sojourn_settings
from sojourn.django.database import AsyncDatabaseStore, DatabaseStore
from sojourn.django.engine import Engine, Place, engine_at

if TYPE_CHECKING:
    from django.db.models import Model

    from sojourn.django.conf import SojournSettings

__all__ = ["SessionStore", "database_of", "engine_in", "place_in"]


class SessionStore(SojournSession):
    """A session in the database ``SOJOURN["DATABASE"]``, by default the one that routers give the model."""

    @classmethod
    def get_engine(cls) -> Engine:
        """Return the engine of the configured database."""
        return engine_in(database_of(cls.get_model_class()), like="db")

    @classmethod
    def get_model_class(cls) -> type[Model]:
        """Return the model of the table, as Django's engine does; its rows are sealed.

        Raises ``ImproperlyConfigured`` without the app.
        """
        if not apps.is_installed("sojourn.django"):
            raise ImproperlyConfigured(
                "the table of sessions belongs to an app: add 'sojourn.django' to INSTALLED_APPS, then run "
                "manage.py migrate"
            )
        from sojourn.django.models import Session  # noqa: PLC0415 - there is none without the app

        return Session


def database_of(model: type[Any]) -> str:
    """Return the database to read and write: a replica may not have yet what a load has to find."""
    alias = sojourn_settings().DATABASE
    if alias is None:
        return router.db_for_write(model)
    if alias not in settings.DATABASES:
        raise ImproperlyConfigured(
            f"SOJOURN['DATABASE'] is {alias!r}, but DATABASES has no {alias!r}: add it, or name one it has"
        )
    return alias


def engine_in(alias: str, *, like: str) -> Engine:
    """Return the engine of the table in the database ``alias``; ``like`` as for ``engine_at``."""
    return engine_at(("database", alias, like), partial(place_in, alias), like=like)


def place_in(alias: str, given: SojournSettings) -> Place:
    """Return the place that is the table in the database ``alias``."""
    store = DatabaseStore(
        alias,
        timeout=given.TIMEOUT,
        max_sessions_per_subject=given.MAX_SESSIONS_PER_USER,
        partition_by=given.PARTITION_BY,
    )
    return Place(f"the database {alias!r}", store, AsyncDatabaseStore(store))
