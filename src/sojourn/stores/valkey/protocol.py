"""Every byte on the wire: commands and replies (RESP2), for both ways of sending."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, Union

__all__ = ["GarbledReplyError", "Refusal", "Replies", "Reply", "Word", "command"]

Word: TypeAlias = bytes | str | int

_END = b"\r\n"
_KINDS = "+-:$*"
_LONGEST_LINE = 64 * 1024
#: More than any reply of ours needs: what asks for more is no answer to us.
_LONGEST = 512 * 1024 * 1024
_MOST = 1 << 24


class GarbledReplyError(Exception):
    """What came is no reply."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error reply: the first word says which, such as ``MOVED``."""

    text: str

    @property
    def code(self) -> str:
        """The first word."""
        return self.text.partition(" ")[0]


#: A status and an error, a number, a string or none, or a list of these.
Reply: TypeAlias = Union[bytes, int, Refusal, "list[Reply]", None]


def command(*words: Word) -> bytes:
    """Return a command as it goes over the wire."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts += (b"$%d\r\n" % len(data), data, _END)
    return b"".join(parts)


class Replies:
    """Makes replies of the bytes that come, however they are cut."""

    __slots__ = ("_buffer", "_needed")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0

    @property
    def is_empty(self) -> bool:
        """Whether no part of a reply is waiting for the rest."""
        return not self._buffer

    def feed(self, data: bytes) -> list[Reply]:
        """Return the replies that are complete now.  Raises ``GarbledReplyError``."""
        buffer = self._buffer
        buffer += data
        found: list[Reply] = []
        at = 0
        if len(buffer) >= self._needed:
            while at < len(buffer):
                parsed = self._parse(at)
                if parsed is None:
                    break
                reply, at = parsed
                found.append(reply)
                self._needed = 0
            del buffer[:at]
        return found

    def _parse(self, at: int) -> tuple[Reply, int] | None:
        """Return the reply at ``at`` and where it ends, or ``None`` if there is more to come."""
        buffer = self._buffer
        kind = chr(buffer[at])
        if kind not in _KINDS:
            raise GarbledReplyError
        end = buffer.find(_END, at)
        if end < 0:
            if len(buffer) - at > _LONGEST_LINE:
                raise GarbledReplyError
            return None
        line, after = bytes(buffer[at + 1 : end]), end + 2
        if kind == "$":
            return self._parse_string(_number(line, _LONGEST), after)
        if kind == "*":
            return self._parse_list(_number(line, _MOST), after)
        if kind == ":":
            return _number(line, 1 << 63), after
        return (line if kind == "+" else Refusal(line.decode("ascii", "replace"))), after

    def _parse_string(self, size: int, at: int) -> tuple[Reply, int] | None:
        if size < 0:
            return None, at
        end = at + size
        if len(self._buffer) < end + 2:
            self._needed = size  # so that it is not tried again for each piece
            return None
        if not self._buffer.startswith(_END, end):
            raise GarbledReplyError
        return bytes(self._buffer[at:end]), end + 2

    def _parse_list(self, size: int, at: int) -> tuple[Reply, int] | None:
        if size < 0:
            return None, at
        items: list[Reply] = []
        for _ in range(size):
            parsed = self._parse(at) if at < len(self._buffer) else None
            if parsed is None:
                return None
            item, at = parsed
            items.append(item)
        return items, at


def _number(line: bytes, largest: int) -> int:
    try:
        number = int(line)
    except ValueError:
        raise GarbledReplyError from None
    if abs(number) > largest:
        raise GarbledReplyError
    return number
