"""Sessions in one store, the origin, with copies of them in another, the cache.

``operations`` is the protocol, written once as steps; ``store`` and ``aio`` carry them out.  ``copies`` is
what lies in the cache, ``reach`` what happens while the cache does not answer.
"""

from __future__ import annotations

from sojourn.stores.cached.aio import AsyncCachedStore
from sojourn.stores.cached.store import CachedStore

__all__ = ["AsyncCachedStore", "CachedStore"]
