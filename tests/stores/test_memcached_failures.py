"""The memcached store when servers and networks fail.

Unavailable is not absent, and what ended stays ended.
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Keyring, Manager
from sojourn.clock import SystemClock
from sojourn.errors import SessionError, SessionGoneError, StoreTimeoutError, StoreUnavailableError
from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.stores.memcached.nodes import nodes_of, owner
from sojourn.testing.records import new_record
from tests.servers.proxy import FAULTS, Fault, Proxy
from tests.stores.asking import OPERATIONS, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sojourn.record import Record
    from tests.servers.memcached import Memcached

CLOCK = SystemClock()

#: Seconds for an operation that gets no answer, so short because the tests wait for it.
SHORT = 0.25
#: Seconds for all others, and before a test says that something hangs; a busy machine is no fault.
PATIENCE = 30.0


@contextmanager
def in_a_hurry(store: MemcachedStore | AsyncMemcachedStore) -> Iterator[None]:
    """Wait no longer than ``SHORT`` for answers that will not come."""
    store._timeout = SHORT
    try:
        yield
    finally:
        store._timeout = PATIENCE


def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not connected"])
def test_F1_F3_each_operation_says_unavailable_within_its_deadline_and_recovers(
    memcached: Memcached, memcached_proxy: Proxy, fault: Fault, *, connected: bool
) -> None:
    """Nothing that is asked while the fault lasts finds, or denies, a session."""
    with (
        closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as direct,
        closing(MemcachedStore(memcached_proxy.address, timeout=PATIENCE)) as store,
    ):
        for operation in OPERATIONS:
            key = new_record(CLOCK).key
            direct.create(new_record(CLOCK, key=key))
            record = store.load(key) if connected else direct.load(key)
            assert record is not None
            memcached_proxy.fail(fault)
            with in_a_hurry(store), pytest.raises(StoreUnavailableError) as caught:
                call(store, operation, record)
            assert key not in str(caught.value)
            assert memcached_proxy.address in str(caught.value)
            if fault in ("blackhole", "slow"):
                assert caught.type is StoreTimeoutError
            memcached_proxy.heal()
            again = new_record(CLOCK)
            version = store.create(again)
            store.update(again, version)
            assert store.load(again.key) is not None


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not connected"])
async def test_F1_F3_asyncio_says_unavailable_within_its_deadline_and_recovers(
    memcached: Memcached, memcached_proxy: Proxy, fault: Fault, *, connected: bool
) -> None:
    direct = AsyncMemcachedStore(memcached.address, timeout=PATIENCE)
    store = AsyncMemcachedStore(memcached_proxy.address, timeout=PATIENCE)
    for operation in OPERATIONS:
        key = new_record(CLOCK).key
        await direct.create(new_record(CLOCK, key=key))
        record = await (store if connected else direct).load(key)
        assert record is not None
        memcached_proxy.fail(fault)
        with in_a_hurry(store), pytest.raises(StoreUnavailableError) as caught:
            await call(store, operation, record)
        assert key not in str(caught.value)
        assert memcached_proxy.address in str(caught.value)
        if fault in ("blackhole", "slow"):
            assert caught.type is StoreTimeoutError
        memcached_proxy.heal()
        again = new_record(CLOCK)
        await store.update(again, await store.create(again))
        assert await store.load(again.key) is not None
    await store.close()
    await direct.close()


@pytest.mark.parametrize("after", range(0, 60, 3))
def test_F1_a_reply_broken_off_anywhere_is_no_answer(
    memcached: Memcached, memcached_proxy: Proxy, after: int
) -> None:
    record = new_record(CLOCK, payload=bytes(200))
    with closing(MemcachedStore(memcached_proxy.address, timeout=PATIENCE)) as store:
        store.create(record)
        memcached_proxy.reset_after = after
        memcached_proxy.fail("reset")
        with pytest.raises(StoreUnavailableError):
            store.load(record.key)
        memcached_proxy.heal()
        assert store.load(record.key) is not None


@pytest.mark.parametrize("fault", ["reset", "garbage", "blackhole"])
def test_F3_a_create_without_an_answer_is_never_sent_again(
    memcached: Memcached, memcached_proxy: Proxy, fault: Fault
) -> None:
    with closing(MemcachedStore(memcached_proxy.address, timeout=PATIENCE)) as store:
        store.load(new_record(CLOCK).key)
        before = memcached_proxy.round_trips
        memcached_proxy.fail(fault)
        with in_a_hurry(store), pytest.raises(StoreUnavailableError):
            store.create(new_record(CLOCK))
        until(lambda: memcached_proxy.round_trips > before)
        memcached_proxy.heal()
        store.load(new_record(CLOCK).key)
        assert memcached_proxy.round_trips == before + 2


def test_F3_waiting_for_a_connection_counts_against_the_deadline(memcached_proxy: Proxy) -> None:
    memcached_proxy.fail("blackhole")
    with closing(MemcachedStore(memcached_proxy.address, timeout=SHORT, max_connections=1)) as store:
        errors: list[StoreTimeoutError] = []

        def ask() -> None:
            try:
                store.load(new_record(CLOCK).key)
            except StoreTimeoutError as error:  # of the connection, or of the wait for it: both end at once
                errors.append(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(errors) == 4


def test_F1_S4_what_somebody_else_put_there_is_neither_a_session_nor_the_absence_of_one(
    memcached: Memcached,
) -> None:
    key = new_record(CLOCK).key
    for planted in (b"", b"x", b"\x80\x04pickled", bytes(100), b"\xa1\x03" + b"\xff" * 44):
        memcached.ask(b"ms sojourn:%s %d\r\n%s\r\n" % (key.encode(), len(planted), planted))
        with closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as store:
            with pytest.raises(StoreUnavailableError, match="key_prefix"):
                store.load(key)
            assert store.delete(key) is True


def test_a_closed_store_says_so(memcached: Memcached) -> None:
    store = MemcachedStore(memcached.address)
    store.load(new_record(CLOCK).key)
    store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        store.load(new_record(CLOCK).key)


# Nodes


@dataclass
class Cluster:
    """Three memcacheds of a test's own, and a store on them."""

    servers: list[Memcached]
    store: MemcachedStore
    candidates: list[tuple[bytes, Memcached]] = field(init=False)

    def __post_init__(self) -> None:
        nodes = nodes_of([server.address for server in self.servers])
        self.candidates = [
            (str(node).encode(), server) for node, server in zip(nodes, self.servers, strict=True)
        ]

    def owner(self, key: str) -> Memcached:
        return owner(b"sojourn:" + key.encode(), self.candidates)

    def record_on(self, server: Memcached, **fields: Any) -> Record:
        """Return a new record that belongs to ``server``."""
        while self.owner((record := new_record(CLOCK, **fields)).key) is not server:
            pass
        return record


