"""The embedded store among processes: killed, forked, racing."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sojourn.errors import StoreUnavailableError
from sojourn.record import Version
from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore
from sojourn.testing import FakeClock
from sojourn.testing.records import new_record

if TYPE_CHECKING:
    from collections.abc import Callable

# Python 3.12 and later warn of any fork in a process with threads; that it is safe is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sojourn" / "sessions.db"


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def forked(work: Callable[[], bool]) -> int:
    """Return the id of a forked child that exits with 0 if ``work()`` is true."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return child


def succeeded(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Killed

WRITERS = """
import os
import sys
from sojourn.clock import SystemClock
from sojourn.stores.embedded import EmbeddedStore
from sojourn.testing.records import new_record

def acknowledge(*words):
    print(*words, flush=True)

def write():
    store, clock = EmbeddedStore(sys.argv[1]), SystemClock()
    for i in range(1_000_000):
        record = new_record(clock, payload=bytes(5000))
        version = store.create(record)
        acknowledge("lives", record.key, version.origin, version.counter)
        if i % 3 == 0:
            version = store.update(record, version)
            acknowledge("lives", record.key, version.origin, version.counter)
        elif i % 3 == 1:
            renewed = new_record(clock, payload=bytes(5000))
            acknowledge("moves", record.key)
            version = store.move(record.key, version, renewed)
            acknowledge("dead", record.key)
            acknowledge("lives", renewed.key, version.origin, version.counter)
        else:
            acknowledge("moves", record.key)
            store.delete(record.key)
            acknowledge("dead", record.key)

for _ in range(int(sys.argv[2])):  # one after the other
    writer = os.fork()
    if writer == 0:
        acknowledge("pid", os.getpid())
        write()
    os.waitpid(writer, 0)
    acknowledge(chr(10) + "killed")  # ends the line the writer may have begun
"""


@pytest.mark.parametrize(("kills", "lines"), [(100, 7), (2, 333), (2, 1000)])
def test_F5_a_killed_writer_loses_nothing_that_was_acknowledged(path: Path, kills: int, lines: int) -> None:
    said: list[list[str]] = []
    with start(WRITERS, path, kills) as writers:  # each finds what those before left behind
        assert writers.stdout is not None
        for _ in range(kills):
            word, writer = writers.stdout.readline().split()
            assert word == "pid"
            said.extend(writers.stdout.readline().split() for _ in range(lines))
            os.kill(int(writer), signal.SIGKILL)
            said.extend(line.split() for line in iter(writers.stdout.readline, "killed\n"))
    assert writers.returncode == 0
    living: dict[str, Version] = {}
    dead: set[str] = set()
    for word, key, *version in (words for words in said if len(words) in {2, 4}):
        if word == "lives":
            living[key] = Version(*map(int, version))
        else:
            living.pop(key, None)  # from the announcement on it may be either
            if word == "dead":
                dead.add(key)
    with closing(EmbeddedStore(path)) as store:
        for key, expected in living.items():
            record = store.load(key)
            assert record is not None
            assert record.version in (expected, expected.next()), "one more may have been under way"
        assert all(store.load(key) is None for key in dead)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# Racing

LOGINS = """
import sys
from sojourn.clock import SystemClock
from sojourn.stores.embedded import EmbeddedStore
from sojourn.testing.records import new_record

store, clock = EmbeddedStore(sys.argv[1], max_sessions_per_subject=3, timeout=30), SystemClock()
print("ready", flush=True)
input()
for _ in range(13):
    store.create(new_record(clock, subject=b"somebody"))
    print(len(store.find_subject(b"somebody")))
"""


def test_L7_logins_racing_in_four_processes_never_exceed_the_cap(path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOGINS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [int(line) for process in processes for line in process.communicate()[0].splitlines()]
    assert len(counts) == 52
    assert max(counts) <= 3


COUNTER = """
import sys
from sojourn.errors import ConflictError
from sojourn.record import Record
from sojourn.stores.embedded import EmbeddedStore

store, key = EmbeddedStore(sys.argv[1], timeout=30), sys.argv[2]
done = 0
while done < 50:
    record = store.load(key)
    count = int(record.payload) + 1
    try:
        store.update(Record(key=key, payload=str(count).encode(), created_at=record.created_at,
                            idle_deadline=record.idle_deadline), record.version)
    except ConflictError:
        continue
    done += 1
"""


def test_C2_processes_that_write_one_session_lose_no_change(path: Path) -> None:
    clock = FakeClock(now=4_000_000_000_000)
    record = new_record(clock, payload=b"0")
    with closing(EmbeddedStore(path)) as store:
        store.create(record)
        processes = [start(COUNTER, path, record.key) for _ in range(3)]
        assert [process.wait() for process in processes] == [0, 0, 0]
        for process in processes:
            process.communicate()
        loaded = store.load(record.key)
    assert loaded is not None
    assert loaded.payload == b"150"


def test_processes_that_meet_an_empty_file_at_once_make_one_schema(path: Path) -> None:
    script = (
        "import sys; from sojourn.stores.embedded import EmbeddedStore; "
        "print(EmbeddedStore(sys.argv[1], timeout=30).load('0' * 64))"
    )
    processes = [start(script, path) for _ in range(4)]
    assert [process.communicate()[0] for process in processes] == ["None\n"] * 4


# Forked


def test_C5_what_parent_and_child_write_after_a_fork_is_all_kept(path: Path) -> None:
    clock = FakeClock()
    store = EmbeddedStore(path, clock=clock)
    before, by_child, by_parent = (new_record(clock) for _ in range(3))
    store.create(before)
    store.delete("0" * 64)
    at_parent, from_parent = os.pipe()
    at_child, from_child = os.pipe()

    def work() -> bool:
        found = store.load(before.key) is not None
        os.write(from_parent, b".")
        os.read(at_child, 1)  # the parent has closed the file, the child is the last to have it open
        store.create(by_child)
        return found and store.load(by_parent.key) is not None

    child = forked(work)
    os.read(at_parent, 1)
    store.create(by_parent)
    store.close()
    os.write(from_child, b".")
    assert succeeded(child)
    for end in (at_parent, from_parent, at_child, from_child):
        os.close(end)
    with closing(EmbeddedStore(path, clock=clock)) as again:
        assert all(again.load(record.key) is not None for record in (before, by_child, by_parent))


def test_C5_a_forked_child_inherits_no_open_file(path: Path) -> None:
    clock = FakeClock()
    with closing(EmbeddedStore(path, clock=clock)) as store:
        store.create(new_record(clock))

        def work() -> bool:
            opened = [os.path.realpath(descriptor) for descriptor in Path("/proc/self/fd").iterdir()]
            return not any(str(path) in name for name in opened)

        assert succeeded(forked(work))


def test_C5_a_fork_waits_for_operations_under_way(path: Path) -> None:
    clock = FakeClock()
    record = new_record(clock)
    with closing(EmbeddedStore(path, clock=clock, timeout=30)) as store:
        version = store.create(record)
        stop = threading.Event()
        failures: list[BaseException] = []

        def keep_writing() -> None:
            current = version
            try:
                while not stop.is_set():
                    current = store.update(record, current)
            except BaseException as error:  # noqa: BLE001 - reported by the test
                failures.append(error)

        writer = threading.Thread(target=keep_writing)
        writer.start()
        children = [forked(lambda: store.load(record.key) is not None) for _ in range(5)]
        results = [succeeded(child) for child in children]
        stop.set()
        writer.join()
    assert results == [True] * 5
    assert failures == []


def test_C5_a_child_forked_in_the_middle_of_an_operation_refuses_to_use_the_file(path: Path) -> None:
    clock = FakeClock()
    record = new_record(clock)
    with closing(EmbeddedStore(path, clock=clock, timeout=0.05)) as store:
        store.create(record)
        holding, let_go = threading.Event(), threading.Event()

        def hold(_: sqlite3.Connection) -> None:
            holding.set()
            let_go.wait()

        holder = threading.Thread(target=store._saves.run, args=(hold,))
        holder.start()
        holding.wait()

        def work() -> bool:
            with pytest.raises(StoreUnavailableError, match="forked while another thread was using the file"):
                store.load(record.key)
            return True

        assert succeeded(forked(work))
        let_go.set()
        holder.join()
        assert store.load(record.key) is not None


def test_C5_a_forked_child_has_threads_of_its_own(path: Path) -> None:
    clock = FakeClock()
    store = AsyncEmbeddedStore(EmbeddedStore(path, clock=clock))
    record = new_record(clock)
    asyncio.run(store.create(record))
    assert succeeded(forked(lambda: asyncio.run(store.load(record.key)) is not None))
    assert asyncio.run(store.load(record.key)) is not None
    asyncio.run(store.close())
