"""What the cached store does beyond the contract: leases, round trips, transactions, outages."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.errors import ConfigurationError, ConflictError, SessionGoneError, StoreUnavailableError
from sojourn.keyring import Keyring
from sojourn.manager import Manager
from sojourn.record import dated_key
from sojourn.stores.cached import AsyncCachedStore, CachedStore
from sojourn.stores.cached.item import OUTDATED, TOMBSTONE, Copy, decode, encode
from sojourn.stores.memcached import MemcachedStore
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.testing import (
    AsyncFaultyStore,
    Delay,
    Fail,
    FakeClock,
    FaultyStore,
    Meanwhile,
    new_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.record import Record

#: Seconds, as they are by default.
LEASE = 30
REST = 1
#: By which the clocks of machines may differ.
TOLERANCE = 5

KEYRING = Keyring(["4b7Jx0mVw1qTzYd8RkPn2cHs6GfL9eAu"])


class Pair:
    """A cached store with an eye on both its stores; ``other()`` is that of another process."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.cache = FaultyStore(MemoryStore(clock=self.clock))
        self.origin = FaultyStore(MemoryStore(clock=self.clock))
        self.store = self.other(**settings)

    def other(self, clock: FakeClock | None = None, **settings: Any) -> CachedStore:
        return CachedStore(self.cache, self.origin, clock=self.clock if clock is None else clock, **settings)

    def kept(self, **fields: Any) -> Record:
        """Return a record as it is stored, with a good copy."""
        record = new_record(self.clock, **fields)
        return record.at(self.store.create(record))

    def forget(self) -> None:
        self.cache.forget()
        self.origin.forget()

    @property
    def trips(self) -> tuple[int, int]:
        """How often the cache was asked since ``forget()``, and the origin."""
        return len(self.cache.calls), len(self.origin.calls)

    def content(self, record: Record) -> Copy | bytes | None:
        there = self.cache.inner.load(record.key)
        return None if there is None else decode(record.key, there.payload)


@pytest.fixture
def pair() -> Pair:
    return Pair()


# What lies in the cache


def test_a_copy_comes_back_as_it_was_encoded() -> None:
    clock = FakeClock()
    for fields in (
        {},
        {"payload": b"", "info": b"i"},
        {"subject": bytes(range(32)), "absolute_deadline": clock.now() + 1, "info": bytes(256)},
        {"created_at": -5, "idle_deadline": -(1 << 62), "subject": b""},
    ):
        copy = Copy(new_record(clock, **fields), clock.now() + 30_000)
        assert decode(copy.record.key, encode(copy)) == copy
    assert decode("", OUTDATED) == OUTDATED
    assert decode("", TOMBSTONE) == TOMBSTONE


@pytest.mark.parametrize("foreign", [b"", b"x", b"\x80\x04pickled", b"\xc1short", bytes(200)])
def test_what_another_program_left_in_the_cache_is_neither_read_nor_replaced(
    pair: Pair, foreign: bytes
) -> None:
    record = pair.kept()
    there = pair.cache.inner.load(record.key)
    assert there is not None
    pair.cache.inner.update(replace(there, payload=foreign), there.version)
    assert pair.store.load(record.key) == record
    there = pair.cache.inner.load(record.key)
    assert there is not None
    assert there.payload == foreign
    pair.store.delete(record.key)
    assert pair.content(record) == TOMBSTONE


def test_S1_a_copy_holds_what_the_origin_holds_and_the_cache_learns_no_subject(pair: Pair) -> None:
    record = pair.kept(payload=b"sealed", subject=b"a digest")
    copy = pair.content(record)
    assert isinstance(copy, Copy)
    assert copy.record == record
    inner: Any = pair.cache.inner
    assert inner.find_subject(b"a digest") == []


# Leases