@pytest.fixture
def cluster(new_memcached: Callable[..., Memcached]) -> Iterator[Cluster]:
    servers = [new_memcached() for _ in range(3)]
    addresses = [server.address for server in servers]
    with closing(MemcachedStore(addresses, timeout=PATIENCE)) as store:
        yield Cluster(servers, store)


def test_F1_sessions_of_a_dead_node_are_unavailable_and_never_looked_for_elsewhere(cluster: Cluster) -> None:
    records = {id(server): cluster.record_on(server) for server in cluster.servers}
    for record in records.values():
        cluster.store.create(record)
    for server in cluster.servers:
        assert server.count() == 1, "each session is where the test thinks it is"
    dead = cluster.servers[0]
    dead.kill()
    for operation in OPERATIONS[1:]:
        with pytest.raises(StoreUnavailableError):
            call(cluster.store, operation, records[id(dead)])
    with pytest.raises(StoreUnavailableError):
        cluster.store.create(cluster.record_on(dead))
    for server in cluster.servers[1:]:
        assert cluster.store.load(records[id(server)].key) is not None
        assert server.count() == 1
    dead.start()
    assert cluster.store.load(records[id(dead)].key) is None, "it came back empty"


def test_F5_a_restart_loses_every_session_which_is_no_error_and_the_documentation_says_so(
    new_memcached: Callable[..., Memcached],
) -> None:
    server = new_memcached()
    with closing(MemcachedStore(server.address, timeout=PATIENCE)) as store:
        manager = Manager(store, Keyring(["a secret for tests: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"]))
        sessions = [manager.new_session() for _ in range(20)]
        for number, session in enumerate(sessions):
            session["number"] = number
            manager.commit(session)
        server.kill()
        server.start()
        assert [manager.open(session.token).record for session in sessions] == [None] * 20
        sessions[0]["number"] = "changed"
        with pytest.raises(SessionGoneError):
            manager.commit(sessions[0])
        assert server.count() == 0, "a save creates nothing"
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "memcached.md").read_text("utf-8")
    assert "A restart loses it" in page


def test_C1_C3_a_logout_that_did_not_reach_its_node_is_not_acknowledged(cluster: Cluster) -> None:
    server = cluster.servers[0]
    record = cluster.record_on(server)
    cluster.store.create(record)
    server.stop()
    with in_a_hurry(cluster.store), pytest.raises(StoreTimeoutError):
        cluster.store.delete(record.key)
    server.resume()
    cluster.store.delete(record.key)  # now it is
    server.stop()
    server.resume()
    assert cluster.store.load(record.key) is None
    with pytest.raises(SessionGoneError):
        cluster.store.update(record, record.version)
    assert cluster.store.touch(record.key, record.idle_deadline) is False


