"""The cached store for asyncio."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from sojourn.cancelling import to_the_end
from sojourn.steps import run_async
from sojourn.store import AsyncStore
from sojourn.stores.cached.operations import Operations
from sojourn.stores.cached.store import PATIENCE
from sojourn.turns import AsyncTurns

if TYPE_CHECKING:
    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.steps import Steps
    from sojourn.stores.cached.store import CachedStore

__all__ = ["AsyncCachedStore"]

T = TypeVar("T")


class AsyncCachedStore(Operations[AsyncStore]):
    """:class:`CachedStore` for asyncio, on two :class:`~sojourn.store.AsyncStore`.

    The origin commits by itself.  ``beside``: a store for threads of the same two places; what that one keeps
    for a commit is not read from a copy here either.

    A cancelled write is brought to its end before the cancellation goes on, so that no copy is left behind by
    what the origin has taken.
    """

    def __init__(
        self,
        cache: AsyncStore,
        origin: AsyncStore,
        *,
        lease: float = 30.0,
        rest: float = 1.0,
        beside: CachedStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(cache, origin, lease=lease, rest=rest, clock=clock)
        self._turns = AsyncTurns()
        if beside is not None:
            self._copies.unsettled = beside._copies.unsettled  # noqa: SLF001 - its twin's

    async def create(self, record: Record) -> Version:
        """See :meth:`CachedStore.create`."""
        return await self._carry_out(self.create_steps(record))

    async def load(self, key: str) -> Record | None:
        """See :meth:`CachedStore.load`."""
        return await run_async(self.load_in_turn_steps(key))

    async def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`CachedStore.update`."""
        return await self._carry_out(self.update_steps(record, expected_version))

    async def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`CachedStore.touch`."""
        return await self._carry_out(self.touch_steps(key, idle_deadline))

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`CachedStore.move`."""
        return await self._carry_out(self.move_steps(old_key, expected_version, record))

    async def delete(self, key: str) -> bool:
        """See :meth:`CachedStore.delete`."""
        return await self._carry_out(self.delete_steps(key))

    async def close(self) -> None:
        """Close the cache and the origin."""
        await self.cache.close()
        await self.origin.close()

    async def _carry_out(self, steps: Steps[T]) -> T:
        return await to_the_end(run_async(steps))

    async def _take(self, turn: asyncio.Lock) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                return await turn.acquire()
        return False
