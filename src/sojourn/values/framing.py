"""A session ↔ one payload: a map of top-level keys to encoded values, none of which is decoded for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ormsgpack import packb, unpackb

from sojourn.errors import DecodeError, PayloadTooLargeError
from sojourn.values.careful import encode_with_care
from sojourn.values.codec import MAX_SIZE
from sojourn.values.extensions import any_value

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["frame", "largest_keys", "unframe"]

_BYTES: Final = frozenset({bytes})


def frame(encodings: Mapping[str, bytes], *, limit: int = MAX_SIZE) -> bytes:
    """Return a whole session, top-level key to encoded value, as one payload; order is kept.

    Raises ``PayloadTooLargeError`` beyond ``limit`` bytes, or ``MAX_SIZE`` if that is less.
    """
    payload = _pack(dict(encodings))
    limit = min(limit, MAX_SIZE)
    if len(payload) > limit:
        raise PayloadTooLargeError(
            f"the session is {len(payload)} bytes, the limit is {limit}; keep large data elsewhere and "
            f"its identifier in the session ({largest_keys(encodings)})"
        )
    return payload


def largest_keys(encodings: Mapping[str, bytes]) -> str:
    """Return, for a message, which top-level keys take the most room."""
    largest = sorted(encodings, key=lambda key: len(encodings[key]), reverse=True)[:3]
    sizes = ", ".join(f"{key!a:.60} {len(encodings[key])}" for key in largest)
    return f"largest keys, in bytes: {sizes}"


def unframe(payload: bytes) -> dict[str, bytes]:
    """Return what :func:`frame` was given, in its order; no value is decoded.

    Raises ``DecodeError`` for a payload that ``frame`` does not write, to the byte.
    """
    if len(payload) > MAX_SIZE:
        raise DecodeError(f"the stored session is {len(payload)} bytes, the limit is {MAX_SIZE}")
    try:
        encodings = unpackb(payload, ext_hook=any_value)
    except ValueError:
        encodings = None
    if (
        type(encodings) is not dict
        or not _BYTES.issuperset(map(type, encodings.values()))
        or _pack(encodings) != payload
    ):
        raise DecodeError("the stored session is damaged: it is no frame of keys and encoded values")
    return encodings


def _pack(encodings: dict[str, bytes]) -> bytes:
    try:
        return packb(encodings)
    except TypeError:  # a lone surrogate in a key
        return encode_with_care("", encodings)
