"""A PostgreSQL standby takes over under load: what is lost, and that stores find it by themselves."""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from sojourn.clock import SystemClock
from sojourn.errors import StoreUnavailableError
from sojourn.stores.from_url import async_from_url, from_url
from sojourn.stores.sql import AsyncSQLStore, SQLStore
from sojourn.testing.records import new_record
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.store import Store
    from tests.servers.postgresql import PostgreSQL, Standby

CLOCK = SystemClock()

#: Seconds after which a test says that something hangs.
PATIENCE = 60.0
WORKERS = 4
ENOUGH = 60
#: So many sessions later a worker signs out of one.
LATER = 20


def address(driver: str, *servers: PostgreSQL) -> str:
    """Return what an operator writes: all servers, and that the one that takes writes is meant."""
    hosts = "&".join(f"host={server.address}" for server in servers)
    return f"postgresql+{driver}://postgres@/sessions?{hosts}&target_session_attrs=read-write&timeout=30"


@dataclass(frozen=True)
class Told:
    """What users of a store were told is done."""

    #: How often the session under a key was written.
    saved: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    #: Sessions whose end was asked for: whether they live is unknown until it was answered.
    ending: set[str] = field(default_factory=set)

    def until_now(self) -> Told:
        return Told(dict(self.saved), set(self.ended), self.ending)

    def work(self, store: Store, stop: threading.Event) -> None:
        """Create and change sessions, and sign out of every other one some time later."""
        mine: list[str] = []
        while not stop.wait(0.001):
            record = new_record(CLOCK)
            with suppress(StoreUnavailableError):
                version = store.create(record)
                self.saved[record.key] = 1
                mine.append(record.key)
                store.update(replace(record, payload=b"changed"), version)
                self.saved[record.key] = 2
                if len(mine) > LATER and len(mine) % 2:
                    self.ending.add(mine[-LATER])
                    store.delete(mine[-LATER])
                    self.ended.add(mine[-LATER])

    def lost(self, store: Store) -> int:
        """Count the sessions that are gone or as they were before they were last saved."""
        lost = 0
        for key in self.saved.keys() - self.ending:
            record = store.load(key)
            lost += record is None or record.version.counter < self.saved[key]
        return lost

    def undone(self, store: Store) -> int:
        """Count the sessions that live although they were signed out of."""
        return sum(store.load(key) is not None for key in self.ended)


@pytest.mark.parametrize("replication", ["synchronous", "asynchronous"])
def test_F5_a_standby_promoted_under_load_has_all_that_was_acknowledged_if_it_was_waited_for(
    new_postgresql: Callable[..., PostgreSQL], new_standby: Callable[[int], Standby], replication: str
) -> None:
    """The link to the standby breaks before the primary dies, so that an asynchronous one lacks something."""
    primary = new_postgresql()
    with Proxy(primary.port) as link:
        standby = new_standby(link.port)
        if replication == "synchronous":
            standby.is_waited_for(primary)
        told, stop = Told(), threading.Event()
        with closing(from_url(address("psycopg", primary, standby))) as store:
            assert isinstance(store, SQLStore)
            store.create_table()
            workers = [threading.Thread(target=told.work, args=(store, stop)) for _ in range(WORKERS)]
            for worker in workers:
                worker.start()
            wait_until(lambda: len(told.ended) > ENOUGH)
            before = told.until_now()
            written = primary.sql("SELECT pg_current_wal_lsn()")
            wait_until(lambda: standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{written}'") == "t")

            link.fail("blackhole")
            ended = len(told.ended)
            if replication == "synchronous":
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                wait_until(lambda: int(primary.sql(waiting)) >= WORKERS)
            else:
                wait_until(lambda: len(told.ended) > ended + ENOUGH)
            primary.kill()
            ended = len(told.ended)
            standby.promote()

            wait_until(lambda: len(told.ended) > ended + ENOUGH)  # they found it by themselves
            stop.set()
            for worker in workers:
                worker.join(PATIENCE)
            lost, undone = told.lost(store), told.undone(store)
            print(  # noqa: T201 - for the record
                f"{replication} standby promoted: {len(told.saved)} sessions acknowledged, {lost} lost, "
                f"{undone} of {len(told.ended)} logouts undone"
            )
            assert (before.lost(store), before.undone(store)) == (0, 0)  # those it had received
            if replication == "synchronous":
                assert (lost, undone) == (0, 0)
            else:
                assert lost > 0
                assert undone > 0


async def test_F1_with_asyncio_nobody_is_told_that_a_session_is_gone_until_the_standby_is_promoted(
    new_postgresql: Callable[..., PostgreSQL], new_standby: Callable[[int], Standby]
) -> None:
    primary = new_postgresql()
    standby = new_standby(primary.port)
    standby.is_waited_for(primary)
    store = async_from_url(address("asyncpg", primary, standby))
    assert isinstance(store, AsyncSQLStore)
    await store.create_table()
    record = new_record(CLOCK)
    record = record.at(await store.create(record))
    primary.kill()
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await store.load(record.key)
    standby.promote()
    assert await store.load(record.key) == record
    assert await store.delete(record.key)
    await store.close()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.01)