def test_C3_a_copy_is_good_until_its_lease_is_over_and_no_longer(pair: Pair) -> None:
    record = pair.kept()
    pair.clock.advance(LEASE - 0.001)
    pair.forget()
    assert pair.store.load(record.key) == record
    assert pair.trips == (1, 0)
    pair.clock.advance(0.001)
    assert pair.store.load(record.key) == record
    assert pair.origin.counts == {"load": 1}


def test_C3_the_lease_counts_from_before_the_origin_is_asked() -> None:
    for operation in ("load", "update"):
        pair = Pair()
        record = pair.kept()
        pair.clock.advance(LEASE)
        pair.origin.plan(Meanwhile(operation, lambda pair=pair: pair.clock.advance(LEASE - 1), after=True))
        if operation == "load":
            pair.store.load(record.key)
        else:
            pair.store.update(record, record.version)
        pair.forget()
        pair.store.load(record.key)
        assert pair.trips == (1, 0)
        pair.clock.advance(1)
        pair.store.load(record.key)
        assert pair.origin.counts == {"load": 1}


def test_C3_a_session_ended_in_the_origin_by_hand_is_over_within_the_lease(pair: Pair) -> None:
    record = pair.kept()
    pair.origin.inner.delete(record.key)
    assert pair.store.load(record.key) is not None
    pair.clock.advance(LEASE)
    assert pair.store.load(record.key) is None
    assert pair.content(record) == TOMBSTONE, "so that nobody who read it before puts it back"


def test_C3_a_copy_outlives_its_lease_by_no_more_than_clocks_differ(pair: Pair) -> None:
    """One clock is right, the other slow."""
    for slow_by in (2, TOLERANCE, 20):
        slow = FakeClock(now=pair.clock.now() - slow_by * 1000)
        reader = pair.other(slow)
        record = pair.kept()
        pair.origin.inner.delete(record.key)
        served = 0
        for _ in range(2 * LEASE):
            served += reader.load(record.key) is not None
            pair.clock.advance(1)
            slow.advance(1)
        assert served <= LEASE + slow_by


def test_L2_a_lease_too_far_ahead_is_no_lease(pair: Pair) -> None:
    record = pair.kept()
    pair.clock.step(-TOLERANCE)
    pair.forget()
    pair.store.load(record.key)
    assert pair.trips == (1, 0)
    pair.clock.step(-0.001)
    pair.store.load(record.key)
    assert pair.origin.counts == {"load": 1}


@pytest.mark.parametrize("operation", ["load", "touch", "delete", "update", "move"])
def test_L2_what_was_seen_dead_stays_dead_when_the_clock_steps_back_into_the_lease(
    pair: Pair, operation: str
) -> None:
    record = pair.kept(lives=10)
    pair.clock.advance(10)
    calls: dict[str, Callable[[], object]] = {
        "load": lambda: pair.store.load(record.key),
        "touch": lambda: pair.store.touch(record.key, record.idle_deadline + 60_000),
        "delete": lambda: pair.store.delete(record.key),
        "update": lambda: pair.store.update(record, record.version),
        "move": lambda: pair.store.move(record.key, record.version, new_record(pair.clock)),
    }
    with suppress(SessionGoneError):
        calls[operation]()
    pair.clock.step(-5)
    assert pair.other().load(record.key) is None


def test_L1_a_copy_that_says_dead_is_not_believed_before_the_origin_says_so(pair: Pair) -> None:
    """Somebody has touched the session, and the notice of that did not get here."""
    record = pair.kept(lives=10)
    later = record.idle_deadline + 60_000
    pair.origin.inner.touch(record.key, later)
    pair.clock.advance(10)
    assert pair.store.load(record.key) == replace(record, idle_deadline=later)
    pair.forget()
    assert pair.store.load(record.key) is not None
    assert pair.trips == (1, 0)


# Round trips


