"""What a store promises.

A store keeps :class:`~sojourn.record.Record` objects under their keys.  It knows bytes: it never looks
into a payload.  Six calls are enough for everything a session does; what only some stores can do
(listing, purging, finding a subject's sessions) is a capability of its own: a class that has the
methods has the capability, ``isinstance(store, Purge)`` tells.

Every call is atomic and is one round trip.  Every call may raise
:class:`~sojourn.errors.StoreUnavailableError` (or ``StoreTimeoutError``) when the backend did not
answer; that never means "absent".  Keys are 64 lower-case hexadecimal digits.  Instants are integer
milliseconds since the Unix epoch.

"Lives" below means: present and ``now < record.expires_at``.  Once a store has answered that a record
is expired, it stays dead, even if the wall clock steps back.

:class:`sojourn.testing.StoreContract` tests all of this on any store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.record import Record, Version

__all__ = [
    "AsyncPurge",
    "AsyncScan",
    "AsyncStore",
    "AsyncSubjectIndex",
    "Purge",
    "Scan",
    "Store",
    "SubjectIndex",
]


class Store(Protocol):
    """Where sessions are kept."""

    def create(self, record: Record) -> Version:
        """Keep a new record; ``record.version`` is ignored.

        Returns the version given to it.  A dead record under the key is replaced.
        Raises ``DuplicateKeyError`` if the key lives; the living record is untouched.
        """
        ...

    def load(self, key: str) -> Record | None:
        """Return the living record, or ``None``: absent and expired look the same."""
        ...

    def update(self, record: Record, expected_version: Version) -> Version:
        """Replace the whole living record if it is at ``expected_version`` (compare-and-set).

        Returns the new version, ``expected_version.next()``.  Never creates.  Raises
        ``SessionGoneError`` if there is no living record, ``ConflictError`` if it is at another
        version; nothing is changed then.
        """
        ...

    def touch(self, key: str, idle_deadline: int) -> bool:
        """Set the idle deadline of a living record; return whether there was one.

        Neither the payload nor the version changes.  Revives nothing: a dead record stays dead.
        """
        ...

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """Replace the living record under ``old_key`` by ``record`` under ``record.key``.

        Returns the new version, a first one.  Afterwards only the new key lives.  Where one node
        holds both keys this is atomic.  Raises ``SessionGoneError`` if ``old_key`` does not live,
        ``ConflictError`` if it is at another version than ``expected_version``,
        ``DuplicateKeyError`` if the new key lives; nothing is changed then.
        """
        ...

    def delete(self, key: str) -> bool:
        """End a session for good; return whether it lived.  Deleting twice is fine."""
        ...

    def close(self) -> None:
        """Let go of connections and files.  Closing twice is fine."""
        ...


@runtime_checkable
class SubjectIndex(Protocol):
    """Capability: find and end the sessions of one subject, given its keyed digest: 1 to 64 octets."""

    def find_subject(self, subject: bytes) -> Sequence[Record]:
        """Return the subject's living records, oldest ``created_at`` first; none is an empty sequence."""
        ...

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """End the subject's sessions but the one under ``except_key``; return how many lived.

        Those that lived at the call are dead at the return, also one that was moved meanwhile; whether they
        end at one instant, each store says.  An ``except_key`` that is not one of theirs spares nothing.
        """
        ...


@runtime_checkable
class Purge(Protocol):
    """Capability: remove expired records."""

    def purge(self, *, limit: int = 100) -> int:
        """Remove at most ``limit`` dead records, never a living one; return how many.

        Fewer than ``limit``: there are no more to be had.  A call that fails may have removed some.
        """
        ...


@runtime_checkable
class Scan(Protocol):
    """Capability: go through all living records."""

    def scan(self, *, after: str = "", limit: int = 100) -> Sequence[Record]:
        """Return up to ``limit`` living records with ``key > after``, in key order.

        The last key is the next call's ``after``; no record is the end.  What is created or moved between two
        calls may be missed, or seen twice.
        """
        ...


class AsyncStore(Protocol):
    """:class:`Store` for asyncio: the same calls, the same promises.

    Cancelling a call leaves it done or not done, never half done.
    """

    async def create(self, record: Record) -> Version:
        """See :meth:`Store.create`."""
        ...

    async def load(self, key: str) -> Record | None:
        """See :meth:`Store.load`."""
        ...

    async def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`Store.update`."""
        ...

    async def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`Store.touch`."""
        ...

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`Store.move`."""
        ...

    async def delete(self, key: str) -> bool:
        """See :meth:`Store.delete`."""
        ...

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        ...


@runtime_checkable
class AsyncSubjectIndex(Protocol):
    """:class:`SubjectIndex` for asyncio."""

    async def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`SubjectIndex.find_subject`."""
        ...

    async def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`SubjectIndex.delete_subject`."""
        ...


@runtime_checkable
class AsyncPurge(Protocol):
    """:class:`Purge` for asyncio."""

    async def purge(self, *, limit: int = 100) -> int:
        """See :meth:`Purge.purge`."""
        ...


@runtime_checkable
class AsyncScan(Protocol):
    """:class:`Scan` for asyncio."""

    async def scan(self, *, after: str = "", limit: int = 100) -> Sequence[Record]:
        """See :meth:`Scan.scan`."""
        ...
