"""Django's ``cache`` engine on the alias ``memcached``."""

from __future__ import annotations

from bench.engines import djangos

__all__ = ["SessionStore"]

SessionStore = djangos("memcached")
