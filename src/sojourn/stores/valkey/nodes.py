"""Where servers are, and how to speak with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sojourn.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

__all__ = ["Access", "Node", "Place", "Primary", "nodes_of"]

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?")


class Node(NamedTuple):
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
            shown = "this" if "@" in address else repr(address)  # before it there may be a password
            raise ConfigurationError(
                f"{shown} is no address of a server; give 'host:port' or 'unix:/path/to/socket'"
            )
        return cls(None, match["host"].strip("[]"), port)

    def __str__(self) -> str:
        """Return the address in the form it is written in."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Primary(NamedTuple):
    """Whichever server the Sentinels say is the primary of this name."""

    name: str

    def __str__(self) -> str:
        """Return it as messages name it."""
        return f"the primary of {self.name!r}"


#: Where a request goes.
Place: TypeAlias = Node | Primary


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to speak with servers, and with the Sentinels who know them."""

    username: str | None
    password: str | None
    database: int
    sentinels: Sequence[Node]
    sentinel_username: str | None
    sentinel_password: str | None
    tls: ssl.SSLContext | None

    @property
    def to_servers(self) -> dict[str, Any]:
        """What redis-py's connections to servers are made with."""
        return {"username": self.username, "password": self.password, "db": self.database, **_ALWAYS}

    @property
    def to_sentinels(self) -> dict[str, Any]:
        """Likewise to Sentinels, who have users of their own and no databases."""
        return {"username": self.sentinel_username, "password": self.sentinel_password, **_ALWAYS}


#: RESP2, for RESP3 asks for HELLO and has nothing that is of use here.
_ALWAYS = {"protocol": 2}


def nodes_of(addresses: str | Sequence[str], *, default_port: int) -> tuple[Node, ...]:
    """Return the nodes of a list of addresses, or of one string with commas."""
    if isinstance(addresses, str):
        addresses = addresses.split(",")
    nodes = tuple(Node.parse(address.strip(), default_port=default_port) for address in addresses)
    if not nodes:
        raise ConfigurationError("no server given; give at least one address, such as '127.0.0.1:6379'")
    return nodes
