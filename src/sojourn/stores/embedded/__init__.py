"""Sessions in one local file, shared by all processes of a machine, kept through restarts.

``store`` and ``aio`` are what applications use, ``sql`` is every statement, ``pool`` the connections,
``place`` which files are taken.
"""

from __future__ import annotations

from sojourn.stores.embedded.aio import AsyncEmbeddedStore
from sojourn.stores.embedded.store import EmbeddedStore

__all__ = ["AsyncEmbeddedStore", "EmbeddedStore"]
