"""Our stores, as the interleaving driver and the state machine want them: one entry of ``STORES`` each.

A test takes ``name`` (one of ``NAMES``) and ``place``, a folder or servers.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
from redis.exceptions import ResponseError

from sojourn.errors import StoreError
from sojourn.stores.cached import AsyncCachedStore, CachedStore
from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore
from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.stores.sql import AsyncSQLStore, SQLStore
from sojourn.stores.valkey import AsyncValkeyStore, ValkeyStore, scripts
from sojourn.testing import AsyncFaultyStore, AsyncInterleaver, FaultyStore, Interleaver
from sojourn.testing.machine import AsyncSessionMachine, SessionMachine
from tests.servers.valkey import Cluster, Sentinels

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

    from sojourn.steps import Steps
    from sojourn.testing import FakeClock
    from tests.servers.memcached import Memcached
    from tests.servers.valkey import Valkey

__all__ = ["NAMES", "STORES", "Kind"]


class Unsynced(sqlite3.Connection):
    """Never waits for the disk: nobody pulls the plug here."""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return super().execute(
            "PRAGMA synchronous = OFF" if sql.startswith("PRAGMA synchronous") else sql, *args
        )


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How to make a store in a place, and how to empty one if making it takes long."""

    make: Callable[[Any, FakeClock], Any]
    make_async: Callable[[Any, FakeClock], Any]
    empty: Callable[[Any], object] | None = None
    #: What to do with a store before the wall clock is set.
    before_step: Callable[[Any], object] = lambda _: None
    #: The fixture that gives the place.
    place: str = "tmp_path"
    #: Who decides that a session has expired.
    expiry: Literal["clock", "server"] = "clock"
    #: Clients who need what the store cannot do.
    without: Collection[str] = ()
    #: So many schedules of each triple are played; ``None``: all.
    sample: int | None = None
    #: Whether its operations are gone into: others may come in between their round trips.
    in_steps: bool = False

    def interleaver(self, place: Any) -> Interleaver:
        return Interleaver(lambda clock: self.make(place, clock), empty=self.empty)

    def async_interleaver(self, place: Any) -> AsyncInterleaver:
        empty: Callable[[Any], Awaitable[object]] | None = None

        async def make_store(clock: FakeClock) -> Any:
            return self.make_async(place, clock)

        async def empty_it(store: Any) -> None:
            assert self.empty is not None
            self.empty(store)

        if self.empty is not None:
            empty = empty_it
        return AsyncInterleaver(make_store, empty=empty)

    def machine(self, place: Any) -> type[SessionMachine]:
        kind = self

        class Machine(SessionMachine):
            expiry = kind.expiry

            def make_store(self, clock: FakeClock) -> Any:
                self._made = kind.make(place, clock)
                if kind.empty is not None:
                    kind.empty(self._made)
                return self._made

            def set_wall_clock(self, seconds: int) -> None:
                kind.before_step(self._made)
                super().set_wall_clock(seconds)

        return Machine

    def async_machine(self, place: Any) -> type[SessionMachine]:
        kind = self

        class Machine(AsyncSessionMachine):
            expiry = kind.expiry

            async def make_store(self, clock: FakeClock) -> Any:
                self._made = kind.make_async(place, clock)
                if kind.empty is not None:
                    kind.empty(self._made)
                return self._made

            def set_wall_clock(self, seconds: int) -> None:
                kind.before_step(self._made)
                super().set_wall_clock(seconds)

        return Machine


def _embedded(folder: Path, clock: FakeClock) -> EmbeddedStore:
    return EmbeddedStore(folder / "sessions.sqlite3", clock=clock, factory=Unsynced)


def _empty_table(store: EmbeddedStore | AsyncEmbeddedStore) -> None:
    plain = store.store if isinstance(store, AsyncEmbeddedStore) else store
    plain._saves.run(lambda connection: connection.execute("DELETE FROM session"))


class InSteps:
    """Offers the round trips of each operation of a store on a server one by one."""

    _run: Callable[[Any], Any]

    def round_trip(self, exchange: Any) -> Any:
        def one() -> Any:
            try:
                return (yield exchange)
            except ResponseError as refusal:  # of Valkey: the operation decides what becomes of it
                return refusal

        return self._run(one())

    def _steps(self, operation: Any) -> Steps[Any]:
        answer: Any = None
        error: Exception | None = None
        while True:
            try:
                exchange = operation.send(answer) if error is None else operation.throw(error)
            except StopIteration as stop:
                return stop.value
            answer = error = None
            try:
                answer = yield self.round_trip, exchange
            except StoreError as raised:
                error = raised
            if isinstance(answer, ResponseError):
                answer, error = None, answer

    def __getattr__(self, name: str) -> Any:
        """Return ``load_steps`` and the like."""
        operation, is_steps, rest = name.partition("_steps")
        if not is_steps or rest:
            raise AttributeError(name)
        begin = getattr(self, f"_{operation}")
        return lambda *args, **options: self._steps(begin(*args, **options))


class MemcachedInSteps(InSteps, MemcachedStore):
    pass


class AsyncMemcachedInSteps(InSteps, AsyncMemcachedStore):
    pass


def _memcached(
    store: type, async_store: type, *, place: str = "memcached", sample: int | None = None
) -> Kind:
    def settings(servers: Memcached | list[Memcached], clock: FakeClock) -> dict[str, Any]:
        nodes = servers if isinstance(servers, list) else [servers]
        return {"servers": [node.address for node in nodes], "timeout": 20.0, "clock": clock}

    return Kind(
        make=lambda servers, clock: store(**settings(servers, clock)),
        make_async=lambda servers, clock: async_store(**settings(servers, clock)),
        empty=lambda _: None,  # keys are random, connections may stay
        place=place,
        expiry="server",
        without=("expiry", "purge", "revoke", "revoke one"),
        sample=sample,
        in_steps=issubclass(store, InSteps),
    )


