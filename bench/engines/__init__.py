"""Engines for ``SESSION_ENGINE``, each on an alias of ``CACHES`` of its own: one run has them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.cache import SessionStore as DjangosSession
from django.core.cache import caches

from sojourn.django.backends.cache import SessionStore as SojournsSession

if TYPE_CHECKING:
    from sojourn.django.engine import Engine

__all__ = ["djangos", "sojourns"]


def djangos(alias: str) -> type[DjangosSession]:
    """Return Django's ``cache`` engine on ``alias``."""

    class SessionStore(DjangosSession):
        def __init__(self, session_key: str | None = None) -> None:
            self._cache = caches[alias]
            SessionBase.__init__(self, session_key)

    return SessionStore


def sojourns(alias: str) -> type[SojournsSession]:
    """Return Sojourn's on ``alias``."""

    class SessionStore(SojournsSession):
        @classmethod
        def get_engine(cls) -> Engine:
            before, settings.SESSION_CACHE_ALIAS = settings.SESSION_CACHE_ALIAS, alias
            try:
                return super().get_engine()
            finally:
                settings.SESSION_CACHE_ALIAS = before

    return SessionStore
