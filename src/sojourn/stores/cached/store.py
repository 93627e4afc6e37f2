"""The cached store for threads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from sojourn.errors import StoreUnavailableError
from sojourn.steps import run
from sojourn.store import Store
from sojourn.stores.cached.copies import Found
from sojourn.stores.cached.operations import Operations
from sojourn.turns import Turns

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.steps import Steps

__all__ = ["PATIENCE", "CachedStore"]

T = TypeVar("T")

#: Seconds that a load waits for another of this process to ask the origin for both.
PATIENCE: Final = 1.0


class CachedStore(Operations[Store]):
    """A :class:`~sojourn.store.Store` that keeps sessions in ``origin`` and copies of them in ``cache``.

    Any store over any other: memcached over a database is the ordinary pair.  The origin alone decides what
    lives.  It has to answer with what was last written to it: a database is asked on its primary.

    ``lease``: seconds for which a copy saves asking the origin.  What the cache is not told (a row deleted by
    hand, a session ended while the cache was cut off) is seen after that long at the latest.

    ``rest``: seconds for which a cache that did not answer is left alone.  Meanwhile sessions come from the
    origin; nothing is raised.  Give the cache a short timeout: one request in each rest waits for it.

    ``after_commit``: for an origin that writes inside a transaction of the application's.  It is called with
    what there is to be written to the cache, and either keeps that until the commit (and forgets it at a
    rollback) and returns ``True``, or returns ``False``: there is no transaction, it is written at once.

    The store has the capabilities of its origin.  Closing it closes both.  Thread-safe; safe to fork if both
    stores are.
    """

    def __init__(
        self,
        cache: Store,
        origin: Store,
        *,
        lease: float = 30.0,
        rest: float = 1.0,
        after_commit: Callable[[Callable[[], object]], bool] | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(cache, origin, lease=lease, rest=rest, clock=clock)
        self._turns = Turns()
        self._commit_hook = after_commit

    def create(self, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.create`.  Two round trips."""
        return run(self.create_steps(record))

    def load(self, key: str) -> Record | None:
        """See :meth:`sojourn.store.Store.load`.

        One round trip within the lease, else three; two if there is no session.
        """
        copies = self._copies
        if not copies.may_be_asked():
            return run(self.load_in_turn_steps(key))
        # What nearly every request does takes no steps.
        try:
            found = copies.found(key, self.cache.load(key))
        except StoreUnavailableError as error:
            copies.failed(error)
            found = Found()
        record = copies.good(found)
        return run(self._fetch_in_turn(key, found)) if record is None else record

    def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`sojourn.store.Store.update`.  Two round trips."""
        return run(self.update_steps(record, expected_version))

    def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`sojourn.store.Store.touch`.  Two round trips; the next load asks the origin."""
        return run(self.touch_steps(key, idle_deadline))

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.move`.  Three round trips."""
        return run(self.move_steps(old_key, expected_version, record))

    def delete(self, key: str) -> bool:
        """See :meth:`sojourn.store.Store.delete`.

        Two round trips if this process has just loaded it, else up to four.
        """
        return run(self.delete_steps(key))

    def close(self) -> None:
        """Close the cache and the origin."""
        self.cache.close()
        self.origin.close()

    def _carry_out(self, steps: Steps[T]) -> T:
        return run(steps)

    def _take(self, turn: threading.Lock) -> bool:
        return turn.acquire(timeout=PATIENCE)

    def _defers(self, steps: Steps[object]) -> bool:
        return self._commit_hook is not None and self._commit_hook(partial(run, steps))
