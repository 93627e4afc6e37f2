"""Sessions in one or several memcacheds.

``store`` and ``aio`` are what applications use: two thin ways to send what ``operations`` says.  ``protocol``
is every command and reply, ``item`` how a record lies in memcached, ``nodes`` which server keeps which.
"""

from __future__ import annotations

from sojourn.stores.memcached.aio import AsyncMemcachedStore
from sojourn.stores.memcached.store import MemcachedStore

__all__ = ["AsyncMemcachedStore", "MemcachedStore"]
