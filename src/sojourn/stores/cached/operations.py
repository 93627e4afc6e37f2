"""The operations, written once: what to ask of the origin, what of the cache, and in which order.

As steps (:mod:`sojourn.steps`); :mod:`~sojourn.stores.cached.store` and :mod:`~sojourn.stores.cached.aio`
carry them out.  Both stores are used through :class:`~sojourn.store.Store` alone.  The rules:

1. The origin comes first, always.  What it answers is the answer; the cache only saves asking it.
2. A copy is good until its lease is over, which counts from before the origin was asked.
3. Nothing in the cache is ever deleted, and nothing replaced unseen: what is absent is added (``create``),
   what was read is replaced by compare-and-set with the version it was read with (``update``).
4. Who loses such a race looks again.  A tombstone stays, and so does what is newer.
5. What ends a session leaves a tombstone, which outlives every lease that runs by then.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from sojourn.clock import SystemClock
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    SessionGoneError,
    StoreUnavailableError,
)
from sojourn.store import AsyncStore, Purge, Scan, Store, SubjectIndex
from sojourn.stores.cached.copies import MOST_TRIES, Copies, Found, Seen
from sojourn.stores.cached.item import TOMBSTONE, Copy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.steps import Steps
    from sojourn.turns import AsyncTurns, Turns

__all__ = ["Operations"]

StoreT = TypeVar("StoreT", Store, AsyncStore)


class Operations(Generic[StoreT]):
    """What :class:`CachedStore` and :class:`AsyncCachedStore` share: settings and operations."""

    _turns: Turns | AsyncTurns

    def __init__(
        self, cache: StoreT, origin: StoreT, *, lease: float, rest: float, clock: Clock | None
    ) -> None:
        if cache is origin:
            raise ConfigurationError("cache and origin are one store; give two, or that store by itself")
        if inspect.iscoroutinefunction(cache.load) != inspect.iscoroutinefunction(origin.load):
            raise ConfigurationError(
                "one of cache and origin is asynchronous and the other is not: give CachedStore two plain "
                "stores, AsyncCachedStore two asynchronous ones"
            )
        if lease <= 0:
            raise ConfigurationError(f"lease={lease} makes every copy useless; give seconds, such as 30.0")
        if rest < 0:
            raise ConfigurationError(f"rest={rest} is in the past; give seconds, such as 1.0")
        self.cache: StoreT = cache
        self.origin: StoreT = origin
        self._clock: Clock = SystemClock() if clock is None else clock
        self._copies: Copies[StoreT] = Copies(cache, lease=round(lease * 1000), rest=rest, clock=self._clock)
        self.__class__ = _with_capabilities(type(self), origin)

    @property
    def partition_by(self) -> str | None:
        """The origin's: see :class:`sojourn.stores.sql.SQLStore`."""
        return getattr(self.origin, "partition_by", None)

    def create_steps(self, record: Record) -> Steps[Version]:
        """See :meth:`CachedStore.create`."""
        asked_at = self._clock.now()
        version = yield self.origin.create, record
        return (yield from self._saved(record.at(version), asked_at))

    def load_steps(self, key: str) -> Steps[Record | None]:
        """See :meth:`CachedStore.load`."""
        found = yield from self._copies.look(key)
        record = self._copies.good(found)
        if record is None:
            record = yield from self._fetch(key, found)
        return record

    def load_in_turn_steps(self, key: str) -> Steps[Record | None]:
        """Do :meth:`load_steps`, but let one request of this process ask the origin for all that wait."""
        found = yield from self._copies.look(key)
        record = self._copies.good(found)
        if record is None:
            record = yield from self._fetch_in_turn(key, found)
        return record

    def _fetch_in_turn(self, key: str, found: Found) -> Steps[Record | None]:
        turn = self._turns.of(key)
        ours: bool = yield self._take, turn
        try:
            if self._copies.has_changed(key, found):  # another has asked meanwhile
                return (yield from self.load_steps(key))
            return (yield from self._fetch(key, found))
        finally:
            if ours:
                turn.release()

    def update_steps(self, record: Record, expected_version: Version) -> Steps[Version]:
        """See :meth:`CachedStore.update`."""
        asked_at = self._clock.now()
        try:
            version = yield self.origin.update, record, _source(expected_version)
        except ConflictError:
            yield from self._copies.outdate_read(record.key, expected_version)
            raise
        except SessionGoneError:
            yield from self._copies.bury_copy(record.key)
            raise
        if isinstance(expected_version, Seen):
            expected_version.is_past = True
        return (yield from self._saved(record.at(version), asked_at, over=expected_version))

    def touch_steps(self, key: str, idle_deadline: int) -> Steps[bool]:
        """See :meth:`CachedStore.touch`."""
        lived: bool = yield self.origin.touch, key, idle_deadline
        yield from self._after_commit(
            key, self._copies.outdate(key) if lived else self._copies.bury_copy(key)
        )
        return lived

    def move_steps(self, old_key: str, expected_version: Version, record: Record) -> Steps[Version]:
        """See :meth:`CachedStore.move`."""
        asked_at = self._clock.now()
        try:
            version = yield self.origin.move, old_key, _source(expected_version), record
        except ConflictError:
            yield from self._copies.outdate_read(old_key, expected_version)
            raise
        except (SessionGoneError, StoreUnavailableError):  # after the latter nobody knows whether it lives
            yield from self._copies.bury_copy(old_key)
            raise
        if isinstance(expected_version, Seen):
            expected_version.is_past = True
        yield from self._after_commit(old_key, self._copies.bury(old_key))
        return (yield from self._saved(record.at(version), asked_at))

    def delete_steps(self, key: str) -> Steps[bool]:
        """See :meth:`CachedStore.delete`."""
        try:
            lived: bool = yield self.origin.delete, key
        except StoreUnavailableError:  # nobody knows whether it lives: then no copy may say so
            yield from self._copies.bury_copy(key)
            raise
        yield from self._after_commit(key, self._copies.bury(key) if lived else self._copies.bury_copy(key))
        return lived

    def delete_subject_steps(self, subject: bytes, *, except_key: str | None = None) -> Steps[int]:
        """See :meth:`sojourn.store.SubjectIndex.delete_subject`.

        Each session by itself, for each needs a tombstone, and the origin's ``delete_subject`` does not say
        which they were.  Again until there is nothing new: one may be renewed between the look and its end.
        """
        index: Any = self.origin
        ended = 0
        done = {except_key}
        while True:
            records: Sequence[Record] = yield index.find_subject, subject
            keys = [record.key for record in records if record.key not in done]
            if not keys:
                return ended
            for key in keys:
                ended += yield from self.delete_steps(key)
            done.update(keys)

    # Parts of them

    def _fetch(self, key: str, found: Found) -> Steps[Record | None]:
        """Return what the origin has, and put a copy of it in the place of what was found."""
        tries = MOST_TRIES
        while True:
            asked_at = self._clock.now()
            record: Record | None = yield self.origin.load, key
            if record is None:
                if isinstance(found.content, Copy):
                    yield from self._after_commit(key, self._copies.bury(key))
                return None
            if found.content == TOMBSTONE:
                return record.at(Seen.of(record.version))
            seen = Seen.of(record.version, found.token)
            if self._defers(self._copies.put(record, seen, asked_at)):
                return record.at(seen)
            tries -= 1
            if (yield from self._copies.wins(record, seen, asked_at)) or tries == 0:
                return record.at(seen)
            # Somebody else has fetched, saved or ended it meanwhile: what was read above may be past.
            found = yield from self._copies.look(key)
            good = self._copies.good(found)
            if good is not None:
                return good

    def _saved(self, record: Record, asked_at: int, *, over: Version | None = None) -> Steps[Version]:
        """Have a record copied that the origin has just taken, over ``over``; return its version."""
        seen = Seen.of(record.version)
        yield from self._after_commit(record.key, self._copies.put(record, seen, asked_at, over=over))
        return seen

    def _after_commit(self, key: str, steps: Steps[object]) -> Steps[None]:
        """Carry ``steps`` out once the origin's transaction has been committed: now, if there is none.

        Until then nobody here reads the copy of ``key``, which does not know what the transaction has done.
        """
        if self._defers(self._copies.settling(key, steps)):
            self._copies.unsettle(key)
        else:
            yield from steps

    # What the two stores do each in its own way

    def _carry_out(self, steps: Steps[Any]) -> Any:
        """Return what ``steps`` return, or something to await for it."""
        raise NotImplementedError

    def _take(self, turn: Any) -> Any:
        """Wait for a turn, not forever; return whether it is ours, or something to await for that."""
        raise NotImplementedError

    def _defers(self, steps: Steps[object]) -> bool:  # noqa: ARG002 - an override's
        """Whether ``steps`` are left for when the origin's transaction has been committed."""
        return False


