"""Session values ↔ bytes, each top-level key decoded only when read.

A session is framed as one MessagePack map of top-level key to *encoded* value (:func:`frame`,
:func:`unframe`), so finding the keys descends into nothing.  A :class:`Codec` translates the value
under one key.  :class:`MessagePackCodec` is the default; :class:`SerializerCodec` lends the place to a
project's own Django-style serializer.

What JSON stores comes back as it would from JSON: a tuple as a list, ``{1: …}`` as ``{"1": …}``, a
subclass of ``str``, ``int``, ``float``, ``list``, ``tuple`` or ``dict`` as its base.  Beyond JSON:
``bytes``, ``datetime``, ``date``, ``time``, ``timedelta``, ``Decimal``, ``UUID`` and ``set``, of exactly
these types; ``bytearray`` and ``memoryview`` come back as ``bytes``.  Everything else is refused.

Encoding is deterministic, and stable under decoding: ``encode(decode(encode(v))) == encode(v)``.
"""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from uuid import UUID

import ormsgpack
from ormsgpack import Ext, packb, unpackb

from sojourn.errors import ConfigurationError, DecodeError, EncodeError, PayloadTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "IMMUTABLE",
    "MAX_DEPTH",
    "MAX_SIZE",
    "Codec",
    "MessagePackCodec",
    "Serializer",
    "SerializerCodec",
    "frame",
    "largest_keys",
    "text_key",
    "unframe",
]

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


# --- the frame ---------------------------------------------------------------------------------------


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
        encodings = unpackb(payload, ext_hook=_value)
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
        return _encode_with_care("", encodings)


_BYTES: Final = frozenset({bytes})


# --- values as MessagePack ---------------------------------------------------------------------------


class MessagePackCodec:
    """The default codec: what JSON stores, as JSON gives it back, and the types listed above.

    An aware ``datetime`` or ``time`` comes back with the fixed offset it had, to the microsecond; the
    name of its zone is not kept, for the rules of a zone change under stored values.
    """

    __slots__ = ()

    def encode(self, key: str, value: Any) -> bytes:
        """Return ``value`` as MessagePack; see :meth:`Codec.encode`."""
        try:
            return packb(value, _extension, _STRICT)
        except TypeError:
            return _encode_with_care(key, value)

    def decode(self, key: str, encoded: bytes) -> Any:
        """Return the value encoded; see :meth:`Codec.decode`."""
        if len(encoded) <= MAX_SIZE:
            try:
                return unpackb(encoded, ext_hook=_value)
            except ValueError:
                pass
        raise DecodeError(f"the value stored under {key!a:.60} is damaged") from None


#: Take nothing for something else: what is not named here and not JSON goes to ``_extension``.
_STRICT: Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_UUID
)

