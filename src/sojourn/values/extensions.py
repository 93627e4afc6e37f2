"""The types beyond JSON, as extensions of MessagePack: a tag, and bytes."""

from __future__ import annotations

import struct
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from ormsgpack import Ext, unpackb

from sojourn.values.surrogates import unescaped

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ESCAPED", "PACK", "SET", "any_value", "extension_of"]

# The tags are part of the stored format: never give one a second meaning.
_INTEGER: Final = 1
_DATETIME: Final = 2
_DATE: Final = 3
_TIME: Final = 4
_TIMEDELTA: Final = 5
_DECIMAL: Final = 6
_UUID: Final = 7
#: Holds an array of the elements.
SET: Final = 8
#: Holds a value whose strings are :func:`~sojourn.values.surrogates.escaped`.
ESCAPED: Final = 9

_DURATION: Final = struct.Struct(">iii")

#: So that neither the thread's precision nor its traps or capitals decide what is stored.
_EXACT: Final = Context(traps=[InvalidOperation])


def _pack_moment(tag: int, value: datetime | time) -> Ext:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise ValueError("no offset")
    return Ext(tag, f"{value.fold}{value.isoformat()}".encode())


def _unpack_moment(kind: type[datetime | time], data: bytes) -> datetime | time:
    text = data.decode("ascii")
    value = kind.fromisoformat(text[1:])
    return value if text[0] == "0" else value.replace(fold=int(text[0]))


#: Exact type → its extension.
PACK: Final[dict[type, Callable[[Any], Ext]]] = {
    int: lambda value: Ext(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, signed=True)),
    datetime: lambda value: _pack_moment(_DATETIME, value),
    date: lambda value: Ext(_DATE, value.isoformat().encode()),
    time: lambda value: _pack_moment(_TIME, value),
    timedelta: lambda value: Ext(_TIMEDELTA, _DURATION.pack(value.days, value.seconds, value.microseconds)),
    Decimal: lambda value: Ext(_DECIMAL, _EXACT.to_sci_string(value).encode()),
    UUID: lambda value: Ext(_UUID, value.bytes),
}

#: Tag → the value.  These contain no further values.
_UNPACK: Final[dict[int, Callable[[bytes], Any]]] = {
    _INTEGER: lambda data: int.from_bytes(data, signed=True),
    _DATETIME: lambda data: _unpack_moment(datetime, data),
    _DATE: lambda data: date.fromisoformat(data.decode("ascii")),
    _TIME: lambda data: _unpack_moment(time, data),
    _TIMEDELTA: lambda data: timedelta(*_DURATION.unpack(data)),
    _DECIMAL: lambda data: Decimal(data.decode("ascii"), _EXACT),
    _UUID: lambda data: UUID(bytes=data),
}


def extension_of(value: Any) -> Ext:
    """For ``packb``: what it leaves to us.  Any error makes it raise ``TypeError``."""
    return PACK[type(value)](value)


# Three hooks for ``unpackb``, which turns any error of theirs into ``ValueError``.  A value may hold an
# escaped value, which may hold a set, which holds scalars: so a hostile payload nests no deeper.


def _scalar(tag: int, data: bytes) -> Any:
    return _UNPACK[tag](data)


def _inner_value(tag: int, data: bytes) -> Any:
    if tag == SET:
        return {_hashable(element) for element in unpackb(data, ext_hook=_scalar)}
    return _UNPACK[tag](data)


def any_value(tag: int, data: bytes) -> Any:
    """For ``unpackb``: return the value of any extension."""
    if tag == ESCAPED:
        return unescaped(unpackb(data, ext_hook=_inner_value))
    return _inner_value(tag, data)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if type(value) is list else value
