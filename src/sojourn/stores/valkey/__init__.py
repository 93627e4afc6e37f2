"""Sessions in Valkey or Redis: one server, a Cluster, or a primary that Sentinels watch.

``store`` and ``aio`` are what applications use: two thin ways to send what ``operations`` says.  ``scripts``
is what runs inside the server, ``item`` how a record lies there, ``routing`` which server keeps which key,
``protocol`` every byte on the wire, ``faults`` what failures mean.
"""

from __future__ import annotations

from sojourn.stores.valkey.aio import AsyncValkeyStore
from sojourn.stores.valkey.store import ValkeyStore

__all__ = ["AsyncValkeyStore", "ValkeyStore"]