def requests(pair: Pair) -> dict[str, Callable[[], Any]]:
    """Return what each kind of request asks of the manager, as Django's do (tests/django/test_budget.py)."""
    manager = Manager(pair.store, KEYRING, clock=pair.clock)
    session = manager.open(None)
    session["basket"] = ["pear"]
    manager.commit(session)
    token = session.token

    def read() -> None:
        assert manager.open(token)["basket"]

    def modified() -> None:
        opened = manager.open(token)
        opened["basket"].append("apple")
        manager.commit(opened)

    def new() -> None:
        opened = manager.open(None)
        opened["basket"] = ["apple"]
        manager.commit(opened)

    def login(before: str | None) -> None:
        opened = manager.open(before)
        opened["_subject"] = "ada"
        opened.renew()
        manager.commit(opened)
        opened["hash"] = "…"
        manager.commit(opened)

    def logout() -> None:
        opened = manager.open(token)
        assert opened["basket"]
        assert manager.end(opened)

    return {
        "read": read,
        "modified": modified,
        "new": new,
        "login, no session before": lambda: login(None),
        "login, with one": lambda: login(token),
        "logout": logout,
    }


WITHIN_THE_LEASE = {
    "read": 1,
    "modified": 3,
    "new": 2,
    "login, no session before": 4,
    "login, with one": 6,
    "logout": 3,
}
#: The copy is put back when the session is read: then everybody who waits for it is served by it.
LAPSED_OR_COLD = WITHIN_THE_LEASE | {"read": 3, "modified": 5, "login, with one": 8, "logout": 5}


@pytest.mark.parametrize(
    ("passed", "budget"), [(0, WITHIN_THE_LEASE), (LEASE, LAPSED_OR_COLD), (600, LAPSED_OR_COLD)]
)
def test_each_request_costs_the_round_trips_of_the_budget(passed: int, budget: dict[str, int]) -> None:
    counted = {}
    for name in budget:
        pair = Pair()
        request = requests(pair)[name]
        pair.clock.advance(passed)
        pair.forget()
        request()
        counted[name] = sum(pair.trips)
    assert counted == budget


def test_sessions_that_end_on_one_day_do_not_make_each_other_forget_their_copies(pair: Pair) -> None:
    records = [pair.kept(key=dated_key(f"{number:064x}", 20_000)) for number in range(100)]
    pair.forget()
    for record in records:
        pair.store.delete(record.key)
    assert pair.trips == (100, 100)  # a process knows where its copies lie: one write buries each


def test_in_a_transaction_a_save_takes_the_place_of_the_refill_before_it() -> None:
    transaction = Transaction()
    pair = Pair(after_commit=transaction.after_commit)
    request = requests(pair)["modified"]
    pair.clock.advance(LEASE)
    pair.forget()
    transaction.is_open = True
    request()
    transaction.commit()
    assert sum(pair.trips) == 4
    assert pair.cache.counts == {"load": 1, "update": 1}


def test_a_touch_costs_two_and_the_next_load_asks_the_origin(pair: Pair) -> None:
    record = pair.kept()
    pair.store.load(record.key)
    pair.forget()
    touched = replace(record, idle_deadline=record.idle_deadline + 1)
    assert pair.store.touch(record.key, touched.idle_deadline)
    assert pair.trips == (1, 1)
    assert pair.other().load(record.key) == touched
    assert pair.trips == (3, 2)


def test_D2_an_unknown_key_costs_one_read_of_each_and_no_write(pair: Pair) -> None:
    key = new_record(pair.clock).key
    assert pair.store.load(key) is None
    assert (pair.cache.counts, pair.origin.counts) == ({"load": 1}, {"load": 1})
    assert pair.store.delete(key) is False
    assert set(pair.cache.counts) == {"load"}


# Conflicts


def test_C2_who_met_a_conflict_is_not_shown_the_copy_that_led_to_it(pair: Pair) -> None:
    """Another process has saved and died before it could tell the cache."""
    record = pair.kept()
    loaded = pair.store.load(record.key)
    assert loaded is not None
    saved = replace(record, payload=b"saved", version=pair.origin.inner.update(record, record.version))
    pair.origin.inner.update(replace(saved, payload=b"saved again"), saved.version)
    with pytest.raises(ConflictError):
        pair.store.update(loaded, loaded.version)
    fresh = pair.store.load(record.key)
    assert fresh is not None
    assert fresh.payload == b"saved again"
    pair.store.update(fresh, fresh.version)


