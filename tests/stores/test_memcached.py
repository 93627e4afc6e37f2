"""The memcached store: what lies in memcached, what goes over the wire, and its limits.

The general promises are in the store contract; connections and failures have tests of their own.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn import AsyncManager, Keyring, Manager
from sojourn.clock import SystemClock
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    PayloadTooLargeError,
    SessionGoneError,
)
from sojourn.policy import EXPIRY_KEY
from sojourn.record import Version
from sojourn.session import Session
from sojourn.store import AsyncPurge, AsyncScan, AsyncSubjectIndex, Purge, Scan, SubjectIndex
from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.stores.memcached.item import decode, encode, ttl
from sojourn.stores.memcached.protocol import Reply
from sojourn.testing import FakeClock
from sojourn.testing.records import new_record
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.memcached import Memcached

CLOCK = SystemClock()
KEYRING = Keyring(["a secret for tests: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"])
DAY = 24 * 3600

#: Seconds; a busy machine is no fault.
PATIENCE = 20.0


@pytest.fixture
def store(memcached_proxy: Proxy) -> Iterator[MemcachedStore]:
    with closing(MemcachedStore(memcached_proxy.address, timeout=PATIENCE)) as store:
        yield store


class Wire:
    """Counts round trips."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._before = proxy.round_trips

    def trips(self) -> int:
        before, self._before = self._before, self._proxy.round_trips
        return self._before - before


# Round trips


def test_one_operation_is_one_round_trip_and_a_move_is_two(
    store: MemcachedStore, memcached_proxy: Proxy
) -> None:
    wire = Wire(memcached_proxy)
    record = new_record(CLOCK, subject=b"s", info=b"i", absolute_deadline=CLOCK.now() + 3_600_000)
    version = store.create(record)
    assert wire.trips() == 1
    version = store.update(record, version)
    assert wire.trips() == 1
    loaded = store.load(record.key)
    assert loaded == replace(record, version=version)
    assert wire.trips() == 1
    version = store.update(record, loaded.version)
    assert wire.trips() == 1
    assert store.touch(record.key, record.idle_deadline + 1000) is True
    assert wire.trips() == 1
    loaded = store.load(record.key)
    assert loaded is not None
    assert wire.trips() == 1
    renewed = new_record(CLOCK)
    version = store.move(record.key, loaded.version, renewed)
    assert wire.trips() == 2
    store.update(renewed, version)
    assert wire.trips() == 1
    assert store.delete(renewed.key) is True
    assert wire.trips() == 1
    assert store.load(renewed.key) is None
    assert wire.trips() == 1
    assert memcached_proxy.accepted == 1


async def test_asyncio_takes_no_more_round_trips(memcached_proxy: Proxy) -> None:
    store = AsyncMemcachedStore(memcached_proxy.address, timeout=PATIENCE)
    wire = Wire(memcached_proxy)
    record, renewed = new_record(CLOCK), new_record(CLOCK)
    await store.create(record)
    loaded = await store.load(record.key)
    assert loaded is not None
    await store.update(record, loaded.version)
    assert wire.trips() == 3
    loaded = await store.load(record.key)
    assert loaded is not None
    await store.touch(record.key, record.idle_deadline)
    assert wire.trips() == 2
    loaded = await store.load(record.key)
    assert loaded is not None
    await store.update(renewed, await store.move(record.key, loaded.version, renewed))
    await store.delete(renewed.key)
    assert wire.trips() == 5
    assert memcached_proxy.accepted == 1
    await store.close()


def test_a_version_without_its_proof_costs_one_more_and_after_a_touch_two(
    store: MemcachedStore, memcached_proxy: Proxy
) -> None:
    record = new_record(CLOCK)
    version = store.create(record)
    wire = Wire(memcached_proxy)
    version = store.update(record, Version(*version))
    assert wire.trips() == 2
    store.touch(record.key, record.idle_deadline + 60_000)
    assert wire.trips() == 1
    assert store.update(record, version) == version.next()
    assert wire.trips() == 3


#: Round trips of a request, with one server and with several: the budget of the design.
BUDGET = {
    "read": 1,
    "modified": 2,
    "new": 1,
    "login, no session before": 2,
    "login, with one": 4,
    "logout": 2,
    "a page that only sets its expiry": 1,
}


@pytest.fixture(params=[1, 3])
def proxies(request: pytest.FixtureRequest, memcached_nodes: list[Memcached]) -> Iterator[list[Proxy]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Proxy(node.port)) for node in memcached_nodes[: request.param]]


