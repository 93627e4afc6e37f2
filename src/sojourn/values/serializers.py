"""Values by a project's own serializer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, Protocol

from sojourn.errors import ConfigurationError, DecodeError, EncodeError
from sojourn.values.paths import shown, type_name

__all__ = ["Serializer", "SerializerCodec"]


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
                f"the serializer {type_name(serializer)} rebuilds Python objects, as pickle does: whoever "
                "can write to the session store could run code here; use one based on JSON, or none: Sojourn "
                "stores what JSON does and bytes, datetime, date, time, timedelta, Decimal, UUID and set"
            )
        self._serializer = serializer

    def encode(self, key: str, value: Any) -> bytes:
        """Return ``{key: value}`` as the serializer writes it; see :meth:`Codec.encode`."""
        try:
            encoded = self._serializer.dumps({key: value})
        except Exception as error:  # of the project's own code
            raise EncodeError(
                f"{shown(key)}: the serializer {type_name(self._serializer)} cannot store this "
                f"{type_name(value)} or something in it ({type(error).__name__})"
            ) from error
        if type(encoded) is not bytes:
            raise EncodeError(
                f"{shown(key)}: dumps() of the serializer {type_name(self._serializer)} must return bytes, "
                f"not {type_name(encoded)}"
            )
        return encoded

    def decode(self, key: str, encoded: bytes) -> Any:
        """Return the value under ``key`` in what the serializer reads; see :meth:`Codec.decode`."""
        try:
            return self._serializer.loads(encoded)[key]
        except Exception as error:  # likewise
            raise DecodeError(
                f"{shown(key)}: the serializer {type_name(self._serializer)} cannot read the stored value "
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
