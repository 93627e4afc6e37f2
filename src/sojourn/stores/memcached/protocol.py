"""The meta commands Sojourn needs, as bytes, and the replies to them.  No I/O.

Memcached's own description is ``doc/protocol.txt``, "Meta Commands".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "Answer",
    "Exchange",
    "GarbledReplyError",
    "RefusedError",
    "Replies",
    "Reply",
    "Witness",
    "add",
    "delete",
    "delete_unchanged",
    "fetch",
    "replace",
    "touch",
]

#: A reply to a meta command: its status, after "VA" the size of the value that follows, then what was asked
#: for, in the order of the commands below, and memcached's own marks.
_HEADER: Final = re.compile(
    rb"(HD|EN|NF|NS|EX|VA (\d{1,9}))(?: c(\d{1,20}))?(?: t(-1|\d{1,10}))?(?: f(\d{1,10}))?((?: [WXZ])*) ?"
)
_REFUSAL: Final = re.compile(rb"(?:CLIENT_|(SERVER_))?ERROR[ -~]{0,120}")
#: The status of a reply that says in its value why the server could not do this, and goes on with the next.
_REFUSED: Final = b"SERVER_ERROR"
_LONGEST_HEADER: Final = 256


class GarbledReplyError(Exception):
    """What came is no reply to what was asked: the connection is of no use any more."""


class RefusedError(Exception):
    """Memcached answered with an error.  The text is memcached's."""


class Witness(NamedTuple):
    """Which connections can tell that the server has not been restarted since a reply.

    Those of the pool that were opened before, up to the one of this number: they would be broken.
    """

    pool: object
    number: int

    def speaks_for(self, pool: object, number: int) -> bool:
        """Whether the connection of this number can tell."""
        return self.pool is pool and number <= self.number


class Exchange(NamedTuple):
    """One round trip to the node of a key."""

    key: bytes
    request: bytes
    #: How many replies there will be.
    replies: int = 1
    #: If not ``None``: only on a connection for which this speaks.
    witness: Witness | None = None

    def __repr__(self) -> str:
        """Show how much, not what."""
        return f"<Exchange of {len(self.request)} bytes for {self.replies} replies>"


class Answer(NamedTuple):
    """What came back."""

    replies: list[Reply]
    witness: Witness

    @classmethod
    def of(cls, replies: list[Reply], witness: Witness) -> Answer:
        """Return the answer in these replies.  Raises ``RefusedError``; the connection goes on."""
        for reply in replies:
            if reply.status == _REFUSED:
                raise RefusedError(reply.value.decode())
        return cls(replies, witness)


class Reply(NamedTuple):
    """One reply to one command; numbers in their digits, ``None`` if they were not asked for."""

    #: HD: done, VA: with a value, EN and NF: no such item, NS: not stored, EX: another CAS id,
    #: SERVER_ERROR: it could not be done.
    status: bytes
    value: bytes
    #: The CAS id.
    cas: bytes | None = None
    #: Seconds to live; -1 for ever.
    left: bytes | None = None
    #: The client flags.
    flags: bytes | None = None
    #: Among them X: the item is marked as stale.
    marks: bytes = b""

    def __repr__(self) -> str:
        """Show how much, not what."""
        return f"<Reply {self.status.decode()}, {len(self.value)} bytes>"


def fetch(key: bytes) -> Exchange:
    """VA with ``c`` (CAS id), ``t`` (time to live) and X if touched; EN."""
    return Exchange(key, b"mg %b v c t\r\n" % key)


def add(key: bytes, value: bytes, *, ttl: int, flags: int) -> Exchange:
    """HD with ``c`` if it was stored, NS if there is an item."""
    return Exchange(key, b"ms %b %d ME T%d F%d c\r\n%b\r\n" % (key, len(value), ttl, flags, value))


def replace(key: bytes, value: bytes, *, ttl: int, flags: int, cas: int, witness: Witness) -> Exchange:
    """HD with ``c`` if the item had this CAS id, EX if another, NF if there is none."""
    request = b"ms %b %d C%d T%d F%d c\r\n%b\r\n" % (key, len(value), cas, ttl, flags, value)
    return Exchange(key, request, 1, witness)


def touch(key: bytes, *, ttl: int) -> Exchange:
    """HD with ``f`` or EN, to know what is touched; then HD, or NF if there is no item."""
    return Exchange(key, b"mg %b f\r\nmd %b I T%d\r\n" % (key, key, ttl), 2)


def delete(key: bytes) -> Exchange:
    """HD with ``f`` or EN, to know what is deleted; then HD, or NF if there was no item."""
    return Exchange(key, b"mg %b f\r\nmd %b\r\n" % (key, key), 2)


def delete_unchanged(key: bytes, *, cas: int, witness: Witness) -> Exchange:
    """HD if the item had this CAS id, EX if another, NF if there is none."""
    return Exchange(key, b"md %b C%d\r\n" % (key, cas), 1, witness)


class Replies:
    """Takes replies out of the bytes of one connection, as they come in."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Reply]:
        """Take ``data``, return the replies that are whole now.

        Raises ``RefusedError`` and ``GarbledReplyError``, after which the connection has to be closed.  What
        only this request is refused by, a server's error, is a reply like others.
        """
        buffer = self._rest + data if self._rest else data
        found: list[Reply] = []
        at, size = 0, len(buffer)
        while at < size:
            end = buffer.find(b"\r\n", at)
            if end < 0:
                if size - at > _LONGEST_HEADER:
                    raise GarbledReplyError
                break
            match = _HEADER.fullmatch(buffer, at, end)
            if match is None:
                refusal = _REFUSAL.fullmatch(buffer, at, end)
                if refusal is None:
                    raise GarbledReplyError
                if refusal[1] is None:
                    raise RefusedError(refusal[0].decode())
                found.append(Reply(_REFUSED, refusal[0]))
                at = end + 2
                continue
            status, length, *rest = match.groups()
            after = end + 2
            if length is None:
                found.append(Reply(status, b"", *rest))
            else:
                start, after = after, after + int(length) + 2
                if size < after:
                    break
                if buffer[after - 2 : after] != b"\r\n":
                    raise GarbledReplyError
                found.append(Reply(b"VA", buffer[start : after - 2], *rest))
            at = after
        self._rest = buffer[at:]
        return found

    def is_empty(self) -> bool:
        """Whether there is no reply half come."""
        return not self._rest