def test_the_budget_of_requests_is_kept(proxies: list[Proxy]) -> None:
    store = MemcachedStore([proxy.address for proxy in proxies], timeout=PATIENCE)
    manager = Manager(store, KEYRING, subject_of=lambda values: values.get("user"))
    before = 0

    def request(token: str | None, *work: Callable[[Session], object]) -> str | None:
        """Do each ``work`` and save after it, as Django does after a sign-in."""
        session = manager.open(token)
        for do in work:
            do(session)
            manager.commit(session)
        return session.token

    def assign(session: Session) -> None:
        session["a"] = session.get("a", 0) + 1

    def sign_in(session: Session) -> None:
        session.renew(authenticated=True)
        session["user"] = "u"

    def set_expiry(session: Session) -> None:
        session[EXPIRY_KEY] = 1800

    requests: dict[str, Callable[[], object]] = {
        "read": lambda: request(visitor(), lambda session: session["a"]),
        "modified": lambda: request(visitor(), assign),
        "new": lambda: request(None, assign),
        "login, no session before": lambda: request(None, sign_in, assign),
        "login, with one": lambda: request(visitor(), sign_in, assign),
        "logout": lambda: request(visitor(), Session.end),
        "a page that only sets its expiry": lambda: request(visitor(), set_expiry),
    }

    def visitor() -> str | None:
        """Return the token of a session there is; what that took is not counted."""
        nonlocal before
        token = request(None, assign, set_expiry)
        before = trips()
        return token

    def trips() -> int:
        return sum(proxy.round_trips for proxy in proxies)

    counted = {}
    for name, do in requests.items():
        before = trips()
        do()
        counted[name] = trips() - before
    assert counted == BUDGET
    store.close()


# What lies there


def test_S1_a_dump_holds_no_plaintext_and_no_token(memcached: Memcached) -> None:
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as store:
        manager = Manager(store, KEYRING, subject_of=lambda values: values.get("user"))
        session = manager.new_session()
        session["canary key"] = "canary value"
        session["user"] = "canary user"
        session.label = "canary label"
        manager.commit(session)
        assert session.record is not None
        dump = memcached.dump()
        assert session.record.key.encode() in dump
        assert session.record.payload in dump
        assert b"canary" not in dump
        assert session.token is not None
        assert session.token.encode() not in dump


def test_S2_a_session_planted_without_the_server_secret_is_none(memcached: Memcached) -> None:
    """Also under a token the planter chose, and copied byte by byte from another server's."""
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as store:
        stranger = Manager(store, Keyring(["another secret: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"]))
        session = stranger.new_session()
        session["user"] = "somebody else"
        stranger.commit(session)
        assert stranger.open(session.token)["user"] == "somebody else"
        opened = Manager(store, KEYRING).open(session.token)
        assert opened.record is None
        assert not opened


def test_S6_nothing_but_a_digest_ever_reaches_the_wire(store: MemcachedStore, memcached_proxy: Proxy) -> None:
    digest = secrets.token_hex(32)
    for key in (
        "",
        digest[:-1],
        digest + "0",
        digest.upper().replace("0", "A"),
        digest[:-1] + "\n",
        digest + "\r\n",
        f"{digest[:10]} {digest[11:]}",
        "a b",
        "zz\r\nset x 0 0 1\r\n1\r\n",
        digest[:-1] + "\0",
        digest[:-1] + "é",
        digest[:-1] + "\uff11",
    ):
        record = new_record(CLOCK, key=key)
        good = new_record(CLOCK)
        for call in (
            lambda record=record: store.create(record),
            lambda record=record: store.load(record.key),
            lambda record=record: store.update(record, Version.first()),
            lambda record=record: store.touch(record.key, record.idle_deadline),
            lambda record=record, good=good: store.move(record.key, Version.first(), good),
            lambda record=record: store.delete(record.key),
        ):
            with pytest.raises(ValueError, match="64 lower-case hexadecimal digits") as caught:
                call()
            assert not key or key not in str(caught.value)
    assert memcached_proxy.accepted == 0


@pytest.mark.parametrize("prefix", ["a b", "a\r\nflush_all\r\n", "ž", "x" * 129, "\0", "\t"])
def test_S6_a_prefix_that_would_break_a_command_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="key_prefix"):
        MemcachedStore("localhost", key_prefix=prefix)


def test_stores_with_different_prefixes_share_nothing(memcached: Memcached) -> None:
    record = new_record(CLOCK)
    with (
        closing(MemcachedStore(memcached.address, key_prefix="one:")) as one,
        closing(MemcachedStore(memcached.address, key_prefix="")) as other,
    ):
        one.create(record)
        assert other.load(record.key) is None
        other.create(record)
        assert one.delete(record.key) is True
        assert other.delete(record.key) is True


