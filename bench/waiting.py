"""``python -m bench.waiting``: what a wait costs the code that runs after it, and what looking costs instead.

Opens a session of the embedded engine, which waits for nobody, at once and after the thread has slept for
50 µs: it is the same work.  Then reads from a memcached, started for this, sleeping until each reply is there
and looking for it first, as ``stores/lines.py`` does.  Medians of 4,000.
"""

from __future__ import annotations

import resource
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter_ns, sleep
from typing import TYPE_CHECKING, Final

from sojourn.clock import SystemClock
from sojourn.keyring import Keyring
from sojourn.manager import Manager
from sojourn.stores import lines
from sojourn.stores.embedded import EmbeddedStore
from sojourn.stores.memcached import MemcachedStore
from sojourn.testing.records import new_record
from tests.servers.memcached import Memcached

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMES: Final = 4_000
_PAUSE: Final = 50e-6


def _embedded(folder: Path) -> None:
    store = EmbeddedStore(folder / "sojourn" / "sessions.sqlite3")
    manager = Manager(store, Keyring(["a secret of the benchmark, 50 characters or more long"]))
    session = manager.new_session()
    session["user"], session["basket"] = "7", "x" * 1_900
    manager.commit(session)
    token = session.token
    for name, before in (("at once", lambda: None), ("after 50 µs of sleep", lambda: sleep(_PAUSE))):
        taken = _microseconds(before, lambda: manager.open(token)["user"])
        sys.stdout.write(f"embedded, read {name:24} {taken:6.1f} µs\n")


def _memcached() -> None:
    with Memcached() as server:
        for name, looks in (("sleeping", 0), ("looking first", lines.LOOKS)):
            lines.LOOKS = looks  # type: ignore[misc]
            store = MemcachedStore(server.address)
            record = new_record(SystemClock(), payload=secrets.token_bytes(2_000))
            store.create(record)
            before = _processor()
            taken = _microseconds(lambda: None, lambda store=store, key=record.key: store.load(key))
            used = (_processor() - before) / _TIMES * 1e6
            store.close()
            sys.stdout.write(f"memcached, load {name:23} {taken:6.1f} µs, of the processor {used:6.1f} µs\n")


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _microseconds(before: Callable[[], object], work: Callable[[], object]) -> float:
    taken: list[int] = []
    for _ in range(_TIMES):
        before()
        start = perf_counter_ns()
        work()
        taken.append(perf_counter_ns() - start)
    return median(taken) / 1_000


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="sojourn-bench-") as temporary:
        _embedded(Path(temporary))
    if shutil.which("memcached"):
        _memcached()
