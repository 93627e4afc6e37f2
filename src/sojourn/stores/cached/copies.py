"""The copies in the cache: how they are read, written, outdated and buried.

Nothing here raises when the cache does not answer: what could not be read is asked of the origin, and what
could not be written the lease makes up for.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from sojourn.errors import (
    ConflictError,
    DuplicateKeyError,
    PayloadTooLargeError,
    SessionGoneError,
    StoreUnavailableError,
)
from sojourn.record import Record, Version
from sojourn.store import AsyncStore, Store
from sojourn.stores.cached.item import OUTDATED, TOMBSTONE, Copy, decode, encode
from sojourn.stores.cached.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from sojourn.clock import Clock
    from sojourn.steps import Steps

__all__ = ["MOST_TRIES", "Copies", "Found", "Seen"]

StoreT = TypeVar("StoreT", Store, AsyncStore)

#: How often to try again because others write at the same time.
MOST_TRIES: Final = 8

#: Milliseconds by which the clocks of machines may differ.
_TOLERANCE: Final = 5_000
_SLOTS: Final = 4096
#: So many keys may wait for a commit before those are looked for that were rolled back.
_MOST_UNSETTLED: Final = 1000
_DIGITS: Final = 3  # hexadecimal digits at a key's end that number a slot: those that name a day begin alike

#: How the cache says that somebody else was faster.
_LOST: Final = (ConflictError, DuplicateKeyError, SessionGoneError)


class Seen(Version):
    """A version of the origin's, with what its request knows of the copy.

    It travels with the record, to whoever updates it.
    """

    #: The version as the origin gave it, with whatever that store has put into it.
    source: Version
    #: The cache's version of what lies there; ``None``: nothing, as far as is known.
    token: Version | None
    #: Whether this request itself has written a later version.
    is_past: bool

    @classmethod
    def of(cls, source: Version, token: Version | None = None) -> Self:
        """Return ``source`` with what is known of the copy."""
        seen = cls(*source)
        seen.source = source
        seen.token = token
        seen.is_past = False
        return seen


class Found(NamedTuple):
    """What lies in the cache under a key, and its version there."""

    content: Copy | bytes | None = None
    token: Version | None = None


class Copies(Generic[StoreT]):
    """The copies in ``cache``.  ``lease`` is in milliseconds, ``rest`` in seconds."""

    def __init__(self, cache: StoreT, *, lease: int, rest: float, clock: Clock) -> None:
        self._cache: StoreT = cache
        self._lease = lease
        #: How long anything lies in the cache: longer than any lease that runs when it is put there.
        self._kept = 2 * lease + _TOLERANCE
        self._clock = clock
        self._reach = Reach(clock, rest=rest)
        # What was seen last under a key, tombstones excepted, so that a delete, which brings no version, need
        # not look first.  Many keys share a slot: whoever finds another's there looks.
        self._slots: list[tuple[str, Version | None]] = [("", None)] * _SLOTS
        #: Keys whose copies are to be written at a commit, each with the instant until which that matters.
        self.unsettled: dict[str, int] = {}

    # Reading

    def may_be_asked(self) -> bool:
        """Whether the cache answers, as far as is known, has to be told nothing first, and nothing waits."""
        return not (self._reach.rests or self._reach.owes or self.unsettled)

    def failed(self, error: StoreUnavailableError) -> None:
        """Take note that the cache was asked and did not answer."""
        self._reach.failed(error)

    def look(self, key: str) -> Steps[Found]:
        """Return what lies in the cache: nothing, if it does not answer.

        As of what has ended, if it is to be written at a commit: then the origin is asked, nothing is copied.
        """
        if self.unsettled and self._is_unsettled(key):
            return Found(TOMBSTONE)
        if self._reach.is_resting():
            return Found()
        try:
            record: Record | None = yield from self._ask(self._cache.load, key)
            if self._reach.owes:
                if not (yield from self._pay()):
                    return Found()
                record = yield from self._ask(self._cache.load, key)
        except StoreUnavailableError:
            return Found()
        return self.found(key, record)

    def found(self, key: str, record: Record | None) -> Found:
        """Return what the cache has answered, and remember that it was there."""
        if record is None:
            self._remember(key, None)
            return Found()
        content = decode(key, record.payload)
        self._remember(key, None if content == TOMBSTONE else record.version)
        return Found(content, record.version)

    def good(self, found: Found) -> Record | None:
        """Return the record in a copy to rely on: its lease runs, and by its own deadlines it lives."""
        if not isinstance(found.content, Copy):
            return None
        record, lease_until = found.content
        now = self._clock.now()
        if not now < lease_until <= now + self._lease + _TOLERANCE or record.is_expired(now):
            return None
        return record.at(Seen.of(record.version, found.token))

    def has_changed(self, key: str, found: Found) -> bool:
        """Whether this process has seen or written something else since ``found``, as far as it remembers."""
        return self._seen_last(key) not in (None, found.token)

    # Writing

    def put(self, record: Record, seen: Seen, asked_at: int, *, over: Version | None = None) -> Steps[None]:
        """Put a copy of ``record`` in the place of what was seen, and of anything older.

        ``asked_at`` is when the origin was asked for the record, or to take it in the place of ``over``.
        """
        if seen.is_past:  # it was kept for a commit, and so is what follows it
            return
        if isinstance(over, Seen):
            seen.token = over.token
        for _ in range(MOST_TRIES):
            if (yield from self.wins(record, seen, asked_at)):
                return
            content, seen.token = yield from self.look(record.key)
            if content is None:  # what was there may have been followed by a tombstone
                yield from self.outdate(record.key)
            if not isinstance(content, Copy):
                break
            if content.record.version.origin != record.version.origin:  # of another life, perhaps a later one
                yield from self.bury(record.key)
                break
            if not record.version.supersedes(content.record.version):
                break
        seen.token = None

    def wins(self, record: Record, seen: Seen, asked_at: int) -> Steps[bool]:
        """Put a copy in the place of what was seen; return ``False`` if that is not there any more."""
        token, seen.token = seen.token, None
        if self._reach.is_resting():
            return True
        copy = Copy(record, asked_at + self._lease)
        try:
            try:
                seen.token = yield from self._write(record.key, encode(copy), token)
            except PayloadTooLargeError:  # too large for this cache; what lies there is older
                seen.token = yield from self._write(record.key, OUTDATED, token)
        except _LOST:
            return False
        except StoreUnavailableError:
            pass
        return True

    def outdate(self, key: str) -> Steps[None]:
        """Let the next reader ask the origin, whatever copy there is, or is about to be put there."""
        if not self._reach.is_resting():
            yield from self._mark(key, OUTDATED)

    def outdate_read(self, key: str, version: Version) -> Steps[None]:
        """Let the next reader ask the origin, if the copy that was read with ``version`` is still there."""
        if not isinstance(version, Seen) or version.token is None or self._reach.is_resting():
            return
        with suppress(*_LOST, StoreUnavailableError):
            yield from self._write(key, OUTDATED, version.token)

    def bury(self, key: str) -> Steps[bool]:
        """Put a tombstone in the place of whatever there is; return whether it is there.

        A resting cache is asked, too: sessions end so seldom that its timeout does not matter.  If it does
        not answer, the tombstone is owed, and so are the next ones, unasked.
        """
        is_there = False
        if not (self._reach.is_resting() and self._reach.owes):
            is_there = yield from self._mark(key, TOMBSTONE)
        if not is_there:
            self._reach.owe(key, until=self._clock.now() + self._lease + _TOLERANCE)
        return is_there

    def bury_copy(self, key: str) -> Steps[None]:
        """Put a tombstone in the place of a copy, if there is one."""
        if self._seen_last(key) is None and not self._is_unsettled(key):
            found = yield from self.look(key)
            if not isinstance(found.content, Copy):
                return
        yield from self.bury(key)

    # Waiting for a commit

    def unsettle(self, key: str) -> None:
        """Take note that what is to be written under ``key`` waits for a commit.

        A rollback is told to nobody: this is forgotten once every copy there could be has lapsed.
        """
        now = self._clock.now()
        if len(self.unsettled) >= _MOST_UNSETTLED:
            for other, until in self.unsettled.copy().items():
                if until <= now:
                    self.unsettled.pop(other, None)
        self.unsettled[key] = now + self._lease + _TOLERANCE

    def settling(self, key: str, steps: Steps[object]) -> Steps[None]:
        """Carry out what waited for the commit."""
        self.unsettled.pop(key, None)
        yield from steps

    def _is_unsettled(self, key: str) -> bool:
        return self._clock.now() < self.unsettled.get(key, 0)

    # Parts of them

    def _mark(self, key: str, mark: bytes) -> Steps[bool]:
        """Put ``mark`` in the place of whatever there is; in that of a tombstone only another.

        Returns whether that is so now.
        """
        token = self._seen_last(key)
        try:
            for _ in range(MOST_TRIES):
                try:
                    yield from self._write(key, mark, token)
                except _LOST:
                    there: Record | None = yield from self._ask(self._cache.load, key)
                    token = None if there is None else there.version
                    if there is not None and mark == OUTDATED and decode(key, there.payload) == TOMBSTONE:
                        return True
                else:
                    return True
        except StoreUnavailableError:
            pass
        return False

    def _pay(self) -> Steps[bool]:
        """Write the tombstones that are owed; return whether none is left."""
        while (key := self._reach.pay_next()) is not None:
            if not (yield from self.bury(key)):
                return False
        return True

    def _write(self, key: str, payload: bytes, token: Version | None) -> Steps[Version]:
        """Write where nothing is, or over what has the version ``token``; return the new one."""
        now = self._clock.now()
        record = Record(key=key, payload=payload, created_at=now, idle_deadline=now + self._kept)
        if token is None:
            written: Version = yield from self._ask(self._cache.create, record)
        else:
            written = yield from self._ask(self._cache.update, record, token)
        self._remember(key, None if payload == TOMBSTONE else written)
        return written

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Steps[Any]:
        """Ask the cache, and take note whether it answers."""
        try:
            answer = yield (call, *arguments)
        except StoreUnavailableError as error:
            self._reach.failed(error)
            raise
        self._reach.answered()
        return answer

    def _remember(self, key: str, token: Version | None) -> None:
        self._slots[int(key[-_DIGITS:], 16)] = key, token

    def _seen_last(self, key: str) -> Version | None:
        owner, token = self._slots[int(key[-_DIGITS:], 16)]
        return token if owner == key else None
