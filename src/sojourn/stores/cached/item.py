"""What lies in the cache under a session's key: a copy, a notice that copies are out of date, or a tombstone.

To the cache each is the payload of an ordinary record, so any store can be one.  A copy is a fixed head, then
subject, info and payload of the origin's record; the other two are a single byte.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from sojourn.record import Record, Version

__all__ = ["OUTDATED", "TOMBSTONE", "Copy", "decode", "encode"]

_COPY: Final = 0xC1
#: Written by whoever has touched the session, or has met a copy that was out of date: the next reader asks
#: the origin and puts a new copy here.
OUTDATED: Final = b"\xc2"
#: Written by whoever has ended the session: for as long as this lies here everybody asks the origin, and
#: nobody puts a copy in its place.
TOMBSTONE: Final = b"\xc3"

_HAS_ABSOLUTE_DEADLINE: Final = 1
_HAS_SUBJECT: Final = 2
_HEAD: Final = struct.Struct("<BBqQQqqqHH")


class Copy(NamedTuple):
    """The origin's record as it was at some instant, and until when that is good enough."""

    record: Record
    #: Milliseconds since the Unix epoch.
    lease_until: int


def encode(copy: Copy) -> bytes:
    """Return ``copy`` as bytes; its key is not among them."""
    record, lease_until = copy
    version, absolute, subject = record.version, record.absolute_deadline, record.subject
    head = _HEAD.pack(
        _COPY,
        (absolute is not None) * _HAS_ABSOLUTE_DEADLINE | (subject is not None) * _HAS_SUBJECT,
        lease_until,
        version.origin,
        version.counter,
        record.created_at,
        record.idle_deadline,
        0 if absolute is None else absolute,
        0 if subject is None else len(subject),
        len(record.info),
    )
    return b"".join((head, subject or b"", record.info, record.payload))


def decode(key: str, value: bytes) -> Copy | bytes:
    """Return the copy in ``value``, or ``OUTDATED``, or ``TOMBSTONE``.

    What another release may have written is taken for a tombstone: nothing is read from it and nothing put in
    its place.
    """
    if len(value) < _HEAD.size or value[0] != _COPY:
        return OUTDATED if value == OUTDATED else TOMBSTONE
    head = _HEAD.unpack_from(value)
    _, present, lease_until, origin, counter, created_at, idle_deadline, absolute, subject_size, info_size = (
        head
    )
    info_at = _HEAD.size + subject_size
    payload_at = info_at + info_size
    record = Record(
        key,
        value[payload_at:],
        created_at,
        idle_deadline,
        absolute if present & _HAS_ABSOLUTE_DEADLINE else None,
        value[_HEAD.size : info_at] if present & _HAS_SUBJECT else None,
        value[info_at:payload_at],
        Version(origin, counter),
    )
    return Copy(record, lease_until)
