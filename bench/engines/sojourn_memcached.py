"""Sojourn's ``cache`` engine on the alias ``memcached``."""

from __future__ import annotations

from bench.engines import sojourns

__all__ = ["SessionStore"]

SessionStore = sojourns("memcached")