def test_C3_who_ends_all_sessions_of_a_user_ends_the_one_that_is_renewed_meanwhile(pair: Pair) -> None:
    record = pair.kept(subject=b"ada")
    renewed = new_record(pair.clock, subject=b"ada")
    other = pair.other()
    pair.origin.plan(
        Meanwhile("find_subject", lambda: other.move(record.key, record.version, renewed), after=True)
    )
    store: Any = pair.store
    assert store.delete_subject(b"ada") == 1
    assert [other.load(key) for key in (record.key, renewed.key)] == [None, None]


# Large sessions


def test_D3_a_session_too_large_for_the_cache_is_kept_and_served_all_the_same() -> None:
    clock = FakeClock()
    store = CachedStore(MemoryStore(clock=clock, max_bytes=3000), MemoryStore(clock=clock), clock=clock)
    record = new_record(clock, payload=b"small")
    version = store.create(record)
    large = replace(record, payload=bytes(4000))
    version = store.update(large, version)
    assert store.load(record.key) == large.at(version)
    assert store.update(record, version)
    loaded = store.load(record.key)
    assert loaded is not None
    assert loaded.payload == b"small"


# Many at once


def test_F6_500_threads_on_a_cold_cache_read_the_origin_a_handful_of_times(pair: Pair) -> None:
    record = pair.kept()
    pair.clock.advance(600)
    pair.forget()
    pair.origin.plan(Delay("load", seconds=0.05, times=None))
    start = threading.Barrier(500)

    def load(_: int) -> Record | None:
        start.wait()
        return pair.store.load(record.key)

    with ThreadPoolExecutor(500) as threads:
        loaded = list(threads.map(load, range(500)))
    assert loaded == [record] * 500
    assert pair.origin.counts["load"] <= 5


async def test_F6_500_tasks_on_a_cold_cache_read_the_origin_a_handful_of_times() -> None:
    clock = FakeClock()
    cache, origin = (AsyncFaultyStore(AsyncMemoryStore(MemoryStore(clock=clock))) for _ in range(2))
    store = AsyncCachedStore(cache, origin, clock=clock)
    record = new_record(clock)
    record = record.at(await store.create(record))
    clock.advance(600)
    origin.forget()
    origin.plan(Delay("load", seconds=0.05, times=None))
    loaded = await asyncio.gather(*[store.load(record.key) for _ in range(500)])
    assert loaded == [record] * 500
    assert origin.counts["load"] <= 5


# Transactions


class Transaction:
    """What an application has begun and what it keeps for the commit."""

    def __init__(self) -> None:
        self.is_open = False
        self.kept: list[Callable[[], object]] = []

    def after_commit(self, write: Callable[[], object]) -> bool:
        if self.is_open:
            self.kept.append(write)
        return self.is_open

    def commit(self) -> None:
        self.is_open = False
        kept, self.kept = self.kept, []
        for write in kept:
            write()

    def roll_back(self) -> None:
        self.is_open = False
        self.kept.clear()


@pytest.fixture
def transaction() -> Transaction:
    return Transaction()


def test_the_cache_hears_of_a_transaction_when_it_is_committed(transaction: Transaction) -> None:
    pair = Pair(after_commit=transaction.after_commit)
    record = pair.kept()
    ended, lapsed = pair.kept(), pair.kept()
    before = [pair.content(each) for each in (record, ended, lapsed)]
    transaction.is_open = True
    changed = replace(record, payload=b"changed")
    version = pair.store.update(changed, record.version)
    version = pair.store.update(changed, version)
    pair.store.delete(ended.key)
    renewed = new_record(pair.clock)
    pair.store.move(lapsed.key, lapsed.version, renewed)
    assert [pair.content(each) for each in (record, ended, lapsed)] == before
    assert pair.content(renewed) is None
    transaction.commit()
    other = pair.other()
    assert other.load(record.key) == changed.at(version)
    assert [pair.content(each) for each in (ended, lapsed)] == [TOMBSTONE] * 2
    assert isinstance(pair.content(renewed), Copy)