@pytest.mark.parametrize("write", ["update", "touch", "move"])
def test_C1_what_a_stopped_node_still_has_to_read_revives_no_session(cluster: Cluster, write: str) -> None:
    """Writes that timed out lie in its sockets and are carried out when it goes on."""
    server = cluster.servers[0]
    record = cluster.record_on(server)
    with closing(MemcachedStore([node.address for node in cluster.servers], timeout=PATIENCE)) as store:
        store.create(record)
        loaded = store.load(record.key)
        assert loaded is not None
        server.stop()
        for _ in range(3):
            with in_a_hurry(store), pytest.raises(StoreTimeoutError):
                call(store, write, loaded)
        server.resume()
        store.delete(record.key)
    until(lambda: server.connections == 0)  # it has read everything
    assert cluster.store.load(record.key) is None


@pytest.mark.parametrize("broken", ["old", "new"])
def test_T3_a_move_between_nodes_of_which_one_is_dead_leaves_the_session_where_it_was(
    cluster: Cluster, broken: str
) -> None:
    here, there = cluster.servers[:2]
    old, new = cluster.record_on(here), cluster.record_on(there)
    version = cluster.store.create(old)
    dead = here if broken == "old" else there
    dead.kill()
    with pytest.raises(StoreUnavailableError):
        cluster.store.move(old.key, version, new)
    dead.start()
    assert cluster.store.load(new.key) is None
    assert (cluster.store.load(old.key) is None) == (broken == "old"), "gone only with its node"


@dataclass
class Visitors:
    """Users who sign in, work and sign out, on a store of their own."""

    addresses: list[str]
    #: How many visits came to their end, or to which error.
    counts: Counter[str] = field(default_factory=Counter)
    #: Records of sessions whose end was acknowledged.
    ended: list[Record] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    news: threading.Condition = field(default_factory=threading.Condition)

    def come_and_go(self, seed: int) -> None:
        chance = random.Random(seed)
        with closing(MemcachedStore(self.addresses, timeout=SHORT)) as store:
            while not self.over.is_set():
                try:
                    self.visit(store, chance)
                    seen = "visits"
                except SessionError as error:
                    seen = type(error).__name__
                with self.news:
                    self.counts[seen] += 1
                    self.news.notify()

    def visit(self, store: MemcachedStore, chance: random.Random) -> None:
        record = new_record(CLOCK)
        version = store.create(record)
        for _ in range(chance.randrange(4)):
            version = store.update(record, version)
        store.touch(record.key, record.idle_deadline)
        if chance.random() < 0.3:
            old, record = record, new_record(CLOCK)
            store.move(old.key, version, record)
            self.ended.append(old)
        store.delete(record.key)
        self.ended.append(record)

    def wait_for(self, what: str, times: int) -> None:
        """Let them come and go until that has happened so many times more."""
        with self.news:
            enough = self.counts[what] + times
            assert self.news.wait_for(lambda: self.counts[what] >= enough, PATIENCE), what


def test_C1_three_nodes_under_load_killed_and_stopped_in_turn_revive_no_session(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    resting = [[cluster.record_on(server) for _ in range(20)] for server in cluster.servers]
    for record in itertools.chain(*resting):
        cluster.store.create(record)

    def found(records: Iterable[Record]) -> int:
        return sum(cluster.store.load(record.key) is not None for record in records)

    visitors = Visitors([server.address for server in cluster.servers])
    threads = [threading.Thread(target=visitors.come_and_go, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    of_others = continued = restarted = 0
    try:
        for number, server in enumerate(cluster.servers):
            unharmed = resting[number + 1 :]
            visitors.wait_for("visits", 50)
            server.stop()
            visitors.wait_for("StoreTimeoutError", 8)
            of_others += found(itertools.chain(*unharmed))
            server.resume()
            visitors.wait_for("visits", 50)
            continued += found(resting[number])
            server.kill()
            visitors.wait_for("StoreUnavailableError", 50)
            of_others += found(itertools.chain(*unharmed))
            server.start()
            visitors.wait_for("visits", 50)
            restarted += found(resting[number])
    finally:
        visitors.over.set()
        for thread in threads:
            thread.join()
    revived = found(visitors.ended)
    with capsys.disabled():
        sys.stdout.write(
            f"\n3 nodes, each stopped and continued, then killed and started: {len(visitors.ended)} sessions "
            f"ended, {revived} revived; of 60 at rest {continued} found on nodes continued, {restarted} on "
            f"nodes started again, {of_others} of 120 times on other nodes; {dict(visitors.counts)}\n"
        )
    assert revived == 0
    assert of_others == 2 * (40 + 20)
    assert (continued, restarted) == (60, 0)
    assert len(visitors.ended) >= 450
