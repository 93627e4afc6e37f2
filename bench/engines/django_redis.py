"""Django's ``cache`` engine on the alias ``redis``."""

from __future__ import annotations

from bench.engines import djangos

__all__ = ["SessionStore"]

SessionStore = djangos("redis")
