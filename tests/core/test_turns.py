"""Saves to one session take turns inside a process."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings

import pytest

from sojourn.record import dated_key
from sojourn.turns import AsyncTurns, Turns

_KEY, _ALIKE, _OTHER = "00" * 32, "ff" * 31 + "00", "01" * 32


def test_one_key_has_one_lock() -> None:
    turns = Turns()
    assert turns.of(_KEY) is turns.of(_KEY)
    assert turns.of(_KEY) is not turns.of(_OTHER)


def test_the_number_of_locks_is_bounded() -> None:
    turns = Turns()
    assert turns.of(_KEY) is turns.of(_ALIKE)
    assert len({id(turns.of(f"{n:064x}")) for n in range(10_000)}) <= 256


def test_sessions_that_end_on_one_day_do_not_all_share_a_lock() -> None:
    turns = Turns()
    assert len({id(turns.of(dated_key(f"{n:064x}", 20_000))) for n in range(100)}) == 100


def test_two_managers_do_not_wait_for_each_other() -> None:
    assert Turns().of(_KEY) is not Turns().of(_KEY)


async def test_one_key_has_one_lock_in_a_loop() -> None:
    turns = AsyncTurns()
    assert turns.of(_KEY) is turns.of(_KEY)
    assert turns.of(_KEY) is turns.of(_ALIKE)
    assert turns.of(_KEY) is not turns.of(_OTHER)


def test_each_loop_has_locks_of_its_own() -> None:
    turns = AsyncTurns()

    async def lock() -> asyncio.Lock:
        return turns.of(_KEY)

    assert asyncio.run(lock()) is not asyncio.run(lock())


def test_event_loops_that_are_over_are_forgotten_with_their_locks() -> None:
    """``asyncio.run``, and with it Django's ``async_to_sync``, makes one for each call."""
    turns = AsyncTurns()

    async def save() -> None:
        async with turns.of(_KEY):
            await asyncio.sleep(0)

    async def save_at_once() -> None:
        await asyncio.gather(save(), save())

    for _ in range(3):
        asyncio.run(save_at_once())
    assert len(turns._locks) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_C5_a_forked_child_starts_with_free_locks() -> None:
    turns = Turns()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with turns.of(_KEY):
            held.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads
        child = os.fork()
    if child == 0:  # a child says only how it went, and nothing of pytest runs in it
        os._exit(0 if turns.of(_KEY).acquire(timeout=5) else 1)
    _, status = os.waitpid(child, 0)
    done.set()
    holder.join()
    assert os.waitstatus_to_exitcode(status) == 0
