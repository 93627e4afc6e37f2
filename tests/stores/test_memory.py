"""What is particular to sessions in process memory; the general promises are in the store contract."""

from __future__ import annotations

import os
import secrets
import threading

import pytest

from sojourn.errors import ConfigurationError, ConflictError, PayloadTooLargeError, SessionGoneError
from sojourn.record import Record
from sojourn.store import Purge, Scan, SubjectIndex
from sojourn.stores.memory import RECORD_OVERHEAD, AsyncMemoryStore, MemoryStore

START = 1_700_000_000_000
HOUR = 3_600_000


class StillClock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return self.time / 1000


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


def a_record(
    *,
    key: str | None = None,
    payload: bytes = b"sealed",
    created_at: int = START,
    idle_deadline: int = START + HOUR,
    absolute_deadline: int | None = None,
    subject: bytes | None = None,
    info: bytes = b"",
) -> Record:
    return Record(
        key=secrets.token_hex(32) if key is None else key,
        payload=payload,
        created_at=created_at,
        idle_deadline=idle_deadline,
        absolute_deadline=absolute_deadline,
        subject=subject,
        info=info,
    )


def room_for(records: int, *, payload: int) -> int:
    return records * (payload + RECORD_OVERHEAD)


def test_it_has_every_capability() -> None:
    for store in (MemoryStore(), AsyncMemoryStore(MemoryStore())):
        assert isinstance(store, SubjectIndex)
        assert isinstance(store, Purge)
        assert isinstance(store, Scan)


def test_limits_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_bytes=1024"):
        MemoryStore(max_bytes=RECORD_OVERHEAD)
    with pytest.raises(ConfigurationError, match="max_sessions_per_subject=0"):
        MemoryStore(max_sessions_per_subject=0)


def test_size_counts_payload_info_and_overhead(clock: StillClock) -> None:
    store = MemoryStore(clock=clock)
    record = a_record(payload=b"p" * 100, info=b"i" * 20)
    version = store.create(record)
    assert store.size == 120 + RECORD_OVERHEAD
    store.update(a_record(key=record.key, payload=b""), version)
    assert store.size == RECORD_OVERHEAD
    assert store.touch(record.key, START + 2 * HOUR)
    assert store.size == RECORD_OVERHEAD
    store.delete(record.key)
    assert store.size == 0


def test_D3_a_record_that_can_never_fit_is_refused_with_size_and_limit(clock: StillClock) -> None:
    store = MemoryStore(max_bytes=5000, clock=clock)
    kept = a_record()
    version = store.create(kept)
    big = b"x" * 5000
    says = r"6024 bytes.*\(5000\).*raise max_bytes"
    with pytest.raises(PayloadTooLargeError, match=says):
        store.create(a_record(payload=big))
    with pytest.raises(PayloadTooLargeError, match=says):
        store.update(a_record(key=kept.key, payload=big), version)
    with pytest.raises(PayloadTooLargeError, match=says):
        store.move(kept.key, version, a_record(payload=big))
    loaded = store.load(kept.key)
    assert loaded is not None
    assert loaded.payload == kept.payload


def test_the_least_recently_used_session_makes_room(clock: StillClock) -> None:
    store = MemoryStore(max_bytes=room_for(3, payload=100), clock=clock)
    first, second, third, fourth = (a_record(payload=b"x" * 100) for _ in range(4))
    for record in (first, second, third):
        store.create(record)
    store.load(first.key)
    store.create(fourth)
    assert store.load(second.key) is None
    for record in (first, third, fourth):
        assert store.load(record.key) is not None


def test_a_growing_session_pushes_out_others_never_itself(clock: StillClock) -> None:
    store = MemoryStore(max_bytes=room_for(3, payload=100), clock=clock)
    grows, second, third = (a_record(payload=b"x" * 100) for _ in range(3))
    version = store.create(grows)
    store.create(second)
    store.create(third)
    store.update(a_record(key=grows.key, payload=b"x" * 300), version)
    assert store.load(second.key) is None
    assert store.load(third.key) is not None
    loaded = store.load(grows.key)
    assert loaded is not None
    assert len(loaded.payload) == 300


def test_expired_sessions_make_room_before_living_ones(clock: StillClock) -> None:
    store = MemoryStore(max_bytes=room_for(3, payload=100), clock=clock)
    oldest, short, newer = (
        a_record(payload=b"x" * 100, idle_deadline=START + lifetime) for lifetime in (HOUR, 1000, HOUR)
    )
    for record in (oldest, short, newer):
        store.create(record)
    clock.time += 1000
    store.create(a_record(payload=b"x" * 100))
    assert store.load(oldest.key) is not None
    assert store.load(newer.key) is not None


def test_creating_sessions_removes_expired_ones(clock: StillClock) -> None:
    store = MemoryStore(clock=clock)
    for _ in range(40):
        store.create(a_record(idle_deadline=START + 1000))
    clock.time += 1000
    for _ in range(10):
        store.create(a_record())
    assert store.size == 10 * (6 + RECORD_OVERHEAD)


