"""Sojourn's ``signed_cookies`` engine in a process that has opened none of the cookies before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sojourn.carriers.recent import Recent
from sojourn.django import carrying
from sojourn.django.backends.signed_cookies import SessionStore as CookieSession
from sojourn.django.engine import made_once

if TYPE_CHECKING:
    from sojourn.django.engine import Engine

__all__ = ["SessionStore"]


class SessionStore(CookieSession):
    """A session whose cookie is decrypted each time."""

    @classmethod
    def get_engine(cls) -> Engine:
        """Return an engine that forgets what it opened."""
        engine = made_once(("cookies", "first"), carrying._make)
        engine.manager._recent = Recent(octets=0)  # type: ignore[attr-defined]  # noqa: SLF001
        return engine
