"""``SESSION_ENGINE = "sojourn.django.backends.file"``: the embedded engine in ``SESSION_FILE_PATH``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from sojourn.django.backends.base import SojournSession
from sojourn.django.backends.embedded import embedded_engine

if TYPE_CHECKING:
    from sojourn.django.engine import Engine

__all__ = ["SessionStore"]


class SessionStore(SojournSession):
    """A session in one file in the folder ``SESSION_FILE_PATH``, by default the system's temporary one."""

    @classmethod
    def get_engine(cls) -> Engine:
        """Return the engine of the configured folder."""
        configured: Any = settings.SESSION_FILE_PATH
        folder = Path(configured or tempfile.gettempdir())
        if not folder.is_dir():
            raise ImproperlyConfigured(
                f"the folder {str(folder)!r} does not exist: create it, or set SESSION_FILE_PATH to another"
            )
        return embedded_engine(
            folder / f"sojourn-{settings.SESSION_COOKIE_NAME}" / "sessions.sqlite3", like="file"
        )