def test_the_expiry_queue_stays_as_small_as_the_store(clock: StillClock) -> None:
    store = MemoryStore(clock=clock)
    kept = a_record()
    version = store.create(kept)
    for i in range(1000):
        passing = a_record()
        store.create(passing)
        store.delete(passing.key)
        shorter = a_record(key=kept.key, idle_deadline=START + HOUR - i)
        version = store.update(shorter, version)
    assert len(store._due) <= 2 * 2 + 64


@pytest.mark.parametrize("earlier_by", [0, 500])
def test_purge_follows_deadlines_that_moved(clock: StillClock, earlier_by: int) -> None:
    store = MemoryStore(clock=clock)
    extended = a_record(idle_deadline=START + 1000)
    shortened = a_record(idle_deadline=START + 10 * HOUR)
    store.create(extended)
    store.create(shortened)
    store.touch(extended.key, START + 20 * HOUR)
    store.touch(shortened.key, START + 2000 - earlier_by)
    clock.time += 1999
    assert store.purge() == (1 if earlier_by else 0)
    clock.time += 1
    assert store.purge() == (0 if earlier_by else 1)
    clock.time = START + 20 * HOUR
    assert store.purge() == 1
    assert store.size == 0


def test_D6_purge_keeps_to_its_limit(clock: StillClock) -> None:
    store = MemoryStore(clock=clock)
    for _ in range(25):
        store.create(a_record(idle_deadline=START + 1000))
    living = a_record()
    store.create(living)
    clock.time += 1000
    assert [store.purge(limit=10) for _ in range(4)] == [10, 10, 5, 0]
    assert store.load(living.key) is not None


@pytest.mark.parametrize(
    "meet",
    [
        lambda store, record: store.load(record.key),
        lambda store, record: store.touch(record.key, START + 9 * HOUR) or None,
        lambda store, record: store.find_subject(record.subject) or None,
        lambda store, _: store.scan() or None,
    ],
    ids=["load", "touch", "find_subject", "scan"],
)
def test_L2_a_session_seen_dead_stays_dead_when_the_clock_steps_back(clock: StillClock, meet: object) -> None:
    assert callable(meet)
    store = MemoryStore(clock=clock)
    record = a_record(subject=b"somebody")
    version = store.create(record)
    clock.time += HOUR
    assert meet(store, record) is None
    clock.time -= HOUR
    assert store.load(record.key) is None
    with pytest.raises(SessionGoneError):
        store.update(record, version)


def test_L7_fifty_racing_logins_never_exceed_the_cap(clock: StillClock) -> None:
    store = MemoryStore(max_sessions_per_subject=3, clock=clock)
    start = threading.Barrier(50)
    most = []

    def log_in(i: int) -> None:
        start.wait()
        store.create(a_record(subject=b"somebody", created_at=START + i))
        most.append(len(store.find_subject(b"somebody")))

    threads = [threading.Thread(target=log_in, args=(i,)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 3
    assert len(store.find_subject(b"somebody")) == 3


def test_L7_the_oldest_sessions_end_when_an_anonymous_one_signs_in(clock: StillClock) -> None:
    store = MemoryStore(max_sessions_per_subject=2, clock=clock)
    older, newer = (a_record(subject=b"somebody", created_at=START + i) for i in (1, 2))
    store.create(newer)
    store.create(older)
    anonymous = a_record()
    version = store.create(anonymous)
    signed_in = a_record(subject=b"somebody", created_at=START)
    store.move(anonymous.key, version, signed_in)
    assert [record.key for record in store.find_subject(b"somebody")] == [signed_in.key, newer.key]
    assert store.load(older.key) is None


def test_an_update_moves_a_session_between_subjects(clock: StillClock) -> None:
    store = MemoryStore(clock=clock)
    record = a_record(subject=b"one")
    version = store.create(record)
    version = store.update(a_record(key=record.key, subject=b"two"), version)
    assert store.find_subject(b"one") == []
    assert len(store.find_subject(b"two")) == 1
    store.update(a_record(key=record.key), version)
    assert store.find_subject(b"two") == []
    assert store._subjects == {}


def test_threads_that_write_one_session_lose_no_acknowledged_update(clock: StillClock) -> None:
    store = AsyncMemoryStore(MemoryStore(clock=clock)).store
    record = a_record()
    store.create(record)
    start = threading.Barrier(8)
    written: list[int] = []

    def write() -> None:
        start.wait()
        for _ in range(200):
            loaded = store.load(record.key)
            assert loaded is not None
            try:
                written.append(store.update(a_record(key=record.key), loaded.version).counter)
            except ConflictError:
                continue

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == list(range(2, len(written) + 2))


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_C5_a_child_forked_while_a_thread_holds_the_lock_goes_its_own_way(clock: StillClock) -> None:
    store = MemoryStore(clock=clock)
    record = a_record(subject=b"somebody")
    store.create(record)
    with store._lock:  # as if another thread were in the middle of a create
        store._records["half"] = a_record(key="half", subject=b"somebody")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                found = len(store.find_subject(b"somebody")) == 2 and store.size == 2 * (6 + RECORD_OVERHEAD)
                status = 0 if found and store.delete(record.key) else 2
            finally:
                os._exit(status)
        del store._records["half"]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.load(record.key) is not None
