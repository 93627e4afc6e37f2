"""The smallest correct store: a dictionary behind a lock.  The broken stores are subclasses of it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sojourn.errors import ConflictError, DuplicateKeyError, SessionGoneError
from sojourn.record import Version

if TYPE_CHECKING:
    from sojourn.clock import Clock
    from sojourn.record import Record


class ReferenceStore:
    """Every promise of :class:`~sojourn.store.Store`, and no capability."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.records: dict[str, Record] = {}

    def living(self, key: str) -> Record | None:
        """Return the living record; drop a dead one, so that it stays dead when the clock steps back."""
        record = self.records.get(key)
        if record is not None and record.is_expired(self.clock.now()):
            del self.records[key]
            return None
        return record

    def at_version(self, key: str, expected_version: Version) -> Record:
        """Return the living record if it is at ``expected_version``; otherwise raise."""
        record = self.living(key)
        if record is None:
            message = "the session has ended"
            raise SessionGoneError(message)
        if record.version != expected_version:
            message = "the record is at another version"
            raise ConflictError(message)
        return record

    def create(self, record: Record) -> Version:
        with self.lock:
            if self.living(record.key) is not None:
                message = "the key lives"
                raise DuplicateKeyError(message)
            version = Version.first()
            self.records[record.key] = replace(record, version=version)
            return version

    def load(self, key: str) -> Record | None:
        with self.lock:
            return self.living(key)

    def update(self, record: Record, expected_version: Version) -> Version:
        with self.lock:
            self.at_version(record.key, expected_version)
            version = expected_version.next()
            self.records[record.key] = replace(record, version=version)
            return version

    def touch(self, key: str, idle_deadline: int) -> bool:
        with self.lock:
            record = self.living(key)
            if record is None:
                return False
            self.records[key] = replace(record, idle_deadline=idle_deadline)
            return True

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        with self.lock:
            self.at_version(old_key, expected_version)
            version = self.create(record)
            del self.records[old_key]
            return version

    def delete(self, key: str) -> bool:
        with self.lock:
            lived = self.living(key) is not None
            self.records.pop(key, None)
            return lived

    def close(self) -> None:
        """Nothing to let go of."""


class ReferenceSubjectIndex(ReferenceStore):
    """The reference, able to find a subject's sessions."""

    def find_subject(self, subject: bytes) -> list[Record]:
        with self.lock:
            living = [record for key in list(self.records) if (record := self.living(key)) is not None]
            return sorted((r for r in living if r.subject == subject), key=lambda r: r.created_at)

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        with self.lock:
            return sum(self.delete(r.key) for r in self.find_subject(subject) if r.key != except_key)


class ReferencePurge(ReferenceStore):
    """The reference, able to purge."""

    def purge(self, *, limit: int = 100) -> int:
        with self.lock:
            now = self.clock.now()
            dead = [key for key, record in self.records.items() if record.is_expired(now)][:limit]
            for key in dead:
                del self.records[key]
            return len(dead)


class ReferenceScan(ReferenceStore):
    """The reference, able to list."""

    def scan(self, *, after: str = "", limit: int = 100) -> list[Record]:
        with self.lock:
            keys = sorted(key for key in self.records if key > after)
            return [record for key in keys if (record := self.living(key)) is not None][:limit]


class FullReferenceStore(ReferenceSubjectIndex, ReferencePurge, ReferenceScan):
    """The reference with every capability."""


class AsyncReference:
    """Any of these stores for asyncio: others get their turn before and after each call."""

    def __init__(self, store: ReferenceStore) -> None:
        self.store = store

    async def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        answer = getattr(self.store, name)(*args, **kwargs)
        await asyncio.sleep(0)
        return answer

    async def create(self, record: Record) -> Version:
        version: Version = await self.ask("create", record)
        return version

    async def load(self, key: str) -> Record | None:
        record: Record | None = await self.ask("load", key)
        return record

    async def update(self, record: Record, expected_version: Version) -> Version:
        version: Version = await self.ask("update", record, expected_version)
        return version

    async def touch(self, key: str, idle_deadline: int) -> bool:
        lived: bool = await self.ask("touch", key, idle_deadline)
        return lived

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        version: Version = await self.ask("move", old_key, expected_version, record)
        return version

    async def delete(self, key: str) -> bool:
        lived: bool = await self.ask("delete", key)
        return lived

    async def close(self) -> None:
        await self.ask("close")


class FullAsyncReference(AsyncReference):
    """The same with every capability."""

    async def find_subject(self, subject: bytes) -> list[Record]:
        found: list[Record] = await self.ask("find_subject", subject)
        return found

    async def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        ended: int = await self.ask("delete_subject", subject, except_key=except_key)
        return ended

    async def purge(self, *, limit: int = 100) -> int:
        removed: int = await self.ask("purge", limit=limit)
        return removed

    async def scan(self, *, after: str = "", limit: int = 100) -> list[Record]:
        page: list[Record] = await self.ask("scan", after=after, limit=limit)
        return page
