"""The embedded store on one file: its statements, failures, purge and connections.

The general promises are in the store contract; the file's place and other processes have tests of their own.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    DuplicateKeyError,
    SessionGoneError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sojourn.store import AsyncPurge, AsyncScan, AsyncSubjectIndex, Purge, Scan, SubjectIndex
from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore, sql
from sojourn.testing import FakeClock
from sojourn.testing.records import new_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sojourn.record import Record, Version

HOUR = 3600.0


class Wire:
    """Every statement sent, in order, each with the connection that sent it."""

    def __init__(self) -> None:
        self.sent: list[tuple[sqlite3.Connection, str]] = []
        self.opened = 0

    def factory(self, *set_up: str) -> type[sqlite3.Connection]:
        wire = self

        class Traced(sqlite3.Connection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                wire.opened += 1
                for statement in set_up:
                    self.execute(statement).fetchall()
                self.set_trace_callback(lambda statement: wire.sent.append((self, statement)))

        return Traced

    def verbs(self) -> list[str]:
        return [statement.split()[0] for _, statement in self.sent]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sojourn" / "sessions.db"


@pytest.fixture
def store(path: Path, clock: FakeClock, wire: Wire) -> Iterator[EmbeddedStore]:
    """Return a store with all three kinds of connections open and nothing on the wire yet."""
    store = EmbeddedStore(path, clock=clock, factory=wire.factory(), purge_every=None, timeout=0.2)
    store.load("0" * 64)
    store.delete("0" * 64)
    store.purge()
    wire.sent.clear()
    yield store
    store.close()


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FROM session").fetchone()[0]
        return count


def locked(path: Path) -> sqlite3.Connection:
    """Return a connection of somebody else that holds the write lock."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def in_threads(count: int, work: Callable[[int], None]) -> None:
    start = threading.Barrier(count)

    def begin(i: int) -> None:
        start.wait()
        work(i)

    threads = [threading.Thread(target=begin, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_it_has_every_capability(store: EmbeddedStore) -> None:
    assert isinstance(store, SubjectIndex)
    assert isinstance(store, Purge)
    assert isinstance(store, Scan)
    for capability in (AsyncSubjectIndex, AsyncPurge, AsyncScan):
        assert isinstance(AsyncEmbeddedStore(store), capability)


@pytest.mark.parametrize(
    "settings", [{"timeout": 0}, {"max_sessions_per_subject": 0}, {"purge_every": 0}], ids=str
)
def test_settings_without_sense_are_refused(path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(settings))}=0 .*; give"):
        EmbeddedStore(path, **settings)


# Statements


def test_each_operation_is_one_statement(store: EmbeddedStore, clock: FakeClock, wire: Wire) -> None:
    record, moved = new_record(clock, subject=b"somebody"), new_record(clock, subject=b"somebody")
    version = store.create(record)
    store.load(record.key)
    version = store.update(record, version)
    store.touch(record.key, clock.now() + 1000)
    version = store.move(record.key, version, moved)
    store.find_subject(b"somebody")
    store.scan()
    store.delete(moved.key)
    store.load(moved.key)
    assert wire.verbs() == [
        "INSERT",
        "SELECT",
        "UPDATE",
        "UPDATE",
        "UPDATE",
        "SELECT",
        "SELECT",
        "DELETE",
        "SELECT",
    ]


def test_a_conflict_costs_one_more_statement(store: EmbeddedStore, clock: FakeClock, wire: Wire) -> None:
    record = new_record(clock)
    version = store.create(record)
    store.update(record, version)
    wire.sent.clear()
    with pytest.raises(ConflictError):
        store.update(record, version)
    with pytest.raises(ConflictError):
        store.move(record.key, version, new_record(clock))
    assert wire.verbs() == ["UPDATE", "SELECT"] * 2


def test_a_sign_in_costs_one_statement_and_a_later_change_of_subject_two_more(
    store: EmbeddedStore, clock: FakeClock, wire: Wire
) -> None:
    record = new_record(clock)
    version = store.create(record)
    signed_in = new_record(clock, key=record.key, subject=b"somebody")
    wire.sent.clear()
    version = store.update(signed_in, version)
    assert wire.verbs() == ["UPDATE"]
    assert [found.key for found in store.find_subject(b"somebody")] == [record.key]
    wire.sent.clear()
    with pytest.raises(ConflictError):
        store.update(signed_in, version._replace(counter=1))
    assert wire.verbs() == ["UPDATE", "SELECT"]
    wire.sent.clear()
    store.update(new_record(clock, key=record.key, subject=b"another"), version)
    assert wire.verbs() == ["UPDATE", "SELECT", "UPDATE"]
    assert not store.find_subject(b"somebody")


def test_a_session_that_is_gone_costs_one_more_statement(
    store: EmbeddedStore, clock: FakeClock, wire: Wire
) -> None:
    record = new_record(clock)
    version = store.create(record)
    store.delete(record.key)
    wire.sent.clear()
    with pytest.raises(SessionGoneError):
        store.update(record, version)
    with pytest.raises(SessionGoneError):
        store.move(record.key, version, new_record(clock))
    assert wire.verbs() == ["UPDATE", "SELECT"] * 2


def test_only_a_cap_costs_a_transaction_and_only_where_a_subject_comes_in(
    path: Path, clock: FakeClock, wire: Wire
) -> None:
    with closing(
        EmbeddedStore(path, clock=clock, factory=wire.factory(), max_sessions_per_subject=2)
    ) as store:
        store.load("0" * 64)
        anonymous = new_record(clock)
        wire.sent.clear()
        version = store.create(anonymous)
        assert wire.verbs() == ["INSERT"]
        wire.sent.clear()
        signed_in = new_record(clock, key=anonymous.key, subject=b"somebody")
        version = store.update(signed_in, version)
        assert wire.verbs() == ["BEGIN", "UPDATE", "DELETE", "COMMIT"]
        wire.sent.clear()
        store.update(signed_in, version)
        assert wire.verbs() == ["UPDATE"]
        wire.sent.clear()
        store.create(new_record(clock, subject=b"somebody"))
        assert wire.verbs() == ["BEGIN", "INSERT", "DELETE", "COMMIT"]


def test_what_ends_sessions_waits_for_the_disk_and_saves_do_not(
    store: EmbeddedStore, clock: FakeClock, wire: Wire
) -> None:
    record, moved = new_record(clock, subject=b"somebody"), new_record(clock, subject=b"somebody")

    def synchronous() -> int:
        connection = wire.sent[-1][0]
        level: int = connection.execute("PRAGMA synchronous").fetchone()[0]
        return level

    normal, full = 1, 2
    version = store.create(record)
    assert synchronous() == normal
    version = store.update(record, version)
    assert synchronous() == normal
    store.touch(record.key, clock.now() + 1000)
    assert synchronous() == normal
    store.move(record.key, version, moved)
    assert synchronous() == full
    store.delete(moved.key)
    assert synchronous() == full
    store.create(record)
    assert store.delete_subject(b"somebody") == 1
    assert synchronous() == full


@pytest.mark.parametrize("nasty", ["' OR 1=1 --", '"; DROP TABLE session; --', "\0", "%", "ключ"])
def test_S8_whatever_is_in_a_value_it_is_only_a_value(
    store: EmbeddedStore, clock: FakeClock, nasty: str
) -> None:
    other = new_record(clock)
    store.create(other)
    record = new_record(clock, key=nasty, subject=nasty.encode(), info=nasty.encode())
    store.create(record)
    loaded = store.load(nasty)
    assert loaded is not None
    assert loaded.info == nasty.encode()
    assert store.delete_subject(nasty.encode()) == 1
    assert store.load(nasty) is None
    assert store.load(other.key) is not None


def test_an_update_gives_a_session_to_another_subject(store: EmbeddedStore, clock: FakeClock) -> None:
    record = new_record(clock, subject=b"one")
    version = store.create(record)
    version = store.update(new_record(clock, key=record.key, subject=b"two"), version)
    assert store.find_subject(b"one") == []
    assert len(store.find_subject(b"two")) == 1
    store.update(new_record(clock, key=record.key), version)
    assert store.find_subject(b"two") == []


def test_move_replaces_a_dead_record_and_respects_a_living_one(
    store: EmbeddedStore, clock: FakeClock
) -> None:
    old, dying, living = new_record(clock), new_record(clock, lives=1), new_record(clock)
    version = store.create(old)
    store.create(dying)
    store.create(living)
    clock.advance(1)
    with pytest.raises(DuplicateKeyError):
        store.move(old.key, version, new_record(clock, key=living.key))
    assert store.load(old.key) is not None
    store.move(old.key, version, new_record(clock, key=dying.key))
    assert store.load(old.key) is None
    assert store.load(dying.key) is not None


# The clock


MEETINGS: dict[str, Callable[[EmbeddedStore, Record, Version], object]] = {
    "load": lambda store, record, _: store.load(record.key),
    "touch": lambda store, record, _: store.touch(record.key, record.idle_deadline * 2),
    "delete": lambda store, record, _: store.delete(record.key),
    "find_subject": lambda store, record, _: store.find_subject(b"somebody"),
    "delete_subject": lambda store, record, _: store.delete_subject(b"somebody"),
}


@pytest.mark.parametrize("limit", ["idle", "absolute"])
@pytest.mark.parametrize("meet", MEETINGS.values(), ids=MEETINGS)
def test_L2_a_session_seen_dead_stays_dead_when_the_clock_steps_back(
    store: EmbeddedStore,
    clock: FakeClock,
    meet: Callable[[EmbeddedStore, Record, Version], object],
    limit: str,
) -> None:
    deadline = clock.now() + 60_000
    record = (
        new_record(clock, subject=b"somebody", idle_deadline=deadline)
        if limit == "idle"
        else new_record(clock, subject=b"somebody", lives=HOUR, absolute_deadline=deadline)
    )
    version = store.create(record)
    clock.step(HOUR)
    assert not meet(store, record, version)
    clock.step(-HOUR)
    assert store.load(record.key) is None


def test_L2_update_and_move_leave_a_dead_session_dead(store: EmbeddedStore, clock: FakeClock) -> None:
    first, second = new_record(clock, lives=60), new_record(clock, lives=60)
    version, other = store.create(first), store.create(second)
    clock.step(HOUR)
    with pytest.raises(SessionGoneError):
        store.update(first, version)
    with pytest.raises(SessionGoneError):
        store.move(second.key, other, new_record(clock))
    clock.step(-HOUR)
    assert store.load(first.key) is None
    assert store.load(second.key) is None


def test_a_dead_session_that_cannot_be_removed_is_still_no_session(
    store: EmbeddedStore, path: Path, clock: FakeClock
) -> None:
    record = new_record(clock, lives=60)
    store.create(record)
    clock.advance(60)
    with closing(locked(path)):
        assert store.load(record.key) is None
    assert rows(path) == 1


# The cap


def test_L7_fifty_racing_logins_never_exceed_the_cap(path: Path, clock: FakeClock) -> None:
    most = []
    with closing(EmbeddedStore(path, clock=clock, max_sessions_per_subject=3)) as store:

        def log_in(i: int) -> None:
            anonymous, signed_in = new_record(clock), new_record(clock, subject=b"somebody")
            if i % 3 == 0:
                store.create(signed_in)
            elif i % 3 == 1:
                store.move(anonymous.key, store.create(anonymous), signed_in)
            else:
                same = new_record(clock, key=anonymous.key, subject=b"somebody")
                store.update(same, store.create(anonymous))
            most.append(len(store.find_subject(b"somebody")))

        in_threads(50, log_in)
        assert len(store.find_subject(b"somebody")) == 3
    assert max(most) <= 3


def test_L7_the_oldest_of_the_others_ends(path: Path, clock: FakeClock) -> None:
    with closing(EmbeddedStore(path, clock=clock, max_sessions_per_subject=2)) as store:
        now = clock.now()
        newer = new_record(clock, subject=b"somebody", created_at=now)
        older = new_record(clock, subject=b"somebody", created_at=now - 1)
        oldest = new_record(clock, subject=b"somebody", created_at=now - 2)
        for record in (newer, older, oldest):
            store.create(record)
        assert [record.key for record in store.find_subject(b"somebody")] == [oldest.key, newer.key]


def test_L7_a_refused_write_ends_nobody(path: Path, clock: FakeClock) -> None:
    with closing(EmbeddedStore(path, clock=clock, max_sessions_per_subject=1)) as store:
        signed_in, anonymous = new_record(clock, subject=b"somebody"), new_record(clock)
        store.create(signed_in)
        version = store.create(anonymous)
        with pytest.raises(DuplicateKeyError):
            store.create(new_record(clock, key=anonymous.key, subject=b"somebody"))
        with pytest.raises(DuplicateKeyError):
            store.move(anonymous.key, version, new_record(clock, key=signed_in.key, subject=b"somebody"))
        with pytest.raises(ConflictError):
            store.move(anonymous.key, version.next(), new_record(clock, subject=b"somebody"))
        assert store.load(signed_in.key) is not None


# Purge


def test_D6_purge_keeps_to_its_limit_and_to_the_dead(
    store: EmbeddedStore, path: Path, clock: FakeClock
) -> None:
    living = [new_record(clock, lives=HOUR) for _ in range(30)]
    dying = [new_record(clock, lives=60) for _ in range(250)]
    for record in random.Random(1).sample(living + dying, 280):
        store.create(record)
    clock.advance(60)
    assert [store.purge(limit=limit) for limit in (10, 100, 100, 100, 100)] == [10, 100, 100, 40, 0]
    assert rows(path) == 30
    assert all(store.load(record.key) is not None for record in living)


def test_D6_purge_goes_through_the_whole_file_wherever_it_begins(
    store: EmbeddedStore, clock: FakeClock
) -> None:
    for i in range(300):
        store.create(new_record(clock, lives=60 if i < 50 else HOUR))
    store._swept = 170
    clock.advance(60)
    assert store.purge() == 50
    assert store.purge() == 0


def test_D6_purge_works_in_batches(store: EmbeddedStore, clock: FakeClock, wire: Wire) -> None:
    for _ in range(350):
        store.create(new_record(clock, lives=60))
    clock.advance(60)
    wire.sent.clear()
    assert store.purge(limit=1000) == 350
    assert wire.verbs() == ["SELECT", "DELETE"] * 4


def test_a_purge_copies_back_the_log_before_a_save_has_to(
    store: EmbeddedStore, path: Path, clock: FakeClock
) -> None:
    store.create(new_record(clock, lives=60))
    record = new_record(clock, lives=HOUR, payload=bytes(12_000))
    version = store.create(record)
    clock.advance(60)
    log = path.with_name(f"{path.name}-wal")

    def begun() -> bytes:
        return log.read_bytes()[:32]  # its header, another one each time the log begins anew

    first = begun()
    while log.stat().st_size < (24 + 4096) * sql.PURGE_LOG_PAGES:  # each page with a header of its own
        version = store.update(record, version)
    assert begun() == first
    assert store.purge() == 1
    store.update(record, version)
    assert begun() != first


def test_D6_purge_under_load_removes_no_living_session(path: Path) -> None:
    clock = FakeClock()
    patience = 60  # of the same clock, which a thread moves while others wait
    with closing(EmbeddedStore(path, clock=clock, timeout=patience, purge_every=1)) as store:
        kept = [new_record(clock, lives=60) for _ in range(8)]
        for record in kept:
            store.create(record)

        def work(i: int) -> None:
            for _ in range(30):
                if i == 0:
                    clock.advance(1)
                    store.purge()
                else:
                    store.create(new_record(clock, lives=0.5))
                    assert store.touch(kept[i].key, clock.now() + 60_000)

        in_threads(4, work)
        assert all(store.load(record.key) is not None for record in kept[1:4])


def test_creating_sessions_keeps_the_file_free_of_dead_ones(path: Path, clock: FakeClock) -> None:
    with closing(EmbeddedStore(path, clock=clock)) as store:
        for _ in range(2000):
            store.create(new_record(clock, lives=60))
            clock.advance(1)
        assert rows(path) <= 60 + 100


def test_purging_along_the_way_is_two_statements_after_every_tenth_create(
    path: Path, clock: FakeClock, wire: Wire
) -> None:
    with closing(EmbeddedStore(path, clock=clock, factory=wire.factory())) as store:
        for _ in range(10):
            store.create(new_record(clock, lives=60))
        clock.advance(60)
        store._swept = 0
        wire.sent.clear()
        for _ in range(10):
            store.create(new_record(clock))
        assert wire.verbs() == ["INSERT"] * 10 + ["SELECT", "DELETE"]


def test_a_create_succeeds_though_purging_cannot(path: Path, clock: FakeClock) -> None:
    with closing(EmbeddedStore(path, clock=clock, purge_every=1)) as store:
        store.create(new_record(clock, lives=60))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute(
                "CREATE TRIGGER stays BEFORE DELETE ON session BEGIN SELECT raise(ABORT, 'no'); END"
            )
        clock.advance(60)
        record = new_record(clock)
        store.create(record)
        assert store.load(record.key) is not None


# Failure


def every_call(store: EmbeddedStore, record: Record, version: Version) -> list[Callable[[], object]]:
    return [
        lambda: store.create(record),
        lambda: store.load(record.key),
        lambda: store.update(record, version),
        lambda: store.touch(record.key, record.idle_deadline),
        lambda: store.move(record.key, version, record),
        lambda: store.delete(record.key),
        lambda: store.find_subject(b"somebody"),
        lambda: store.delete_subject(b"somebody"),
        store.purge,
        store.scan,
    ]


def test_F1_a_file_that_is_no_database_is_unavailable_to_every_call(path: Path, clock: FakeClock) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"not a database " * 1000)
    record = new_record(clock)
    with closing(EmbeddedStore(path, clock=clock)) as store:
        for call in every_call(store, record, record.version):
            with pytest.raises(
                StoreUnavailableError, match=r"sessions\.db: it is no SQLite database: move"
            ) as raised:
                call()
            assert isinstance(raised.value.__cause__, sqlite3.DatabaseError)
            assert record.key not in str(raised.value)


