"""The secret in the cookie, and the digest under which a store keeps its session."""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from sojourn.record import dated_key

if TYPE_CHECKING:
    from hashlib import _Hash as HASH  # pyright: ignore[reportPrivateUsage]  # typeshed has no other name

__all__ = ["TOKEN_LENGTH", "Token", "is_token", "key_for", "new_token"]

#: Characters of a token.  Applications keep ``session_key`` in 40-character columns.
TOKEN_LENGTH = 40

_TOKEN_BYTES = 30
_DATED_BYTES = 26
_TOKEN = re.compile(r"[A-Za-z0-9_-]{40}|\.[0-9a-f]{4}[A-Za-z0-9_-]{35}", re.ASCII)


class Token(str):
    """A token as it is handed around: text whose ``repr`` does not show it.

    Error pages and error reporters print the local variables of every function on the way.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Show that there is one."""
        return "<token>"


def new_token(day: int | None = None) -> Token:
    """Return a new token: 240 bits from :mod:`secrets` as 40 URL-safe characters (ASVS 7.2.2, 7.2.3).

    One that names the ``day`` (since the Unix epoch) on which its session ends at the latest, for stores that
    keep sessions by day, begins with a full stop and that; it has 208 random bits.
    """
    if day is None:
        return Token(urlsafe_b64encode(secrets.token_bytes(_TOKEN_BYTES)).decode("ascii"))
    random = urlsafe_b64encode(secrets.token_bytes(_DATED_BYTES)).decode("ascii").rstrip("=")
    return Token(f".{day:04x}{random}")


def is_token(text: str) -> bool:
    """Whether ``text`` has the form of a token.  Anything else is no session, without a look in the store."""
    return _TOKEN.fullmatch(text) is not None


def key_for(token: str, *, namespace: str) -> str:
    """Return the lookup key of ``token``: 64 lower-case hexadecimal digits.

    SHA-256 over a label, ``namespace`` and the token.  Unkeyed on purpose: 240 random bits need no
    secret, and a keyed digest would sign everybody out when the server secret changes.  A token that names a
    day has a key that does.
    """
    digest = _labelled(namespace).copy()
    digest.update(token.encode())
    if token.startswith(".") and is_token(token):
        return dated_key(digest.hexdigest(), int(token[1:5], 16))
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _labelled(namespace: str) -> HASH:
    return sha256(f"sojourn key 1\0{len(namespace)}\0{namespace}\0".encode())
