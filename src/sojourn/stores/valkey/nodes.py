"""Where servers listen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sojourn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Node", "nodes_of"]

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Node:
    """Where one server listens: on a unix socket, or on a host's port."""

    path: str | None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, address: str, *, default_port: int) -> Node:
        """Read ``host``, ``host:port``, ``[v6]:port``, ``unix:/path`` or ``/path``."""
        path = address.removeprefix("unix:")
        if path.startswith("/"):
            return cls(path)
        match = _ADDRESS.fullmatch(address)
        port = int(match["port"] or default_port) if match else 0
        if match is None or not 0 < port < 1 << 16:
            raise ConfigurationError(
                f"{address!r} is no address of a server; give 'host:port' or 'unix:/path/to/socket'"
            )
        return cls(None, match["host"].strip("[]"), port)

    def __str__(self) -> str:
        """Return the address in the form it is written in."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def nodes_of(addresses: str | Sequence[str], *, default_port: int) -> tuple[Node, ...]:
    """Return the nodes of a list of addresses, or of one string with commas."""
    if isinstance(addresses, str):
        addresses = addresses.split(",")
    nodes = tuple(Node.parse(address.strip(), default_port=default_port) for address in addresses)
    if not nodes:
        raise ConfigurationError("no server given; give at least one address, such as '127.0.0.1:6379'")
    return nodes
