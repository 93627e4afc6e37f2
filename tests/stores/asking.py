"""What tests ask of a store on servers: operations by their names, and many things at once (checklist C5)."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Keyring, Manager
from sojourn.clock import SystemClock
from sojourn.testing.records import new_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.record import Record
    from sojourn.store import AsyncStore, Store

__all__ = ["INDEXED", "OPERATIONS", "ask_in_children", "call", "refuses", "saves_kept", "storm"]

CLOCK = SystemClock()

OPERATIONS = ("create", "load", "update", "touch", "move", "delete")
#: Those of a store with an index of subjects.
INDEXED = (*OPERATIONS, "find", "delete all")


def call(store: Any, operation: str, record: Record) -> Any:
    """Ask ``store`` for ``operation``; ``record`` is as it is stored."""
    return {
        "create": lambda: store.create(new_record(CLOCK)),
        "load": lambda: store.load(record.key),
        "update": lambda: store.update(record, record.version),
        "touch": lambda: store.touch(record.key, record.idle_deadline),
        "move": lambda: store.move(record.key, record.version, new_record(CLOCK)),
        "delete": lambda: store.delete(record.key),
        "find": lambda: store.find_subject(b"hers"),
        "delete all": lambda: store.delete_subject(b"hers"),
    }[operation]()


def refuses(store: Store, key: str, record: Record) -> None:
    """Fail unless every operation refuses ``key``, which is no digest, in the place of that of ``record``."""
    for refused in (
        partial(store.load, key),
        partial(store.create, replace(record, key=key)),
        partial(store.update, replace(record, key=key), record.version),
        partial(store.touch, key, 0),
        partial(store.move, key, record.version, record),
        partial(store.move, record.key, record.version, replace(record, key=key)),
        partial(store.delete, key),
    ):
        with pytest.raises(ValueError, match="hexadecimal"):
            refused()


def saves_kept(one: Store, other: Store, *, patience: float) -> int:
    """Return how many of 400 saves of different keys, by eight threads, one session has kept (checklist C2).

    Through a manager on each store; ``patience``: seconds that a save, and a thread, may take.
    """
    keyring = Keyring(["a server secret for tests: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"])
    managers = [Manager(store, keyring, timeout=patience) for store in (one, other)]
    session = managers[0].new_session()
    session["begun"] = True
    managers[0].commit(session)
    token = session.token

    def save(worker: int) -> None:
        manager = managers[worker % 2]
        for number in range(50):
            opened = manager.open(token)
            opened[f"{worker}.{number}"] = number
            manager.commit(opened)

    threads = [threading.Thread(target=save, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience)
    kept = managers[0].open(token)
    return sum(f"{worker}.{number}" in kept for worker in range(8) for number in range(50))


async def storm(store: AsyncStore, *, rounds: int, calls: int, cancelled: int, size: int = 1) -> int:
    """Load so many records at once, round by round, and cancel some of the calls; return how many answered.

    Fails if one is answered with what another asked for.  ``size``: of a payload, in a few octets.
    """
    records = [new_record(CLOCK, payload=b"%d " % number * size) for number in range(20)]
    for record in records:
        await store.create(record)
    chance = random.Random(5)
    answered = 0

    async def ask() -> None:
        nonlocal answered
        record = chance.choice(records)
        loaded = await store.load(record.key)
        assert loaded is not None
        assert (loaded.key, loaded.payload) == (record.key, record.payload)
        answered += 1

    for _ in range(rounds):
        tasks = [asyncio.ensure_future(ask()) for _ in range(calls)]
        await asyncio.sleep(0)
        for task in chance.sample(tasks, cancelled):
            await asyncio.sleep(0)
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
    return answered


def ask_in_children(store: Store, *, children: int, calls: int, patience: float) -> None:
    """Load records in forked children and here at once; fails if one is answered with what another asked for.

    ``patience``: seconds that a child may take.
    """
    payloads = {}
    for number in range(20):
        record = new_record(CLOCK, payload=b"%d" % number)
        store.create(record)
        payloads[record.key] = record.payload
    fork = multiprocessing.get_context("fork")
    forked = [
        fork.Process(target=lambda seed=seed: sys.exit(not _ask_often(store, payloads, calls, seed)))
        for seed in range(children)
    ]
    for child in forked:
        child.start()
    assert all(_ask_often(store, payloads, calls, seed) for seed in range(children, 2 * children))
    for child in forked:
        child.join(patience)
        assert child.exitcode == 0


def _ask_often(store: Store, payloads: Mapping[str, bytes], calls: int, seed: int) -> bool:
    chance = random.Random(seed)
    for _ in range(calls):
        key = chance.choice(list(payloads))
        loaded = store.load(key)
        if loaded is None or (loaded.key, loaded.payload) != (key, payloads[key]):
            return False
    return True