def test_the_cache_never_hears_of_what_was_rolled_back(transaction: Transaction) -> None:
    pair = Pair(after_commit=transaction.after_commit)
    record = pair.kept()
    before = pair.content(record)
    transaction.is_open = True
    version = pair.store.update(replace(record, payload=b"changed"), record.version)
    pair.store.touch(record.key, record.idle_deadline + 1)
    pair.store.move(record.key, version, new_record(pair.clock))
    transaction.roll_back()
    assert pair.content(record) == before


def test_a_refill_waits_for_the_commit_too(transaction: Transaction) -> None:
    """What was read inside a transaction may be what that transaction has written."""
    pair = Pair(after_commit=transaction.after_commit)
    record = pair.kept()
    pair.clock.advance(600)
    transaction.is_open = True
    assert pair.store.load(record.key) == record
    assert pair.content(record) is None
    transaction.commit()
    assert isinstance(pair.content(record), Copy)


# Outages


def test_F1_without_the_cache_the_site_goes_on_from_the_origin(pair: Pair) -> None:
    record, ended = pair.kept(), pair.kept()
    pair.cache.plan(Fail("*", times=None))
    changed = replace(record, payload=b"changed")
    version = pair.store.update(changed, record.version)
    assert pair.store.load(record.key) == changed.at(version)
    assert pair.store.touch(record.key, record.idle_deadline)
    renewed = new_record(pair.clock)
    pair.store.move(record.key, version, renewed)
    assert pair.store.load(record.key) is None
    assert pair.store.load(renewed.key) is not None
    assert pair.store.delete(ended.key) is True
    assert pair.store.load(ended.key) is None


def test_F1_a_cache_that_does_not_answer_is_asked_once_in_each_rest(pair: Pair) -> None:
    record = pair.kept()
    pair.cache.plan(Fail("*", times=None))
    pair.forget()
    for _ in range(5):
        for _ in range(20):
            assert pair.store.load(record.key) == record
        pair.clock.advance(REST)
    assert pair.cache.counts == {"load": 5}
    pair.cache.heal()
    pair.store.load(record.key)
    pair.forget()
    pair.store.load(record.key)
    assert pair.trips == (1, 0)


