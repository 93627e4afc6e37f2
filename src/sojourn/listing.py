"""What a list of someone's sessions shows, and how it is kept beside the payload.

A payload opens only with its cookie's token, so what "where you are signed in" shows has to be kept apart:
``info``, sealed under the server secret alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sojourn.errors import DecodeError
from sojourn.frozen import frozen
from sojourn.sealing import OVERHEAD
from sojourn.values import MessagePackCodec

if TYPE_CHECKING:
    from sojourn.record import Record

__all__ = ["MAX_INFO", "Info", "SessionSummary"]

#: Octets a sealed info may have.
MAX_INFO: Final = 256

_codec: Final = MessagePackCodec()
_ROOM: Final = MAX_INFO - OVERHEAD - 48
_FIELDS: Final = 5


@frozen()
class Info:
    """What is kept for listings.  Instants and durations are milliseconds."""

    #: Random, the same through all renewals, so that a session is known again under its new key.
    session_id: bytes
    #: Whose session it is, to be shown; cut if it is too long.
    subject: str
    #: What it was opened with, such as "Firefox on Linux"; cut if it is too long.
    label: str
    #: How long it may be idle; ``None``: it ends at a fixed instant.
    idle_timeout: int | None
    #: When this was written.
    written_at: int

    def encode(self) -> bytes:
        """Return at most ``MAX_INFO - OVERHEAD`` octets."""
        subject = _cut(self.subject, _ROOM // 2)
        label = _cut(self.label, _ROOM - len(subject.encode()))
        return _codec.encode("info", [self.session_id, subject, label, self.idle_timeout, self.written_at])

    @classmethod
    def decode(cls, encoded: bytes) -> Info:
        """Return what was encoded, or raise ``DecodeError``."""
        fields = _codec.decode("info", encoded)
        if not isinstance(fields, list) or len(fields) != _FIELDS:
            raise DecodeError("the record's info is damaged")
        session_id, subject, label, idle_timeout, written_at = fields
        return cls(
            session_id=session_id,
            subject=subject,
            label=label,
            idle_timeout=idle_timeout,
            written_at=written_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """One living session in a list.  Instants are milliseconds since the Unix epoch, UTC."""

    #: Names the session to :meth:`Manager.revoke`; no secret, but not for showing.
    key: str = field(repr=False)
    #: The part of the key that may be shown.
    public_id: str
    #: Whose session it is; ``None``: nobody's, or it was written under a secret not listed any more.
    subject: str | None
    #: Browser label given at sign-in; ``""`` if none was.
    label: str
    #: When the session began or was last signed in to.
    created_at: int
    #: Its last recorded activity: exact to the touch interval.
    last_seen: int
    #: When it will be dead unless there is activity.
    expires_at: int

    @classmethod
    def of(cls, record: Record, info: Info | None) -> SessionSummary:
        """Return what ``record`` and its opened ``info`` say."""
        if info is None:
            last_seen = record.created_at
        elif info.idle_timeout is None:
            last_seen = info.written_at
        else:
            last_seen = record.idle_deadline - info.idle_timeout
        return cls(
            key=record.key,
            public_id=record.public_id,
            subject=None if info is None else info.subject,
            label="" if info is None else info.label,
            created_at=record.created_at,
            last_seen=last_seen,
            expires_at=record.expires_at,
        )


def _cut(text: str, octets: int) -> str:
    """Return as much of ``text`` as fits into ``octets`` of UTF-8, marked if it was cut."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= octets:
        return encoded.decode()
    ellipsis = "…"
    return encoded[: octets - len(ellipsis.encode())].decode("utf-8", "ignore") + ellipsis