def _source(version: Version) -> Version:
    """Return ``version`` as the origin gave it."""
    return version.source if isinstance(version, Seen) else version


# The capabilities, for both stores: what ``_carry_out`` returns is an answer in one, awaitable in the other.


class _SubjectIndexCalls(Operations[Any]):
    def find_subject(self, subject: bytes) -> Any:
        """See :meth:`sojourn.store.SubjectIndex.find_subject`.  The origin answers."""
        return self.origin.find_subject(subject)

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> Any:
        """See :meth:`sojourn.store.SubjectIndex.delete_subject`."""
        return self._carry_out(self.delete_subject_steps(subject, except_key=except_key))


class _PurgeCalls(Operations[Any]):
    def purge(self, *, limit: int = 100) -> Any:
        """See :meth:`sojourn.store.Purge.purge`.  The origin's dead records; copies go by themselves."""
        return self.origin.purge(limit=limit)


class _ScanCalls(Operations[Any]):
    def scan(self, *, after: str = "", limit: int = 100) -> Any:
        """See :meth:`sojourn.store.Scan.scan`.  The origin answers."""
        return self.origin.scan(after=after, limit=limit)


_CAPABILITIES: Final[tuple[tuple[type, type], ...]] = (
    (SubjectIndex, _SubjectIndexCalls),
    (Purge, _PurgeCalls),
    (Scan, _ScanCalls),
)


def _with_capabilities(base: type[Any], origin: object) -> Any:
    """Return a class like ``base`` that can do what ``origin`` can: isinstance() asks the class."""
    mixins = tuple(mixin for capability, mixin in _CAPABILITIES if isinstance(origin, capability))
    return type(base.__name__, (base, *mixins), {"__module__": base.__module__, "__doc__": base.__doc__})
