"""How a record lies in memcached.

The value is a fixed head, then subject, info and payload.  Three things lie beside it:

* the **time to live** is the idle deadline (the absolute one if that comes first).  A touch moves it and
  leaves the value alone; it also marks the item as *stale*, memcached's word, which here means: the idle
  deadline in the value is out of date, ask the time to live;
* the **client flags** are the absolute deadline in whole seconds, 0 for none, so that a touch and a delete
  see it without fetching the value;
* the **CAS id** guards one read and the write that follows it.  Memcached counts it from 1 again after a
  restart, so the version of the record is in the value.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sojourn.record import Record, Version

if TYPE_CHECKING:
    from sojourn.stores.memcached.protocol import Reply

__all__ = ["ForeignItemError", "Proven", "decode", "encode", "flags_of", "is_past", "ttl"]

_FORMAT = 0xA1
_HAS_ABSOLUTE_DEADLINE = 1
_HAS_SUBJECT = 2
_HEAD = struct.Struct("<BBQQqqqHH")

#: Longer ones memcached takes for instants.  (A longer one sent as it is would lie in 1970.)
_LONGEST_TTL = 30 * 24 * 3600
#: In January 2038.  Later ones memcached takes for instants long past: it answers that all is well, and the
#: item is gone.
_LAST_INSTANT = (1 << 31) - 1
_LARGEST_FLAGS = (1 << 32) - 1


class ForeignItemError(Exception):
    """The item was not written by this module."""


class Proven(Version):
    """A version with what proves to memcached that it is the current one.

    It travels with the record, to whoever updates it.
    """

    cas: int
    absolute_deadline: int | None
    #: What the connections say about it: see :class:`~sojourn.stores.memcached.protocol.Witness`.
    witness: object

    @classmethod
    def of(
        cls, origin: int, counter: int, cas: bytes, absolute_deadline: int | None, witness: object
    ) -> Proven:
        """Return the version with its proof."""
        proven = cls(origin, counter)
        proven.cas = int(cas)
        proven.absolute_deadline = absolute_deadline
        proven.witness = witness
        return proven


def encode(record: Record, version: Version) -> bytes:
    """Return the value that keeps ``record`` at ``version``."""
    absolute, subject = record.absolute_deadline, record.subject
    present = (absolute is not None) * _HAS_ABSOLUTE_DEADLINE | (subject is not None) * _HAS_SUBJECT
    head = _HEAD.pack(
        _FORMAT,
        present,
        version.origin,
        version.counter,
        record.created_at,
        record.idle_deadline,
        0 if absolute is None else absolute,
        0 if subject is None else len(subject),
        len(record.info),
    )
    return b"".join((head, subject or b"", record.info, record.payload))


def decode(key: str, reply: Reply, witness: object, *, now: int) -> Record:
    """Return the record in the reply to a ``get``.  Raises ``ForeignItemError``."""
    value = reply.value
    if len(value) < _HEAD.size or value[0] != _FORMAT:
        raise ForeignItemError
    head = _HEAD.unpack_from(value)
    _, present, origin, counter, created_at, idle_deadline, absolute, subject_size, info_size = head
    info_at = _HEAD.size + subject_size
    payload_at = info_at + info_size
    cas, left = reply.cas, reply.left
    if payload_at > len(value) or cas is None or left is None:
        raise ForeignItemError
    absolute_deadline = absolute if present & _HAS_ABSOLUTE_DEADLINE else None
    if (
        b"X" in reply.marks
    ):  # touched.  The last of these seconds has begun already, on average half of it is gone
        idle_deadline = now + int(left) * 1000 - 500
    return Record(
        key,
        value[payload_at:],
        created_at,
        idle_deadline,
        absolute_deadline,
        value[_HEAD.size : info_at] if present & _HAS_SUBJECT else None,
        value[info_at:payload_at],
        Proven.of(origin, counter, cas, absolute_deadline, witness),
    )


def ttl(deadline: int, *, now: int) -> int:
    """Return what memcached is to be told so that an item dies at ``deadline``, to the second.

    Seconds from now, or, where they are more than 30 days, the instant itself: memcached takes such numbers
    for Unix time and looks at its own clock.  What is to live beyond the last instant it knows dies then.
    Negative: dead at once.
    """
    left = -((now - deadline) // 1000)
    if left <= 0:
        return -1
    return left if left <= _LONGEST_TTL else min(-(-deadline // 1000), _LAST_INSTANT)


def flags_of(absolute_deadline: int | None) -> int:
    """Return the client flags of an item with this absolute deadline."""
    if absolute_deadline is None:
        return 0
    return min(max(1, -(-absolute_deadline // 1000)), _LARGEST_FLAGS)


def is_past(flags: int, *, now: int) -> bool:
    """Whether the absolute deadline in an item's client flags has passed."""
    return flags != 0 and now >= flags * 1000
