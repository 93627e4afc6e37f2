"""Asynchronous stores that leave calls half done when they are cancelled, and the tests that say so."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.testing.catching import InThreads

if TYPE_CHECKING:
    from sojourn.record import Record, Version
    from tests.testing.reference import FullAsyncReference


class CreatesThenFillsIn(InThreads):
    async def create(self, record: Record) -> Version:
        version = await super().create(replace(record, subject=None))
        stored = replace(record, version=version)
        await asyncio.sleep(0)
        self.store.records[record.key] = stored
        return version


class UpdatesThePayloadFirst(InThreads):
    async def update(self, record: Record, expected_version: Version) -> Version:
        with self.store.lock:
            before = self.store.records.get(record.key)
            version = self.store.update(record, expected_version)
            if before is not None:
                self.store.records[record.key] = replace(before, payload=record.payload)
        await asyncio.sleep(0)
        self.store.records[record.key] = replace(record, version=version)
        return version


class MovesInTwoSteps(InThreads):
    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.store.lock:
            old = self.store.living(old_key)
            version = self.store.move(old_key, expected_version, record)
            if old is not None:
                self.store.records[old_key] = old
        await asyncio.sleep(0)
        self.store.records.pop(old_key, None)
        return version


class ReadsTheAnswerToAnother(InThreads):
    """One connection: a cancelled call leaves its answer there for the next one."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.answers: list[Any] = []

    async def load(self, key: str) -> Record | None:
        self.answers.append(self.store.load(key))
        await asyncio.sleep(0)
        answer: Record | None = self.answers.pop(0)
        return answer


#: Each and the one promise of cancellation that it breaks.
BROKEN_BY_CANCELLATION: dict[type[FullAsyncReference], str] = {
    CreatesThenFillsIn: "test_C5_a_cancelled_create_happened_or_did_not",
    UpdatesThePayloadFirst: "test_C5_a_cancelled_update_happened_or_did_not",
    MovesInTwoSteps: "test_C5_after_a_cancelled_move_exactly_one_key_lives",
    ReadsTheAnswerToAnother: "test_C5_a_cancelled_call_never_leaves_its_answer_to_another",
}