def _cached(_: object, clock: FakeClock) -> FaultyStore:
    """Return a store whose operations are not gone into: what others see in between is not theirs to judge.

    Those orders are played in ``tests/stores/test_cached_interleaved.py``.
    """
    return FaultyStore(CachedStore(MemoryStore(clock=clock), MemoryStore(clock=clock), clock=clock))


def _forget_copies(faulty: FaultyStore | AsyncFaultyStore) -> None:
    """Drop the copies that have expired, as a cache server does by a clock of its own, which nobody sets."""
    cached: Any = faulty.inner
    cache: Any = cached.cache
    getattr(cache, "store", cache).purge()


def _sqlite(folder: Path, clock: FakeClock, store: type[SQLStore | AsyncSQLStore] = SQLStore) -> Any:
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # below, it logs what it is given
    file = folder / "sessions.db"
    url = f"sqlite:///{file}"
    if not file.exists():
        with closing(SQLStore(url)) as first:
            first.create_table()
    return store(url, clock=clock)


def _empty_file(store: SQLStore | AsyncSQLStore) -> None:
    with closing(sqlite3.connect(str(store._engine.url.database))) as connection, connection:
        connection.execute("DELETE FROM sojourn_session")


def _async_cached(_: object, clock: FakeClock) -> AsyncFaultyStore:
    cache, origin = (AsyncMemoryStore(MemoryStore(clock=clock)) for _ in range(2))
    return AsyncFaultyStore(AsyncCachedStore(cache, origin, clock=clock))


class ValkeyInSteps(InSteps, ValkeyStore):
    pass


class AsyncValkeyInSteps(InSteps, AsyncValkeyStore):
    pass


#: Seconds: the clock of the stores on Valkey is so far ahead that nothing dies on the server's, whose time
#: nobody can make pass.
_AHEAD: Final = 50 * 365 * 86_400


def _valkey(store: type, async_store: type, *, place: str = "valkey", sample: int | None = None) -> Kind:
    def settings(servers: Valkey | Cluster | Sentinels, clock: FakeClock) -> dict[str, Any]:
        clock.step(_AHEAD)
        where: dict[str, Any]
        if isinstance(servers, Cluster):
            where = {"servers": servers.addresses, "cluster": True}
        elif isinstance(servers, Sentinels):
            where = {"servers": servers.addresses, "sentinel": servers.name}
        else:
            where = {"servers": servers.address}
        return {**where, "key_prefix": _some_prefix(), "timeout": 60.0, "clock": clock}

    def prepared(made: Any, servers: Valkey | Cluster | Sentinels) -> Any:
        """Let it know the nodes, and the nodes the scripts: each time the same round trips."""
        if isinstance(servers, Cluster):
            with closing(ValkeyStore(servers.addresses, cluster=True, timeout=60.0)) as knowing:
                knowing.load("0" * 64)
                made._routes = knowing._routes
            for node, script in itertools.product(servers.nodes, vars(scripts).values()):
                if isinstance(script, scripts.Script):
                    node.ask("SCRIPT", "LOAD", script.text)
        return made

    return Kind(
        make=lambda servers, clock: prepared(store(**settings(servers, clock)), servers),
        make_async=lambda servers, clock: prepared(async_store(**settings(servers, clock)), servers),
        empty=lambda made: made._begin_keys_with(_some_prefix()),
        place=place,
        expiry="server",
        # On a Cluster a list of sessions is made of several looks, and a revocation ends one after the other.
        # What comes in between their round trips the model would take for lost.
        without=("expiry", "purge", *(("revoke", "revoke one") if issubclass(store, InSteps) else ())),
        sample=sample,
        in_steps=issubclass(store, InSteps),
    )


def _some_prefix() -> str:
    return f"{secrets.token_hex(8)}:"


STORES: Final[dict[str, Kind]] = {
    "memory": Kind(
        make=lambda _, clock: MemoryStore(clock=clock),
        make_async=lambda _, clock: AsyncMemoryStore(MemoryStore(clock=clock)),
    ),
    "embedded": Kind(
        make=_embedded,
        make_async=lambda folder, clock: AsyncEmbeddedStore(_embedded(folder, clock), threads=1),
        empty=_empty_table,
    ),
    # Each write waits for the disk.
    "SQL": Kind(
        make=_sqlite,
        make_async=lambda folder, clock: _sqlite(folder, clock, AsyncSQLStore),
        empty=_empty_file,
        sample=1,
    ),
    "cached": Kind(make=_cached, make_async=_async_cached, before_step=_forget_copies, sample=20),
    "memcached": _memcached(MemcachedStore, AsyncMemcachedStore),
    "memcached, its round trips": _memcached(MemcachedInSteps, AsyncMemcachedInSteps, sample=12),
    "3 memcacheds, their round trips": _memcached(
        MemcachedInSteps, AsyncMemcachedInSteps, place="memcached_nodes", sample=12
    ),
    # All their triples would take minutes.
    "Valkey": _valkey(ValkeyStore, AsyncValkeyStore, sample=6),
    "Valkey with Sentinels": _valkey(ValkeyStore, AsyncValkeyStore, place="valkey_sentinels", sample=1),
    "a Valkey Cluster": _valkey(ValkeyStore, AsyncValkeyStore, place="valkey_cluster", sample=2),
    "a Valkey Cluster, its round trips": _valkey(
        ValkeyInSteps, AsyncValkeyInSteps, place="valkey_cluster", sample=2
    ),
}

NAMES: Final = [pytest.param(name, marks=pytest.mark.asks_for(kind.place)) for name, kind in STORES.items()]
