"""What translates one value, and the limits that hold whoever does."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Protocol
from uuid import UUID

__all__ = ["IMMUTABLE", "MAX_DEPTH", "MAX_SIZE", "Codec"]

#: Types whose values cannot change in place: reading one need not be followed by a comparison.
IMMUTABLE: Final[frozenset[type]] = frozenset(
    {str, int, float, bool, type(None), bytes, datetime, date, time, timedelta, Decimal, UUID}
)

#: How many containers a value may be nested in, the value under the top-level key included.
MAX_DEPTH: Final = 255

#: Largest payload that is framed or parsed, in bytes.  A store's own limit is usually far below.
MAX_SIZE: Final = 16 * 1024 * 1024


class Codec(Protocol):
    """Translates the value under one top-level key."""

    def encode(self, key: str, value: Any) -> bytes:
        """Return ``value`` as bytes.

        Raises ``EncodeError`` for a value that cannot be stored.  Its message names where it lies,
        ``cart.items[3].price``, and its type, never its content.
        """
        ...

    def decode(self, key: str, encoded: bytes) -> Any:
        """Return the value that :meth:`encode` was given.

        Raises ``DecodeError``, and nothing else, for bytes that are no encoding.
        """
        ...
