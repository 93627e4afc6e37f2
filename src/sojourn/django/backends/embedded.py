"""``SESSION_ENGINE = "sojourn.django.backends.embedded"``: one local file, shared by all workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from sojourn.django.backends.base import SojournSession
from sojourn.django.conf import sojourn_settings
from sojourn.django.engine import Engine, Place, engine_at
from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore

if TYPE_CHECKING:
    from sojourn.django.conf import SojournSettings

__all__ = ["SessionStore", "embedded_engine"]


class SessionStore(SojournSession):
    """A session in the file ``SOJOURN["PATH"]``, by default ``.sojourn/sessions.sqlite3`` in the project."""

    @classmethod
    def get_engine(cls) -> Engine:
        """Return the engine of the configured file."""
        return embedded_engine(_path())


def _path() -> Path:
    path = sojourn_settings().PATH
    if path is not None and Path(path).is_absolute():
        return Path(path)
    base: Any = getattr(settings, "BASE_DIR", None)
    if base is not None and path is not None:
        return Path(base) / path
    if base is None:
        raise ImproperlyConfigured(
            "the embedded engine needs a file: set SOJOURN = {'PATH': '/var/lib/mysite/sessions.sqlite3'}"
        )
    return Path(base) / ".sojourn" / "sessions.sqlite3"


def embedded_engine(path: Path, *, like: str | None = None) -> Engine:
    """Return the engine that keeps sessions in the file ``path`` (``like``: see ``engine_at``)."""

    def open_file(given: SojournSettings) -> Place:
        store = EmbeddedStore(
            path, timeout=given.TIMEOUT, max_sessions_per_subject=given.MAX_SESSIONS_PER_USER
        )
        return Place(str(path), store, AsyncEmbeddedStore(store))

    return engine_at(("embedded", str(path)), open_file, like=like)
