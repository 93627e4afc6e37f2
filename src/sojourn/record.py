"""What a store keeps for one session."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from sojourn.frozen import frozen

__all__ = ["DAY", "PUBLIC_ID_LENGTH", "UNSAVED", "Record", "Version", "dated_key", "day_of", "public_id"]

#: Characters of a key that may be shown: 48 bits, enough to tell sessions apart, useless to find one.
PUBLIC_ID_LENGTH = 12

#: Milliseconds of a day; days are counted from the Unix epoch, in UTC.
DAY = 86_400_000

#: What a key begins with that names a day; four digits, the day, follow.  (Of digests of other tokens one in
#: four billion begins so: it is taken for one that names some day, and found all the same.)
_DATED = "0" * 8
_DATED_LENGTH = len(_DATED) + 4


class Version(NamedTuple):
    """Which state of a record this is.

    ``origin`` is 63 random bits drawn when the record is created, so that a version of an earlier
    record under the same key never matches; ``counter`` grows by one with each update.
    """

    origin: int
    counter: int

    @classmethod
    def first(cls) -> Version:
        """Return the version of a record just created."""
        return cls(secrets.randbits(63), 1)

    def next(self) -> Version:
        """Return the version that follows this one."""
        return Version(self.origin, self.counter + 1)

    def supersedes(self, other: Version) -> bool:
        """Whether this is a later state of the same record as ``other``."""
        return self.origin == other.origin and self.counter > other.counter


#: The version of a record that no store has taken yet.
UNSAVED = Version(0, 0)


@frozen(kw_only=False)
class Record:
    """One session as stored.  Instants are integer milliseconds since the Unix epoch, UTC.

    Fields are given by name, or in their order where each microsecond counts: eight names take half of one.
    ``repr`` shows neither the full key nor the payload.
    """

    #: Digest of the token: 64 lower-case hexadecimal digits.  The token itself is never stored.
    key: str
    #: The sealed session data.  ``b""`` is a payload like any other.
    payload: bytes
    #: When the session (or, after a sign-in, the signed-in session) began.
    created_at: int
    #: Dead from this instant on unless there is activity.  May lie in the past.
    idle_deadline: int
    #: Dead from this instant on whatever happens; ``None``: no such limit.
    absolute_deadline: int | None = None
    #: Keyed digest of whose session this is; ``None``: nobody's (anonymous).
    subject: bytes | None = None
    #: At most 256 bytes sealed under the server secret alone, for listings.
    info: bytes = b""
    #: Assigned by the store.
    version: Version = UNSAVED

    @property
    def expires_at(self) -> int:
        """The instant from which the record is dead: the earlier of its two deadlines."""
        if self.absolute_deadline is None or self.idle_deadline < self.absolute_deadline:
            return self.idle_deadline
        return self.absolute_deadline

    @property
    def public_id(self) -> str:
        """The part of the key that logs and pages may show."""
        return public_id(self.key)

    def at(self, version: Version) -> Record:
        """Return the record at ``version``."""
        return Record(
            self.key,
            self.payload,
            self.created_at,
            self.idle_deadline,
            self.absolute_deadline,
            self.subject,
            self.info,
            version,
        )

    def is_expired(self, now: int) -> bool:
        """Whether the record is dead at ``now`` (milliseconds)."""
        return now >= self.expires_at

    def __repr__(self) -> str:
        """Show what may be shown."""
        return f"<Record {self.public_id} {len(self.payload)} bytes, version {self.version.counter}>"


def dated_key(digest: str, day: int) -> str:
    """Return ``digest`` as a key that names ``day``, on which its record ends at the latest.

    Keys that name a day sort by it, so that a store can keep the records of a day together and part with them
    at once.  208 bits of the digest remain.
    """
    return f"{_DATED}{day:04x}{digest[_DATED_LENGTH:]}"


def day_of(key: str) -> int | None:
    """Return the day that ``key`` names, ``None`` if it names none."""
    return int(key[len(_DATED) : _DATED_LENGTH], 16) if key.startswith(_DATED) else None


def public_id(key: str) -> str:
    """Return the part of ``key`` that is safe to show: its first digits that are not the day."""
    start = _DATED_LENGTH if key.startswith(_DATED) else 0
    return key[start : start + PUBLIC_ID_LENGTH]
