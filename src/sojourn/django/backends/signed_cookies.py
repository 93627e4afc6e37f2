"""``SESSION_ENGINE = "sojourn.django.backends.signed_cookies"``: the cookie itself, sealed or signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sojourn.django.backends.base import SojournSession
from sojourn.django.carrying import cookie_engine

if TYPE_CHECKING:
    from sojourn.django.engine import Engine

__all__ = ["SessionStore"]


class SessionStore(SojournSession):
    """A session in its cookie, whose value is the session key: each save makes another."""

    @classmethod
    def get_engine(cls) -> Engine:
        """Return the engine of the configured cookie."""
        return cookie_engine()