def test_L3_a_session_of_31_days_is_kept_for_31_days(memcached: Memcached) -> None:
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as store:
        for days in (30, 31, 400):
            for deadlines in ({}, {"absolute_deadline": CLOCK.now() + (days + 9) * DAY * 1000}):
                record = new_record(CLOCK, lives=days * DAY + 1, **deadlines)
                version = store.create(record)
                assert left(memcached) == pytest.approx(days * DAY, abs=60)  # the machine may be busy
                version = store.update(record, version)
                assert left(memcached) == pytest.approx(days * DAY, abs=60)
                store.touch(record.key, record.idle_deadline + DAY * 1000)
                assert left(memcached) == pytest.approx((days + 1) * DAY, abs=60)
                assert store.delete(record.key) is True


@pytest.mark.parametrize("lives", [20, 100, 1_000])
def test_L3_a_session_that_is_to_outlive_memcacheds_calendar_is_kept_to_its_end(
    memcached: Memcached, lives: int
) -> None:
    """Its instants end in January 2038; a later one it takes, and forgets the item at once."""
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as store:
        record = new_record(CLOCK, lives=lives * 366 * DAY)
        version = store.create(record)
        assert store.load(record.key) == record.at(version)
        assert left(memcached) + time.time() == pytest.approx((1 << 31) - 1, abs=60)
        store.update(record, version)
        assert store.touch(record.key, record.idle_deadline + 1) is True
        assert store.load(record.key) is not None
        assert store.delete(record.key) is True


def left(memcached: Memcached) -> float:
    """Return the seconds its only item still has."""
    [expires] = re.findall(rb"exp=(-?\d+)", memcached.dump())
    return int(expires) - time.time()


@given(
    started=st.integers(0, 999),
    ticks=st.integers(0, 999),
    touched=st.integers(10_000, 99_999),
    lives=st.integers(5_000, 40 * DAY * 1000),
    share=st.floats(0, 0.99),
)
def test_a_touched_deadline_is_told_to_a_second_and_a_half(
    started: int, ticks: int, touched: int, lives: int, share: float
) -> None:
    """Memcached counts whole seconds, from any moment; it takes instants from when it was started.

    In milliseconds: it ``started`` in the midst of a second of wall time, its own seconds begin ``ticks``
    after those.
    """

    def seconds(now: int) -> int:
        return (now - ticks) // 1000

    deadline, read = touched + lives, touched + int(lives * share)
    told = ttl(deadline, now=touched)
    if told == lives // -1000 * -1:
        expires, late = seconds(touched) + told, 1500
    else:
        expires, late = told + seconds(started), 2500
    record = new_record(FakeClock(now=touched), idle_deadline=deadline)
    left = b"%d" % (expires - seconds(read))
    reply = Reply(b"VA", encode(record, Version.first()), cas=b"1", left=left, marks=b" X")
    loaded = decode(record.key, reply, None, now=read)
    assert -1500 <= loaded.idle_deadline - deadline <= late


def test_D3_a_session_too_large_is_refused_before_any_input_or_output(
    store: MemcachedStore, memcached_proxy: Proxy
) -> None:
    large = new_record(CLOCK, payload=bytes(1_000_001))
    refused: tuple[Callable[[], object], ...] = (
        lambda: store.create(large),
        lambda: store.update(large, Version.first()),
        lambda: store.move(new_record(CLOCK).key, Version.first(), large),
    )
    for call in refused:
        with pytest.raises(PayloadTooLargeError, match=r"1000001 bytes.* 1000000;"):
            call()
    assert memcached_proxy.accepted == 0
    just = new_record(CLOCK, payload=bytes(1_000_000))
    store.create(just)
    assert store.load(just.key) is not None


def test_D3_a_manager_that_knows_the_limit_names_the_largest_keys_too(
    store: MemcachedStore, memcached_proxy: Proxy
) -> None:
    manager = Manager(store, KEYRING, max_payload=900_000)
    session = manager.new_session()
    session["small"], session["large"], session["largest"] = "x", "y" * 400_000, "z" * 500_100
    with pytest.raises(PayloadTooLargeError) as caught:
        manager.commit(session)
    assert re.search(r"is 9001\d\d bytes, the limit is 900000;", str(caught.value))
    assert re.search(r"'largest' 500\d{3}, 'large' 400\d{3}, 'small'", str(caught.value))
    assert memcached_proxy.accepted == 0