def test_F1_an_outage_of_the_cache_is_logged_once_and_so_is_its_end(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    record = pair.kept()
    pair.cache.plan(Fail("*", times=None))
    with caplog.at_level(logging.INFO, "sojourn"):
        for _ in range(10):
            pair.store.load(record.key)
            pair.clock.advance(REST)
        pair.cache.heal()
        for _ in range(3):
            pair.store.load(record.key)
    assert [message.split(",")[0] for message in caplog.messages] == [
        "sessions come from the origin alone",
        "the cache of the sessions answers again",
    ]
    assert record.key not in caplog.text


def test_C3_a_tombstone_that_could_not_be_written_is_written_once_the_cache_is_back(pair: Pair) -> None:
    records = [pair.kept() for _ in range(3)]
    pair.cache.plan(Fail("*", times=None))
    pair.forget()
    for record in records:
        assert pair.store.delete(record.key)
    assert len(pair.cache.calls) == 1, "one of them found out that the cache does not answer"
    pair.cache.heal()
    other = pair.other()
    assert [other.load(record.key) is not None for record in records] == [True] * 3, "within the lease"
    pair.clock.advance(REST)
    assert pair.store.load(records[0].key) is None
    assert [other.load(record.key) for record in records] == [None] * 3


def test_C3_a_cache_that_fails_again_while_it_is_told_is_told_later(pair: Pair) -> None:
    records = [pair.kept() for _ in range(3)]
    pair.cache.plan(Fail("*", times=None))
    for record in records:
        pair.store.delete(record.key)
    pair.cache.heal()
    pair.cache.plan(Fail("create"), Fail("update", skip=1))
    for _ in range(4):
        pair.clock.advance(REST)
        assert pair.store.load(records[0].key) is None
    assert [pair.content(record) for record in records] == [TOMBSTONE] * 3


def test_C3_a_tombstone_that_no_lease_needs_any_more_is_not_written(pair: Pair) -> None:
    record = pair.kept()
    pair.cache.plan(Fail("*", times=None))
    pair.store.delete(record.key)
    pair.cache.heal()
    pair.clock.advance(LEASE + TOLERANCE)
    pair.forget()
    assert pair.store.load(new_record(pair.clock).key) is None
    assert set(pair.cache.counts) == {"load"}
    assert pair.other().load(record.key) is None


def test_F1_without_the_origin_reads_go_on_within_the_lease_and_saves_say_unavailable(pair: Pair) -> None:
    record = pair.kept()
    pair.origin.plan(Fail("*", times=None))
    assert pair.store.load(record.key) == record
    for call in (
        lambda: pair.store.create(new_record(pair.clock)),
        lambda: pair.store.update(record, record.version),
        lambda: pair.store.touch(record.key, record.idle_deadline),
    ):
        with pytest.raises(StoreUnavailableError):
            call()
    assert pair.store.load(record.key) == record
    pair.clock.advance(LEASE)
    with pytest.raises(StoreUnavailableError):
        pair.store.load(record.key)


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("operation", ["delete", "move"])
def test_C3_no_copy_says_alive_where_nobody_knows_whether_the_session_has_ended(
    pair: Pair, operation: Any, applied: bool
) -> None:
    record = pair.kept()
    pair.origin.plan(Fail(operation, after=applied))
    new = new_record(pair.clock)
    arguments = (record.key,) if operation == "delete" else (record.key, record.version, new)
    with pytest.raises(StoreUnavailableError):
        getattr(pair.store, operation)(*arguments)
    assert (pair.other().load(record.key) is None) == applied


def test_C3_a_process_that_dies_between_delete_and_tombstone_leaves_a_copy_for_a_lease_at_most(
    pair: Pair,
) -> None:
    record = pair.kept()
    steps = pair.store.delete_steps(record.key)
    call: Any = next(steps)
    assert call[0](*call[1:]) is True
    steps.close()
    other = pair.other()
    assert other.load(record.key) is not None
    pair.clock.advance(LEASE)
    assert other.load(record.key) is None


# How it is made


def test_it_can_do_what_its_origin_can_and_no_more() -> None:
    from sojourn.store import Purge, Scan, SubjectIndex  # noqa: PLC0415

    able, unable = MemoryStore(), MemcachedStore("127.0.0.1:1")
    capabilities = (SubjectIndex, Purge, Scan)
    assert all(isinstance(CachedStore(unable, able), capability) for capability in capabilities)
    assert not any(isinstance(CachedStore(able, unable), capability) for capability in capabilities)
    assert type(CachedStore(unable, able)).__qualname__ == "CachedStore"
    assert isinstance(CachedStore(unable, able), CachedStore)


def test_wrong_settings_say_what_to_write_instead() -> None:
    one, other = MemoryStore(), MemoryStore()
    with pytest.raises(ConfigurationError, match="one store; give two"):
        CachedStore(one, one)
    with pytest.raises(ConfigurationError, match="AsyncCachedStore two asynchronous ones"):
        CachedStore(one, AsyncMemoryStore(other))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="lease=0"):
        CachedStore(one, other, lease=0)
    with pytest.raises(ConfigurationError, match="rest=-1"):
        CachedStore(one, other, rest=-1)


def test_closing_it_closes_both() -> None:
    closed: list[str] = []

    class Store(MemoryStore):
        def close(self) -> None:
            closed.append(self.name)

        name = ""

    cache, origin = Store(), Store()
    cache.name, origin.name = "cache", "origin"
    CachedStore(cache, origin).close()
    assert closed == ["cache", "origin"]
