"""Sojourn's ``cache`` engine on the alias ``redis``."""

from __future__ import annotations

from bench.engines import sojourns

__all__ = ["SessionStore"]

SessionStore = sojourns("redis")
