"""What gunicorn serves: Horizon's own WSGI application.

Each answer says what its session cost, and which worker it comes from.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import threading
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.cache import caches
from django.db import connection
from django.urls import get_resolver
from openstack_dashboard.wsgi import application as horizon  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from collections.abc import Callable

_ = get_resolver().url_patterns  # loads all of Horizon, once for all workers

#: Of Sojourn's stores.
_OPERATIONS = ("create", "load", "update", "touch", "move", "delete")
_WRITES = ("create", "update", "touch", "move", "delete", "save", "set", "add", "INSERT", "UPDATE", "DELETE")


class _Cost(threading.local):
    """What the request of this thread has cost so far."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        #: How often the store was asked for what.
        self.operations: Counter[str] = Counter()
        #: Bytes of the session as it was last stored.
        self.size = 0
        #: Whether an operation is under way: one that it is made of is none of its own.
        self.busy = False

    def of(self, operation: str, size: int = 0) -> None:
        self.operations[operation] += 1
        self.size = size or self.size

    def __str__(self) -> str:
        writes = sum(count for name, count in self.operations.items() if name in _WRITES)
        return json.dumps(
            {"operations": self.operations, "writes": writes, "size": self.size, "worker": os.getpid()}
        )


_cost = _Cost()
_lock = threading.Lock()


def _watch(owner: type, names: tuple[str, ...], size: Callable[..., int | None]) -> None:
    """Count the calls of these methods.

    ``size`` tells from the arguments how many bytes are stored, or ``None`` for a call not to count.
    """
    for name in names:
        method = getattr(owner, name)

        @functools.wraps(method)
        def counted(self: Any, *args: Any, _name: str = name, _method: Any = method, **kwargs: Any) -> Any:
            if _cost.busy:
                return _method(self, *args, **kwargs)
            _cost.busy = True
            try:
                return _method(self, *args, **kwargs)
            finally:
                _cost.busy = False
                bytes_stored = size(self, *args)
                if bytes_stored is not None:
                    _cost.of(_name, bytes_stored)

        setattr(owner, name, counted)


def _watch_sojourn(engine: Any) -> None:
    def size(_: Any, *arguments: Any) -> int:
        records = [one for one in arguments if hasattr(one, "payload")]
        return sum(len(record.payload) + len(record.info) for record in records)

    for kind in {type(store) for store in _stores_in(engine.manager, set())}:
        _watch(kind, _OPERATIONS, size)


def _stores_in(thing: Any, seen: set[int]) -> list[Any]:
    """Return the stores that ``thing`` works with; of one composed of others, those."""
    seen.add(id(thing))
    slots = [getattr(kind, "__slots__", ()) for kind in type(thing).__mro__]
    names = {*getattr(thing, "__dict__", ())}.union(*slots)
    found: list[Any] = []
    for value in (getattr(thing, name, None) for name in names):
        if type(value).__module__.startswith("sojourn.") and id(value) not in seen:
            found += _stores_in(value, seen)
    is_store = all(callable(getattr(thing, name, None)) for name in _OPERATIONS)
    return [thing] if is_store and not found else found


def _watch_django(engine: Any) -> None:
    store = engine.SessionStore
    if engine.__name__.endswith(".file"):
        _watch(store, ("load", "save", "delete"), lambda self, *_: Path(self._key_to_file()).stat().st_size)
        return
    prefix = getattr(engine, "KEY_PREFIX", "")

    def size(_: Any, key: str, *values: Any) -> int | None:
        if not key.startswith(prefix):
            return None
        return len(pickle.dumps(values[0], pickle.HIGHEST_PROTOCOL)) if values else 0

    if prefix:
        _watch(type(caches[settings.SESSION_CACHE_ALIAS]), ("get", "set", "add", "delete", "has_key"), size)


def _statement(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    if _cost.busy:  # an operation of Sojourn's is a statement
        return execute(sql, params, many, context)
    texts = [one for one in params or () if isinstance(one, str)]
    _cost.of(sql.split(maxsplit=1)[0], max(map(len, texts), default=0))
    return execute(sql, params, many, context)


@functools.cache
def _watch_sessions() -> None:
    engine = import_module(settings.SESSION_ENGINE)
    if hasattr(engine.SessionStore, "get_engine"):
        _watch_sojourn(engine.SessionStore.get_engine())
    else:
        _watch_django(engine)


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Serve a request; its answer carries what it cost in the header ``X-Cost``."""
    with _lock:
        _watch_sessions()
    _cost.begin()

    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        return start_response(status, [*headers, ("X-Cost", str(_cost))], *rest)

    with connection.execute_wrapper(_statement):
        return horizon(environ, start)
