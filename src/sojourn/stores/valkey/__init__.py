"""Sessions in Valkey or Redis: one server, a Cluster, or a primary that Sentinels watch.

``store`` and ``aio`` are what applications use: two thin ways to send, over connections that redis-py makes,
what ``operations`` says.  ``scripts`` is what runs inside the server, ``item`` how a record lies there,
``nodes`` where servers are, ``routing`` which of them keeps which key, ``connections`` what redis-py's
connections for threads lack, ``faults`` what failures mean.
"""

from __future__ import annotations

try:
    import hiredis  # noqa: F401  # pyright: ignore[reportUnusedImport] - to say which extra brings them
    import redis  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError as error:  # pragma: no cover - the extra is installed where tests run
    raise ImportError(
        "the Valkey store needs redis-py and its parser hiredis: pip install 'sojourn[redis]', or '.[redis]' "
        "in a checkout of Sojourn"
    ) from error

from sojourn.stores.valkey.aio import AsyncValkeyStore
from sojourn.stores.valkey.store import ValkeyStore

__all__ = ["AsyncValkeyStore", "ValkeyStore"]