def test_F1_a_damaged_file_is_unavailable_and_says_what_to_do(path: Path, clock: FakeClock) -> None:
    record = new_record(clock, payload=b"x" * 20_000)
    with closing(EmbeddedStore(path, clock=clock)) as store:
        store.create(record)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with closing(EmbeddedStore(path, clock=clock)) as store:
        with pytest.raises(
            StoreUnavailableError, match=r"it is damaged: .* restore a backup, or move the file"
        ):
            store.load(record.key)
        path.write_bytes(whole)
        assert store.load(record.key) is not None


def test_F1_a_full_disk_is_unavailable_until_there_is_space(path: Path, clock: FakeClock, wire: Wire) -> None:
    small = wire.factory("PRAGMA max_page_count = 30")
    kept = new_record(clock)
    with closing(EmbeddedStore(path, clock=clock, factory=small, purge_every=None)) as store:
        version = store.create(kept)
        with pytest.raises(StoreUnavailableError, match="the disk is full"):
            store.create(new_record(clock, payload=b"x" * 200_000))
        with pytest.raises(StoreUnavailableError, match="the disk is full"):
            store.update(new_record(clock, key=kept.key, payload=b"x" * 200_000), version)
        loaded = store.load(kept.key)
        assert loaded is not None
        assert loaded.payload == kept.payload
        store.update(kept, version)