# The tags are part of the stored format: never give one a second meaning.
_INTEGER: Final = 1
_DATETIME: Final = 2
_DATE: Final = 3
_TIME: Final = 4
_TIMEDELTA: Final = 5
_DECIMAL: Final = 6
_UUID: Final = 7
_SET: Final = 8
_ESCAPED: Final = 9

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
_PACK: Final[dict[type, Callable[[Any], Ext]]] = {
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


def _extension(value: Any) -> Ext:
    """For ``packb``: what it leaves to us.  Any error makes it raise ``TypeError``."""
    return _PACK[type(value)](value)


# Three hooks for ``unpackb``, which turns any error of theirs into ``ValueError``.  A value may hold an
# escaped value, which may hold a set, which holds scalars: so a hostile payload nests no deeper.


def _scalar(tag: int, data: bytes) -> Any:
    return _UNPACK[tag](data)


def _inner_value(tag: int, data: bytes) -> Any:
    if tag == _SET:
        return {_hashable(element) for element in unpackb(data, ext_hook=_scalar)}
    return _UNPACK[tag](data)


def _value(tag: int, data: bytes) -> Any:
    if tag == _ESCAPED:
        return _unescaped(unpackb(data, ext_hook=_inner_value))
    return _inner_value(tag, data)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if type(value) is list else value


# --- the careful way: every value by itself, for what packb refuses ------------------------------------

#: Where a value lies: the top-level key, or its container's path and the step from there: a key, an
#: index, or ``None`` for an element of a set.
_Path: TypeAlias = "str | tuple[_Path, str | int | None]"

#: What ``packb`` takes in any case.
_SIMPLE: Final = frozenset({type(None), bool, float, bytes})

_UNSIGNED_64: Final = 1 << 64
_SIGNED_64: Final = 1 << 63


def _encode_with_care(key: str, value: Any) -> bytes:
    """Encode what ``packb`` alone will not, or raise an ``EncodeError`` that says where and why."""
    try:
        try:
            return packb(_Walk(_joined).plain(value, key))
        except TypeError:  # a lone surrogate in a string: MessagePack has no room for it
            return packb(Ext(_ESCAPED, packb(_Walk(_escaped).plain(value, key))))
    except RecursionError:
        raise EncodeError(f"{_shown(key)}: nested too deeply to be stored") from None


class _Walk:
    """Rewrites one value into what ``packb`` takes."""

    __slots__ = ("_inside", "_text")

    def __init__(self, text: Callable[[str], str]) -> None:
        self._text = text
        self._inside: set[int] = set()  # the containers around the current value, by identity

    def plain(self, value: Any, path: _Path, *, in_set: bool = False) -> Any:  # noqa: C901, PLR0912
        """Return the rewritten value; raise ``EncodeError`` naming the path of what cannot be stored.

        One frame per level, so that ``MAX_DEPTH`` levels fit into Python's stack.
        """
        kind = type(value)
        if kind is str:
            return self._text(value)
        if kind in _SIMPLE or (kind is int and -_SIGNED_64 <= value < _UNSIGNED_64):
            return value
        if in_set:
            is_container = isinstance(value, tuple)  # what else is a container cannot be hashed
        else:
            is_container = isinstance(value, (list, tuple, dict)) or kind is set
        if not is_container:
            return self._scalar(value, path, in_set=in_set)
        if id(value) in self._inside:
            raise EncodeError(f"{_shown(path)}: the {_type_name(value)} here contains itself")
        if len(self._inside) == MAX_DEPTH:
            raise EncodeError(f"{_shown(path)}: nested more than {MAX_DEPTH} levels deep; store it flatter")
        self._inside.add(id(value))
        result: Any
        if isinstance(value, (list, tuple)):
            result = []
            for index, item in enumerate(value):
                result.append(self.plain(item, (path, index), in_set=in_set))
        elif isinstance(value, dict):
            result = {}
            for key, item in value.items():
                name = self._text(key if type(key) is str else _json_key(key, path))
                result[name] = self.plain(item, (path, name))
        else:
            elements: dict[bytes, Any] = {}  # by encoding, which gives them their order
            for element in value:
                plain = self.plain(element, (path, None), in_set=True)
                elements[packb(plain)] = plain
            result = Ext(_SET, packb([elements[encoded] for encoded in sorted(elements)]))
        self._inside.discard(id(value))
        return result

    def _scalar(self, value: Any, path: _Path, *, in_set: bool) -> Any:
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if type(value) in {bytearray, memoryview}:
            with suppress(ValueError):  # a released memoryview
                return bytes(value)
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, int):
            value = int.__int__(value)
            if -_SIGNED_64 <= value < _UNSIGNED_64:
                return value
        if pack := _PACK.get(type(value)):
            try:
                return pack(value)
            except Exception as error:
                raise EncodeError(
                    f"{_shown(path)}: the time zone of this {_type_name(value)} gives no offset for it; "
                    "store it without a zone, or a datetime that has one"
                ) from error
        raise EncodeError(
            f"{_shown(path)}: {_type_name(value)} cannot be stored{' in a set' if in_set else ''}; convert "
            "it to what JSON knows, or to bytes, datetime, date, time, timedelta, Decimal, UUID or set"
        )


def text_key(key: object) -> str:
    """Return the text JSON would make of a top-level key; raises ``EncodeError`` for what it would not."""
    return _json_key(key, "session")


def _json_key(key: Any, path: _Path) -> str:
    """Return the string JSON would make of a dictionary's key."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, (int, float)):
        try:
            return json.dumps(key)
        except ValueError:
            raise EncodeError(f"{_shown(path)}: a key has too many digits to become a string") from None
    raise EncodeError(
        f"{_shown(path)}: a key of type {_type_name(key)} cannot be stored; "
        "keys are str, or int, float, bool and None, which become strings as in JSON"
    )


def _joined(text: str) -> str:
    """Return ``text`` with pairs of surrogates joined, as JSON's reader does."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _escaped(text: str) -> str:
    """Return ``text`` written without surrogates: its UTF-8, one character per byte."""
    return _joined(text).encode("utf-8", "surrogatepass").decode("latin-1")


