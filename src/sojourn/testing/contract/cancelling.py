"""The contract of cancellation: a cancelled call is done or not done, never half done."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sojourn.record import UNSAVED
from sojourn.testing.contract.bench import AnyStore, Bench, ContractClock, created, promise
from sojourn.testing.records import new_record

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Cancelling"]

#: When to cancel: after so many turns of the event loop, later ones after so many quarter milliseconds.
_MOMENTS = range(20)
_TURNS = 8


async def cancelled(call: Coroutine[Any, Any, Any], moment: int) -> None:
    """Begin ``call``, cancel it at ``moment`` and wait until it has ended, one way or the other."""
    task = asyncio.ensure_future(call)
    for _ in range(min(moment, _TURNS)):
        await asyncio.sleep(0)
    if moment > _TURNS:
        await asyncio.sleep((moment - _TURNS) * 0.000_25)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Cancelling(Bench):
    """What is left of a call that was cancelled."""

    @promise
    async def test_C5_a_cancelled_create_happened_or_did_not(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for moment in _MOMENTS:
            record = new_record(clock, payload=secrets.token_bytes(20_000), subject=b"s", info=b"i")
            await cancelled(store.create(record), moment)
            loaded = await store.load(record.key)
            assert loaded is None or replace(loaded, version=UNSAVED) == record

    @promise
    async def test_C5_a_cancelled_update_happened_or_did_not(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for moment in _MOMENTS:
            old = await created(store, new_record(clock, payload=secrets.token_bytes(20_000)))
            new = replace(old, payload=secrets.token_bytes(20_000), subject=b"s", version=old.version.next())
            await cancelled(store.update(new, old.version), moment)
            assert await store.load(old.key) in (old, new)

    @promise
    async def test_C5_after_a_cancelled_move_exactly_one_key_lives(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        for moment in _MOMENTS:
            old, new = await created(store, new_record(clock)), new_record(clock)
            await cancelled(store.move(old.key, old.version, new), moment)
            # It may still be on its way: if the old key lives now, the new one did not live before.
            moved = await store.load(new.key) is not None
            if await store.load(old.key) is None:
                assert await store.load(new.key) is not None
            else:
                assert not moved

    @promise
    async def test_C5_a_cancelled_call_never_leaves_its_answer_to_another(
        self, store: AnyStore, clock: ContractClock
    ) -> None:
        one, other = [await created(store, new_record(clock, payload=name)) for name in (b"one", b"other")]
        for moment in _MOMENTS:
            await cancelled(store.load(one.key), moment)
            assert await store.load(other.key) == other
