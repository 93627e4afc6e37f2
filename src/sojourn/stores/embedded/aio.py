"""The embedded store for asyncio."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from weakref import WeakSet

from sojourn.errors import ConfigurationError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sojourn.record import Record, Version
    from sojourn.stores.embedded.store import EmbeddedStore

__all__ = ["AsyncEmbeddedStore"]

P = ParamSpec("P")
T = TypeVar("T")

_stores: WeakSet[AsyncEmbeddedStore] = WeakSet()


class AsyncEmbeddedStore:
    """An :class:`EmbeddedStore` for asyncio; ``store`` stays usable beside it.

    Operations run in at most ``threads`` threads of its own, because a disk may make any of them wait;
    the threads start when first needed and end with :meth:`close`.  A cancelled operation is done or
    not done: one that has not begun never will, one that has begun is carried through unobserved.
    """

    def __init__(self, store: EmbeddedStore, *, threads: int = 4) -> None:
        if threads < 1:
            raise ConfigurationError(f"threads={threads} does nothing; give 1 or more")
        self.store = store
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = self._new_executor()
        _stores.add(self)

    async def create(self, record: Record) -> Version:
        """See :meth:`EmbeddedStore.create`."""
        return await self._run(self.store.create, record)

    async def load(self, key: str) -> Record | None:
        """See :meth:`EmbeddedStore.load`."""
        return await self._run(self.store.load, key)

    async def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`EmbeddedStore.update`."""
        return await self._run(self.store.update, record, expected_version)

    async def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`EmbeddedStore.touch`."""
        return await self._run(self.store.touch, key, idle_deadline)

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`EmbeddedStore.move`."""
        return await self._run(self.store.move, old_key, expected_version, record)

    async def delete(self, key: str) -> bool:
        """See :meth:`EmbeddedStore.delete`."""
        return await self._run(self.store.delete, key)

    async def close(self) -> None:
        """Close ``store`` and end the threads, after the operations under way."""
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.get_running_loop().run_in_executor(executor, self.store.close)
            executor.shutdown(wait=False)

    async def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`EmbeddedStore.find_subject`."""
        return await self._run(self.store.find_subject, subject)

    async def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`EmbeddedStore.delete_subject`."""
        return await self._run(self.store.delete_subject, subject, except_key=except_key)

    async def purge(self, *, limit: int = 100) -> int:
        """See :meth:`EmbeddedStore.purge`."""
        return await self._run(self.store.purge, limit=limit)

    async def scan(self, *, after: str = "", limit: int = 100) -> Sequence[Record]:
        """See :meth:`EmbeddedStore.scan`."""
        return await self._run(self.store.scan, after=after, limit=limit)

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._executor is None:
            raise StoreUnavailableError(f"{self.store.path}: this store was closed; make a new one")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(call, *args, **kwargs))

    def _new_executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="sojourn-embedded")

    def after_fork_in_child(self) -> None:
        """Forget the threads, which stayed with the parent."""
        if self._executor is not None:
            self._executor = self._new_executor()


def _after_fork_in_child() -> None:
    for store in tuple(_stores):
        store.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
