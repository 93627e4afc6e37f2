"""The races that other write-through caches lose, step by step on real servers: what they cost is counted.

Time is a clock of the tests' own, so nobody waits; what a server would have forgotten by then is taken out of
it.  Each test notes how often a session that had ended was served and for how many seconds; the report shows
both.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.clock import SystemClock
from sojourn.errors import SessionGoneError
from sojourn.stores.cached import CachedStore
from sojourn.stores.embedded import EmbeddedStore
from sojourn.stores.memcached import MemcachedStore
from sojourn.stores.sql import SQLStore
from sojourn.stores.valkey import ValkeyStore
from sojourn.testing import FakeClock, new_record
from tests.servers.proxy import Proxy
from tests.stores.cached_watch import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sojourn.record import Record
    from sojourn.store import Store
    from tests.servers.postgresql import PostgreSQL

LEASE = 30
#: How long a tombstone lives.
KEPT = 2 * LEASE + 5
#: A busy machine is no fault.
PATIENCE = 20.0

PLACES = [
    pytest.param(
        (cache, origin),
        marks=[pytest.mark.asks_for(fixture) for fixture in fixtures],
        id=f"{cache} before {origin}",
    )
    for cache, origin, *fixtures in (
        ("memcached", "a file", "memcached"),
        ("memcached", "postgresql", "memcached", "postgresql"),
        ("valkey", "a file", "valkey"),
        ("valkey", "postgresql", "valkey", "postgresql"),
    )
]


@dataclass
class Site:
    """Two processes of a site, ``here`` and ``there``, each with its own way to the cache."""

    name: str
    clock: FakeClock
    here: CachedStore
    there: CachedStore
    #: Break the way to the cache from ``here``, and mend it.
    cut: Callable[[], None]
    mend: Callable[[], None]
    #: Take what the cache holds for a key out of it.
    drop: Callable[[str], object]
    note: Callable[[str, object], None]

    def kept(self) -> Record:
        """Return a session as it is stored; its copy is gone."""
        record = new_record(self.clock)
        record = record.at(self.here.create(record))
        self.drop(record.key)
        return record

    def served(self, what: str, record: Record, *, by: Sequence[CachedStore] = ()) -> float:
        """Let three leases pass; return for how many seconds a session that has ended is served."""
        began, served, last = self.clock.monotonic(), 0, 0.0
        for _ in range(3 * LEASE * 2):
            for store in by or (self.here, self.there):
                if store.load(record.key) is not None:
                    served += 1
                    last = self.clock.monotonic() - began + 0.5
            self.clock.advance(0.5)
        self.note("served", [self.name, what, served, last])
        return last


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, record_property: Callable[[str, object], None]
) -> Iterator[Site]:
    cache, origin = request.param
    server = request.getfixturevalue(cache)
    clock = FakeClock(now=SystemClock().now())  # a server may be told instants
    prefix = f"{secrets.token_hex(8)}:"
    table = f"session_{secrets.token_hex(8)}"
    make_cache: Any = MemcachedStore if cache == "memcached" else ValkeyStore
    with Proxy(server.port) as proxy, ExitStack() as stack:

        def cache_at(address: str, timeout: float = PATIENCE) -> Store:
            store: Store = make_cache(address, key_prefix=prefix, timeout=timeout, clock=clock)
            return store

        def origin_store() -> Store:
            if origin == "a file":
                return EmbeddedStore(tmp_path / "sessions.sqlite3", clock=clock)
            database: PostgreSQL = request.getfixturevalue(origin)
            url = f"postgresql://postgres@{database.address}/{database.database}"
            store = SQLStore(url, table=table, timeout=PATIENCE, clock=clock)
            store.create_table()
            return store

        here = CachedStore(cache_at(proxy.address), origin_store(), clock=clock)
        there = CachedStore(cache_at(server.address), origin_store(), clock=clock)
        direct = cache_at(server.address)
        for store in (here, there, direct):
            stack.callback(store.close)
        yield Site(
            f"{cache} before {origin}",
            clock,
            here,
            there,
            cut=lambda: proxy.fail("refuse"),
            mend=proxy.heal,
            drop=direct.delete,
            note=record_property,
        )


on_each_pair = pytest.mark.parametrize("site", PLACES, indirect=True)


@on_each_pair
def test_C3_a_miss_that_refills_after_a_delete_revives_nothing(site: Site) -> None:
    record = site.kept()
    reader = Stopped(site.there.load_steps(record.key), after=2)
    assert site.here.delete(record.key)
    assert reader.go_on() is None
    assert site.served("a miss that refills after a delete", record) == 0


@on_each_pair
def test_C1_a_slow_save_after_a_logout_revives_nothing(site: Site) -> None:
    record = site.kept()
    slow = site.there.load(record.key)
    assert slow is not None
    assert site.here.delete(record.key)
    with pytest.raises(SessionGoneError):
        site.there.update(slow, slow.version)
    assert site.served("a slow save after a logout", record) == 0


@on_each_pair
def test_C2_of_two_saves_whose_copies_arrive_in_the_wrong_order_the_later_is_seen(site: Site) -> None:
    record = site.kept()
    earlier = Stopped(
        site.here.update_steps(replace(record, payload=b"earlier"), record.version),
        after=1,
    )
    loaded = site.there.load(record.key)
    assert loaded is not None
    site.there.update(replace(loaded, payload=b"later"), loaded.version)
    earlier.go_on()
    for _ in range(2 * LEASE):
        for store in (site.here, site.there):
            seen = store.load(record.key)
            assert seen is not None
            assert seen.payload == b"later"
        site.clock.advance(1)


@on_each_pair
def test_C3_a_delete_while_the_cache_is_cut_off_costs_a_lease_at_most(site: Site) -> None:
    """Its process lives, and tells the cache as soon as it answers; or it does not."""
    for what, by, limit in (
        ("a delete while the cache is cut off", (site.here, site.there), 2),
        ("the same, and its process is gone", (site.there,), LEASE),
    ):
        record = site.kept()
        assert site.there.load(record.key) is not None
        site.cut()
        assert site.here.delete(record.key)
        assert site.here.load(record.key) is None
        site.mend()
        assert 0 < site.served(f"{what}, back within the lease", record, by=by) <= limit


@on_each_pair
def test_C3_a_cache_that_was_cut_off_for_longer_than_the_lease_brings_nothing_back(site: Site) -> None:
    record = site.kept()
    assert site.there.load(record.key) is not None
    site.cut()
    assert site.here.delete(record.key)
    site.clock.advance(LEASE)
    site.mend()
    what = "a delete while the cache is cut off, back after the lease"
    assert site.served(what, record, by=(site.there,)) == 0


@on_each_pair
def test_C3_a_reader_stopped_for_longer_than_the_tombstone_lives_revives_nothing(site: Site) -> None:
    record = site.kept()
    reader = Stopped(site.there.load_steps(record.key), after=2)
    assert site.here.delete(record.key)
    site.clock.advance(KEPT)
    site.drop(record.key)
    assert reader.go_on() is not None, "it has read the session while it lived"
    assert site.served("a refill after the tombstone has expired", record) == 0


@on_each_pair
def test_C3_an_evicted_tombstone_costs_a_lease_at_most(site: Site) -> None:
    record = site.kept()
    reader = Stopped(site.there.load_steps(record.key), after=2)
    assert site.here.delete(record.key)
    site.drop(record.key)
    assert reader.go_on() is not None
    assert 0 < site.served("a refill after the tombstone was evicted", record) <= LEASE
