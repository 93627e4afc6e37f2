"""A record ↔ the value of a cookie.

What is sealed (or signed) is::

    flags 1 octet │ session id 12 │ generation 4 │ begun 8 │ idle deadline 8 │ absolute deadline 8 │
    latest deadline 8 │ epoch 8 │ digest of the subject 32, if there is one │ the framed session

and the whole is written in base64url without padding.  Server secret, purpose and cookie name are bound in
by the key (:mod:`sojourn.keyring`), the rest by being sealed together.

A session of more than 1 KB is compressed, if that makes it shorter, and then filled up with zeros to a
multiple of 256 octets: the length of a compressed text tells what is in it beside text an attacker chose
(CRIME, BREACH), and with steps of 256 octets it tells little.
"""

from __future__ import annotations

import logging
import struct
import zlib
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sojourn.carriers.envelopes import Envelopes
from sojourn.carriers.lineage import ID_LENGTH, Lineage
from sojourn.errors import DecodeError
from sojourn.record import Record
from sojourn.sealing import UnknownSecretError
from sojourn.token import key_for

if TYPE_CHECKING:
    from sojourn.keyring import Keyring

__all__ = ["LARGEST", "SealedCarrier"]

logger = logging.getLogger("sojourn")

#: Octets a framed session may have to be put into cookies at all, and to which one is decompressed.
LARGEST: Final = 64 * 1024

#: Characters that the shortest value has, and that a token has not.
_SHORTEST: Final = 128
#: What belongs to base64, and not to base64url without padding.
_FOREIGN: Final = ("+", "/", "=")
#: What the last character may be when a value's last group has two or three: its unused bits are 0.
_LAST: Final = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}
_FIELDS: Final = struct.Struct(f">B{ID_LENGTH}sIqqqqQ")
_DIGEST: Final = 32
_NO_DEADLINE: Final = -1

# Flags.
_HAS_SUBJECT: Final = 1
_COMPRESSED: Final = 2

_WORTH_COMPRESSING: Final = 1024
_STEP: Final = 256
#: Raw deflate; fast, for what level 6 saves beyond is less than a step.
_LEVEL: Final = 1
_WINDOW: Final = -15


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedCarrier:
    """Puts records into cookies of one name, and takes them out again.  Pure: no I/O, no clock."""

    keyring: Keyring
    #: Whether what is written is signed only, so that who has the cookie can read it.  Either is read.
    signed: bool = False
    #: Whether sessions of more than 1 KB are compressed.  Either is read.
    compress: bool = True
    envelopes: Envelopes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make ready to seal."""
        object.__setattr__(self, "envelopes", Envelopes(self.keyring))

    @staticmethod
    def accepts(value: str) -> bool:
        """Whether ``value`` has the form of one written here."""
        return len(value) >= _SHORTEST and _decoded(value) is not None

    def write(self, lineage: Lineage, record: Record) -> str:
        """Return the value that carries ``record``, whose payload is a framed session in clear."""
        head = _FIELDS.pack(
            0 if record.subject is None else _HAS_SUBJECT,
            lineage.id,
            lineage.generation,
            record.created_at,
            record.idle_deadline,
            _NO_DEADLINE if record.absolute_deadline is None else record.absolute_deadline,
            lineage.latest,
            lineage.epoch,
        )
        plain = head + (record.subject or b"") + record.payload
        if self.compress and len(record.payload) > _WORTH_COMPRESSING:
            plain = _compressed(plain, len(plain) - len(record.payload))
        protect = self.envelopes.sign if self.signed else self.envelopes.seal
        return _encoded(protect(plain))

    def read(self, value: str) -> tuple[Lineage, Record] | None:
        """Return what ``value`` carries; ``None`` for anything that was not written here, to the byte.

        Never raises.  Deadlines are for the caller to judge.
        """
        envelope = _decoded(value)
        if envelope is None:
            return None
        try:
            return self._parse(self.envelopes.open(envelope))
        except UnknownSecretError as error:
            logger.info("a session's cookie is no session: %s", error)
        except (DecodeError, struct.error):
            pass
        return None

    def _parse(self, plain: bytes) -> tuple[Lineage, Record]:
        flags, session_id, generation, created_at, idle, absolute, latest, epoch = _FIELDS.unpack_from(plain)
        at = _FIELDS.size + (_DIGEST if flags & _HAS_SUBJECT else 0)
        payload = plain[at:]
        if flags & _COMPRESSED:
            payload = _decompressed(payload)
        lineage = Lineage(session_id, generation, epoch, latest)
        record = Record(
            key_for(lineage.name, namespace=self.keyring.namespace),
            payload,
            created_at,
            idle,
            None if absolute == _NO_DEADLINE else absolute,
            plain[_FIELDS.size : at] if flags & _HAS_SUBJECT else None,
        )
        return lineage, record


# Without the tables of :mod:`base64`, which cost as much again.


def _encoded(envelope: bytes) -> str:
    """Return ``envelope`` in base64url without padding."""
    text = b2a_base64(envelope, newline=False).rstrip(b"=")
    return text.replace(b"+", b"-").replace(b"/", b"_").decode("ascii")


def _decoded(value: str) -> bytes | None:
    """Return the octets that ``value`` is the one way to write in base64url; ``None`` if it is none."""
    over = len(value) % 4
    if over == 1 or (over and value[-1] not in _LAST[over]):
        return None
    if any(map(value.__contains__, _FOREIGN)):
        return None
    try:
        return a2b_base64(value.replace("-", "+").replace("_", "/") + "=" * (-over % 4), strict_mode=True)
    except ValueError:  # also what is not ASCII
        return None


def _compressed(plain: bytes, at: int) -> bytes:
    """Return ``plain`` with what follows ``at`` compressed and filled up; as it is if that is no shorter."""
    squeezed = zlib.compress(plain[at:], _LEVEL, _WINDOW)
    size = at + len(squeezed)
    size += -size % _STEP
    if size >= len(plain):
        return plain
    return (bytes([plain[0] | _COMPRESSED]) + plain[1:at] + squeezed).ljust(size, b"\0")


def _decompressed(payload: bytes) -> bytes:
    inflating = zlib.decompressobj(_WINDOW)
    try:
        plain = inflating.decompress(payload, LARGEST)
    except zlib.error:
        raise DecodeError("the session is damaged") from None
    if not inflating.eof or inflating.unused_data.strip(b"\0"):
        raise DecodeError("the session is damaged, or larger than it may be")
    return plain
