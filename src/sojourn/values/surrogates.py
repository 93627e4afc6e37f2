"""Text with lone surrogates, which JSON takes and MessagePack, being UTF-8, has no room for."""

from __future__ import annotations

from typing import Any

__all__ = ["escaped", "joined", "unescaped"]


def joined(text: str) -> str:
    """Return ``text`` with pairs of surrogates joined, as JSON's reader does."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def escaped(text: str) -> str:
    """Return ``text`` written without surrogates: its UTF-8, one character per byte."""
    return joined(text).encode("utf-8", "surrogatepass").decode("latin-1")


def unescaped(value: Any) -> Any:
    """Undo :func:`escaped` in all strings of a decoded value."""
    if type(value) is str:
        return value.encode("latin-1").decode("utf-8", "surrogatepass")
    if type(value) is dict:
        return {unescaped(key): unescaped(item) for key, item in value.items()}
    if type(value) in {list, tuple, set}:
        return type(value)(unescaped(item) for item in value)
    return value
