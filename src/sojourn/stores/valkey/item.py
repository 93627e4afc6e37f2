"""How a record lies in the server: one string, a fixed head before subject, info and payload.

The head has what scripts look at, at places they know (:mod:`~sojourn.stores.valkey.scripts`): a touch
overwrites the eight bytes of the idle deadline and leaves the payload where it is.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from sojourn.record import Record, Version

__all__ = ["ForeignItemError", "Item", "decode", "encode", "instant_bytes", "version_bytes"]

_FORMAT = 0xA1
#: Format, origin, counter, idle deadline, absolute deadline, indexed until, created at, length of the
#: subject, length of the info, whether the key it was moved from follows.
_HEAD = struct.Struct(">BQQqqqqHHB")
_VERSION = struct.Struct(">QQ")
_INSTANT = struct.Struct(">q")
#: No absolute deadline: later than any idle one, so that the earlier of both is right without asking.
_NEVER = 1 << 62
_NOBODY = 0xFFFF
_KEY_BYTES = 32


class ForeignItemError(Exception):
    """The value was not written by this module."""


class Item(NamedTuple):
    """A record with what only the store knows of it."""

    record: Record
    #: The key a move on a Cluster took it from; alive beside it only if that move was cut off.
    moved_from: str | None

    def __repr__(self) -> str:
        """Show what may be shown of the record."""
        return f"<Item {self.record!r}>"


def encode(
    record: Record, version: Version, *, indexed_until: int = 0, moved_from: str | None = None
) -> bytes:
    """Return the value that keeps ``record``.

    ``indexed_until``: on a Cluster, until when the index entry lasts that was written before; 0: unknown.
    """
    subject = record.subject
    head = _HEAD.pack(
        _FORMAT,
        version.origin,
        version.counter,
        record.idle_deadline,
        _NEVER if record.absolute_deadline is None else record.absolute_deadline,
        indexed_until,
        record.created_at,
        _NOBODY if subject is None else len(subject),
        len(record.info),
        moved_from is not None,
    )
    source = b"" if moved_from is None else bytes.fromhex(moved_from)
    return b"".join((head, subject or b"", record.info, source, record.payload))


def decode(key: str, value: bytes) -> Item:
    """Return what :func:`encode` made.  Raises ``ForeignItemError`` for anything else."""
    try:
        kind, origin, counter, idle, absolute, _, created_at, subject_size, info_size, moved = (
            _HEAD.unpack_from(value)
        )
    except struct.error as error:
        raise ForeignItemError from error
    at_info = _HEAD.size + (0 if subject_size == _NOBODY else subject_size)
    at_source = at_info + info_size
    at_payload = at_source + (_KEY_BYTES if moved else 0)
    if kind != _FORMAT or len(value) < at_payload:
        raise ForeignItemError
    record = Record(
        key,
        value[at_payload:],
        created_at,
        idle,
        None if absolute == _NEVER else absolute,
        None if subject_size == _NOBODY else value[_HEAD.size : at_info],
        value[at_info:at_source],
        Version(origin, counter),
    )
    return Item(record, value[at_source:at_payload].hex() if moved else None)


def version_bytes(version: Version) -> bytes:
    """Return ``version`` as it is in the head."""
    return _VERSION.pack(*version)


def instant_bytes(instant: int) -> bytes:
    """Return an instant as it is in the head."""
    return _INSTANT.pack(instant)