def test_F1_a_file_that_may_not_be_written_is_unavailable(path: Path, clock: FakeClock, wire: Wire) -> None:
    kept = new_record(clock)
    with closing(EmbeddedStore(path, clock=clock)) as store:
        store.create(kept)
    frozen = wire.factory("PRAGMA query_only = ON")
    with closing(EmbeddedStore(path, clock=clock, factory=frozen)) as store:
        assert store.load(kept.key) is not None
        with pytest.raises(StoreUnavailableError, match=r"it cannot be written: check its permissions"):
            store.delete(kept.key)


def test_F1_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "folder" / "below" / "sessions.db")
    (tmp_path / "folder").write_text("in the way")
    with pytest.raises(StoreUnavailableError, match=r"it cannot be created \(.*\); check the disk"):
        store.load("0" * 64)


def test_F3_a_lock_that_is_held_too_long_is_a_timeout_that_says_what_to_do(
    store: EmbeddedStore, path: Path, clock: FakeClock
) -> None:
    record = new_record(clock)
    version = store.create(record)
    with closing(locked(path)):
        for call in every_call(store, record, version)[2:6]:
            with pytest.raises(StoreTimeoutError, match=r"held its lock for 0\.2 s; look for one that"):
                call()
        assert store.load(record.key) is not None, "readers do not wait"
    loaded = store.load(record.key)
    assert loaded is not None
    assert loaded.version == version