def _unescaped(value: Any) -> Any:
    """Undo :func:`_escaped` in all strings of a decoded value."""
    if type(value) is str:
        return value.encode("latin-1").decode("utf-8", "surrogatepass")
    if type(value) is dict:
        return {_unescaped(key): _unescaped(item) for key, item in value.items()}
    if type(value) in {list, tuple, set}:
        return type(value)(_unescaped(item) for item in value)
    return value


#: A longer path is shortened in the middle.
_SHOWN: Final = 200


def _shown(path: _Path) -> str:
    """Return the path as Python would write it: ``cart.items[3].price``."""
    steps: list[str] = []
    while not isinstance(path, str):
        path, step = path
        if step is None:
            steps.append("{}")
        elif isinstance(step, str) and step.isidentifier():
            steps.append(f".{step:.60}")
        else:
            steps.append(f"[{step!a:.60}]")
    steps.append(path[:60] if path.isprintable() else f"{path!a:.60}")
    shown = "".join(reversed(steps))
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN // 2]}...{shown[-_SHOWN // 2 :]}"


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# --- values by a project's own serializer --------------------------------------------------------------


class Serializer(Protocol):
    """What Django calls a session serializer."""

    def dumps(self, obj: Any, /) -> bytes:
        """Return ``obj`` as bytes."""
        ...

    def loads(self, data: bytes, /) -> Any:
        """Return the object that ``data`` was made of."""
        ...


class SerializerCodec:
    """A codec around a project's own serializer, which is given ``{key: value}`` for each key.

    Raises ``ConfigurationError`` for a serializer that rebuilds any object, as pickle does: whoever can
    write to the store could then run code in the application.
    """

    __slots__ = ("_serializer",)

    def __init__(self, serializer: Serializer) -> None:
        if _rebuilds_objects(serializer):
            raise ConfigurationError(
                f"the serializer {_type_name(serializer)} rebuilds Python objects, as pickle does: whoever "
                "can write to the session store could run code here; use one based on JSON, or none: Sojourn "
                "stores what JSON does and bytes, datetime, date, time, timedelta, Decimal, UUID and set"
            )
        self._serializer = serializer

    def encode(self, key: str, value: Any) -> bytes:
        """Return ``{key: value}`` as the serializer writes it; see :meth:`Codec.encode`."""
        try:
            encoded = self._serializer.dumps({key: value})
        except Exception as error:
            raise EncodeError(
                f"{_shown(key)}: the serializer {_type_name(self._serializer)} cannot store this "
                f"{_type_name(value)} or something in it ({type(error).__name__})"
            ) from error
        if type(encoded) is not bytes:
            raise EncodeError(
                f"{_shown(key)}: dumps() of the serializer {_type_name(self._serializer)} must return bytes, "
                f"not {_type_name(encoded)}"
            )
        return encoded

    def decode(self, key: str, encoded: bytes) -> Any:
        """Return the value under ``key`` in what the serializer reads; see :meth:`Codec.decode`."""
        try:
            return self._serializer.loads(encoded)[key]
        except Exception as error:
            raise DecodeError(
                f"{_shown(key)}: the serializer {_type_name(self._serializer)} cannot read the stored value "
                f"({type(error).__name__})"
            ) from error


class _Marker:
    """An object no serializer knows."""


#: ``{"sojourn": "probe"}`` as pickle writes it by protocols 0, 2 and 4: nothing in it is ever executed.
_PICKLES: Final = (
    b"(dp0\nVsojourn\np1\nVprobe\np2\ns.",
    b"\x80\x02}q\x00X\x07\x00\x00\x00sojournq\x01X\x05\x00\x00\x00probeq\x02s.",
    b"\x80\x04\x95\x16\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x07sojourn\x94\x8c\x05probe\x94s.",
)


def _rebuilds_objects(serializer: Serializer) -> bool:
    """Whether ``loads`` takes a pickle, or brings back an object it cannot know (signed pickles, YAML)."""
    for pickled in _PICKLES:
        with suppress(Exception):
            if serializer.loads(pickled) == {"sojourn": "probe"}:
                return True
    with suppress(Exception):
        restored = serializer.loads(serializer.dumps({"sojourn": _Marker()}))
        return isinstance(restored["sojourn"], _Marker)
    return False
