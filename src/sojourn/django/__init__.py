"""Sojourn for Django: ``SESSION_ENGINE = "sojourn.django.backends.…"``, and whose sessions there are."""

from __future__ import annotations

from sojourn.django import checks as checks
from sojourn.django.sessions import (
    UserSession,
    arevoke_sessions,
    asessions_of,
    revoke_sessions,
    sessions_of,
)

__all__ = ["UserSession", "arevoke_sessions", "asessions_of", "revoke_sessions", "sessions_of"]
