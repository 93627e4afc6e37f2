"""Which memcached keeps which session."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

from sojourn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Node", "nodes_of", "owner"]

T = TypeVar("T")

_DEFAULT_PORT = 11211
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Node:
    """Where one memcached listens: on a unix socket, or on a host's port."""

    path: str | None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, address: str) -> Node:
        """Read ``host``, ``host:port``, ``[v6]:port``, ``unix:/path`` or ``/path``."""
        path = address.removeprefix("unix:")
        if path.startswith("/"):
            return cls(path)
        match = _ADDRESS.fullmatch(address)
        port = int(match["port"] or _DEFAULT_PORT) if match else 0
        if match is None or not 0 < port < 1 << 16:
            shown = "this" if "@" in address else repr(address)  # before it there may be a password
            raise ConfigurationError(
                f"{shown} is no address of a memcached; give 'host:port' or 'unix:/path/to/socket'"
            )
        return cls(None, match["host"].strip("[]"), port)

    def __str__(self) -> str:
        """Return the address in one form, whichever it was written in: it decides who keeps what."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def nodes_of(addresses: str | Sequence[str]) -> list[Node]:
    """Return the nodes of a list of addresses, or of one string with commas or semicolons."""
    if isinstance(addresses, str):
        addresses = re.split("[;,]", addresses)
    nodes = [Node.parse(address.strip()) for address in addresses]
    if not nodes:
        raise ConfigurationError("no memcached given; give at least one address, such as '127.0.0.1:11211'")
    if len(set(nodes)) < len(nodes):
        raise ConfigurationError("a memcached is named twice; give each address once")
    return nodes


def owner(key: bytes, candidates: Sequence[tuple[bytes, T]]) -> T:
    """Return the candidate that ``key`` belongs to, by rendezvous hashing.

    Each candidate is its name and whatever is to be returned.  The order does not matter; without one of
    them only its own keys go elsewhere, with one more only those move that it takes over.
    """
    if len(candidates) == 1:
        return candidates[0][1]
    return max((blake2b(key, digest_size=8, key=name[-64:]).digest(), name, it) for name, it in candidates)[2]