def test_D3_a_smaller_limit_of_the_server_is_the_same_error(
    new_memcached: Callable[..., Memcached],
) -> None:
    server = new_memcached("-I", "512k")
    with closing(MemcachedStore(server.address, timeout=PATIENCE)) as store:
        with pytest.raises(PayloadTooLargeError, match="max_payload"):
            store.create(new_record(CLOCK, payload=bytes(600_000)))
        store.create(new_record(CLOCK))


def test_L1_a_touch_beyond_the_absolute_deadline_revives_nothing(memcached: Memcached) -> None:
    """Memcached is told the idle deadline only; the absolute one is the store's to keep."""
    clock = FakeClock()
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE, clock=clock)) as store:
        deadline = clock.now() + 600_000
        records = [new_record(clock, absolute_deadline=deadline) for _ in range(5)]
        versions = [store.create(record) for record in records]
        for record in records:
            assert store.touch(record.key, record.idle_deadline) is True
        clock.advance_to(deadline - 1)
        assert store.load(records[0].key) is not None
        clock.advance_to(deadline)
        assert memcached.count() == 5
        assert store.load(records[0].key) is None
        assert store.touch(records[1].key, records[1].idle_deadline) is False
        assert store.delete(records[2].key) is False
        with pytest.raises(SessionGoneError):
            store.update(records[3], versions[3])
        store.create(replace(records[4], absolute_deadline=None))
        for record in records[:4]:
            assert store.load(record.key) is None
        assert memcached.count() == 1


def test_it_is_a_store_and_nothing_more(memcached: Memcached) -> None:
    store = MemcachedStore(memcached.address)
    assert not isinstance(store, SubjectIndex | Purge | Scan)
    assert not isinstance(AsyncMemcachedStore(memcached.address), AsyncSubjectIndex | AsyncPurge | AsyncScan)


# Versions and CAS ids


def test_C2_cas_ids_that_memcached_reuses_after_a_restart_overwrite_nothing(
    new_memcached: Callable[..., Memcached],
) -> None:
    server = new_memcached()
    key = new_record(CLOCK).key
    with (
        closing(MemcachedStore(server.address, timeout=PATIENCE)) as store,
        closing(MemcachedStore(server.address, timeout=PATIENCE)) as other,
    ):
        before = store.create(new_record(CLOCK, key=key, payload=b"before"))
        server.kill()
        server.start()
        after = new_record(CLOCK, key=key, payload=b"after")
        version = other.create(after)
        cas = re.findall(rb" c(\d+)", server.ask(b"mg sojourn:%s c\r\n" % key.encode()))
        assert [int(found) for found in cas] == [getattr(before, "cas", None)], "the very same id"
        with pytest.raises(ConflictError):
            store.update(new_record(CLOCK, key=key, payload=b"late"), before)
        with pytest.raises(ConflictError):
            store.move(key, before, new_record(CLOCK))
        assert other.load(key) == replace(after, version=version)


def test_C2_distinct_keys_written_by_8_threads_are_all_kept(memcached: Memcached) -> None:
    with closing(MemcachedStore(memcached.address, timeout=PATIENCE)) as store:
        managers = [Manager(store, KEYRING, timeout=60) for _ in range(8)]  # as many processes
        session = managers[0].new_session()
        session["start"] = True
        managers[0].commit(session)
        start = threading.Barrier(8)

        def write(worker: int) -> None:
            start.wait()
            for number in range(50):
                mine = managers[worker].open(session.token)
                mine[f"{worker} {number}"] = number
                managers[worker].commit(mine)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(write, range(8)))
        kept = managers[0].open(session.token)
        found = sum(f"{worker} {number}" in kept for worker in range(8) for number in range(50))
        assert found == 400


async def test_C2_distinct_keys_written_by_8_tasks_are_all_kept(memcached_nodes: list[Memcached]) -> None:
    store = AsyncMemcachedStore([node.address for node in memcached_nodes], timeout=PATIENCE)
    managers = [AsyncManager(store, KEYRING, timeout=60) for _ in range(8)]
    session = managers[0].new_session()
    session["start"] = True
    await managers[0].commit(session)

    async def write(worker: int) -> None:
        for number in range(50):
            mine = await managers[worker].open(session.token)
            mine[f"{worker} {number}"] = number
            await managers[worker].commit(mine)

    await asyncio.gather(*[write(worker) for worker in range(8)])
    kept = await managers[0].open(session.token)
    assert sum(f"{worker} {number}" in kept for worker in range(8) for number in range(50)) == 400
    await store.close()