def test_F3_a_lock_that_is_let_go_in_time_is_waited_for(path: Path, clock: FakeClock, wire: Wire) -> None:
    with closing(EmbeddedStore(path, clock=clock, factory=wire.factory(), timeout=30)) as store:
        record = new_record(clock)
        version = store.create(record)
        wire.sent.clear()
        with closing(locked(path)) as other:

            def let_go() -> None:
                while len(wire.sent) < 5:  # the writer has tried again and again
                    threading.Event().wait(0.001)
                other.rollback()

            helper = threading.Thread(target=let_go)
            helper.start()
            store.update(record, version)
            helper.join()
        assert set(wire.verbs()) == {"UPDATE"}


def test_T12_no_message_shows_a_key_or_a_payload(store: EmbeddedStore, path: Path, clock: FakeClock) -> None:
    record = new_record(clock, payload=b"canary-payload")
    version = store.create(record)
    messages = []
    with closing(locked(path)):
        for call in every_call(store, record, version.next()):
            try:
                call()
            except (StoreUnavailableError, ConflictError, DuplicateKeyError) as error:
                messages.append(str(error) + str(error.__cause__))
    assert messages
    assert not any(record.key[:16] in message or "canary" in message for message in messages)


# Connections


def test_F3_many_threads_share_a_few_connections(path: Path, wire: Wire) -> None:
    clock = FakeClock()
    with closing(EmbeddedStore(path, clock=clock, factory=wire.factory(), timeout=30)) as store:

        def work(_: int) -> None:
            record = new_record(clock)
            store.create(record)
            for _ in range(10):
                assert store.load(record.key) is not None

        in_threads(40, work)
        in_threads(40, work)
        assert wire.opened <= 8
        assert len(store._saves._idle) == len(store._saves._opened) == wire.opened


