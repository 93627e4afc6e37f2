"""The careful way to encode: value by value, for what ``packb`` refuses."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ormsgpack import Ext, packb

from sojourn.errors import EncodeError
from sojourn.values.codec import MAX_DEPTH
from sojourn.values.extensions import ESCAPED, PACK, SET
from sojourn.values.paths import shown, type_name
from sojourn.values.surrogates import escaped, joined

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.values.paths import Path

__all__ = ["encode_with_care", "text_key"]

#: What ``packb`` takes in any case.
_SIMPLE: Final = frozenset({type(None), bool, float, bytes})

_UNSIGNED_64: Final = 1 << 64
_SIGNED_64: Final = 1 << 63


def encode_with_care(key: str, value: Any) -> bytes:
    """Encode what ``packb`` alone will not, or raise an ``EncodeError`` that says where and why."""
    try:
        try:
            return packb(_Walk(joined).plain(value, key))
        except TypeError:  # a lone surrogate in a string: MessagePack has no room for it
            return packb(Ext(ESCAPED, packb(_Walk(escaped).plain(value, key))))
    except RecursionError:
        raise EncodeError(f"{shown(key)}: nested too deeply to be stored") from None


class _Walk:
    """Rewrites one value into what ``packb`` takes."""

    __slots__ = ("_inside", "_text")

    def __init__(self, text: Callable[[str], str]) -> None:
        self._text = text
        self._inside: set[int] = set()  # the containers around the current value, by identity

    def plain(self, value: Any, path: Path, *, in_set: bool = False) -> Any:  # noqa: C901, PLR0912 - a case per type
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
            raise EncodeError(f"{shown(path)}: the {type_name(value)} here contains itself")
        if len(self._inside) == MAX_DEPTH:
            raise EncodeError(f"{shown(path)}: nested more than {MAX_DEPTH} levels deep; store it flatter")
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
            result = Ext(SET, packb([elements[encoded] for encoded in sorted(elements)]))
        self._inside.discard(id(value))
        return result

    def _scalar(self, value: Any, path: Path, *, in_set: bool) -> Any:
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
        if pack := PACK.get(type(value)):
            try:
                return pack(value)
            except Exception as error:  # tzinfo is the application's code
                raise EncodeError(
                    f"{shown(path)}: the time zone of this {type_name(value)} gives no offset for it; "
                    "store it without a zone, or a datetime that has one"
                ) from error
        raise EncodeError(
            f"{shown(path)}: {type_name(value)} cannot be stored{' in a set' if in_set else ''}; convert "
            "it to what JSON knows, or to bytes, datetime, date, time, timedelta, Decimal, UUID or set"
        )


def text_key(key: object) -> str:
    """Return the text JSON would make of a top-level key; raises ``EncodeError`` for what it would not."""
    return _json_key(key, "session")


def _json_key(key: Any, path: Path) -> str:
    """Return the string JSON would make of a dictionary's key."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, (int, float)):
        try:
            return json.dumps(key)
        except ValueError:
            raise EncodeError(f"{shown(path)}: a key has too many digits to become a string") from None
    raise EncodeError(
        f"{shown(path)}: a key of type {type_name(key)} cannot be stored; "
        "keys are str, or int, float, bool and None, which become strings as in JSON"
    )
