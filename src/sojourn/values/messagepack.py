"""Values as MessagePack: the codec of every store whose project names none."""

from __future__ import annotations

from typing import Any, Final

import ormsgpack
from ormsgpack import packb, unpackb

from sojourn.errors import DecodeError
from sojourn.values.careful import encode_with_care
from sojourn.values.codec import MAX_SIZE
from sojourn.values.extensions import any_value, extension_of

__all__ = ["MessagePackCodec"]

#: Take nothing for something else: what is not named here and not JSON goes to ``extension_of``.
_STRICT: Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_UUID
)


class MessagePackCodec:
    """The default codec: what JSON stores, as JSON gives it back, and the types that the package lists.

    An aware ``datetime`` or ``time`` comes back with the fixed offset it had, to the microsecond; the
    name of its zone is not kept, for the rules of a zone change under stored values.
    """

    __slots__ = ()

    def encode(self, key: str, value: Any) -> bytes:
        """Return ``value`` as MessagePack; see :meth:`Codec.encode`."""
        try:
            return packb(value, extension_of, _STRICT)
        except TypeError:
            return encode_with_care(key, value)

    def decode(self, key: str, encoded: bytes) -> Any:
        """Return the value encoded; see :meth:`Codec.decode`."""
        if len(encoded) <= MAX_SIZE:
            try:
                return unpackb(encoded, ext_hook=any_value)
            except ValueError:
                pass
        raise DecodeError(f"the value stored under {key!a:.60} is damaged") from None