def test_F3_when_all_connections_are_taken_the_next_one_waits_no_longer_than_the_timeout(
    store: EmbeddedStore, clock: FakeClock
) -> None:
    record = new_record(clock)
    store.create(record)
    holding, let_go = threading.Barrier(9), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        holding.wait()
        let_go.wait()

    threads = [threading.Thread(target=store._saves.run, args=(hold,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    holding.wait()
    with pytest.raises(StoreTimeoutError, match=r"all 8 connections were busy for 0\.2 s"):
        store.load(record.key)
    let_go.set()
    for thread in threads:
        thread.join()
    assert store.load(record.key) is not None


def test_a_closed_store_says_so(path: Path, clock: FakeClock) -> None:
    store = EmbeddedStore(path, clock=clock)
    record = new_record(clock)
    store.create(record)
    store.close()
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"], "the log was folded in"
    for call in every_call(store, record, record.version):
        with pytest.raises(StoreUnavailableError, match="this store was closed; make a new one"):
            call()


def test_a_store_nobody_refers_to_closes_its_connections(path: Path, clock: FakeClock) -> None:
    EmbeddedStore(path, clock=clock).create(new_record(clock))
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"]


# Copies


def test_a_copy_holds_what_the_store_holds_and_is_private(
    store: EmbeddedStore, tmp_path: Path, clock: FakeClock
) -> None:
    record = new_record(clock, subject=b"somebody")
    store.create(record)
    copy = tmp_path / "copy" / "sessions.db"
    store.back_up(copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(EmbeddedStore(copy, clock=clock)) as restored:
        assert restored.load(record.key) == store.load(record.key)
        restored.create(new_record(clock))
    with pytest.raises(ConfigurationError, match="exists already; give a new path"):
        store.back_up(copy)


# asyncio


async def test_a_cancelled_operation_is_done_or_not_done(path: Path, clock: FakeClock) -> None:
    store = AsyncEmbeddedStore(EmbeddedStore(path, clock=clock, timeout=30), threads=2)
    record = new_record(clock)
    version = await store.create(record)
    with closing(locked(path)):
        begun = [asyncio.ensure_future(store.update(record, version)) for _ in range(2)]
        waiting = asyncio.ensure_future(store.delete(record.key))
        await asyncio.sleep(0.05)
        for task in (*begun, waiting):
            task.cancel()
        results = await asyncio.gather(*begun, waiting, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
    loaded = await store.load(record.key)
    while loaded is not None and loaded.version == version:  # the one begun is carried through
        loaded = await store.load(record.key)
    assert loaded is not None, "the one that had not begun never did"
    assert loaded.version == version.next()
    await store.close()


async def test_closing_ends_the_threads_and_later_operations_say_so(path: Path, clock: FakeClock) -> None:
    store = AsyncEmbeddedStore(EmbeddedStore(path, clock=clock), threads=2)
    await asyncio.gather(*(store.create(new_record(clock)) for _ in range(10)))
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("sojourn-embedded")]
    assert 1 <= len(ours) <= 2
    await store.close()
    await store.close()
    for thread in ours:
        await asyncio.to_thread(thread.join)
    with pytest.raises(StoreUnavailableError, match="this store was closed; make a new one"):
        await store.load("0" * 64)


def test_no_threads_are_a_mistake(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="threads=0"):
        AsyncEmbeddedStore(EmbeddedStore(path), threads=0)


def test_S2_a_payload_planted_as_text_is_bytes_like_any_other(path: Path, clock: FakeClock) -> None:
    with closing(EmbeddedStore(path, clock=clock)) as store:
        record = new_record(clock)
        store.create(record)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE session SET payload = CAST(x'ff41' AS TEXT)")
            connection.commit()
        found = store.load(record.key)
        assert found is not None
        assert found.payload == b"\xffA"
