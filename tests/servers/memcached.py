"""memcached for tests."""

from __future__ import annotations

import re
import socket
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from tests.servers.process import HOST, Server, accepts, free_port

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Memcached"]

#: Its threads.  Each new connection is the next one's, so that after so many all have done what came before.
_WORKERS = 4


class Memcached(Server):
    """A memcached on a loopback port, or on the unix socket ``path``."""

    def __init__(self, *options: str, path: Path | None = None) -> None:
        if path is None:
            self.port = free_port()
            #: What a client connects to.
            self.address = f"{HOST}:{self.port}"
            where = ["-l", HOST, "-p", str(self.port)]
            ready = partial(accepts, (HOST, self.port))
        else:
            self.address = f"unix:{path}"
            where = ["-s", str(path)]
            ready = partial(accepts, str(path))
        # Giving up root would also give up being killed with the tests.  A thread that keeps order in the LRU
        # lists would hold items back from dump() now and then.
        always = ["-u", "root", "-U", "0", "-t", str(_WORKERS), "-o", "no_lru_maintainer"]
        super().__init__(["memcached", *always, *where, *options], is_ready=ready)

    def ask(self, request: bytes, *, end: bytes = b"\r\n") -> bytes:
        """Return what it answers to ``request``, up to and with ``end``."""
        with socket.create_connection((HOST, self.port)) as connection:
            connection.sendall(request)
            answer = b""
            while not answer.endswith(end):
                part = connection.recv(65536)
                assert part, "memcached has hung up"
                answer += part
            return answer

    def empty(self) -> None:
        """Forget everything."""
        assert self.ask(b"flush_all\r\n") == b"OK\r\n"

    def dump(self) -> bytes:
        """Return every key with the bytes of its item."""
        return b"".join(line + self.ask(b"get %s\r\n" % key, end=b"END\r\n") for key, line in self._items())

    def keys(self) -> list[str]:
        """Return every key."""
        return [key.decode() for key, _ in self._items()]

    def _items(self) -> list[tuple[bytes, bytes]]:
        """Return every key, and what is told about its item."""
        for _ in range(_WORKERS):  # an item that is just being sent to somebody would be left out
            assert self.ask(b"mn\r\n") == b"MN\r\n"
        lines = self.ask(b"lru_crawler metadump all\r\n", end=b"END\r\n").splitlines()
        return [
            (unquote_to_bytes(line.split()[0].removeprefix(b"key=")), line)
            for line in lines
            if line.startswith(b"key=")
        ]

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        stats = self.ask(b"stats\r\n", end=b"END\r\n")
        [found] = re.findall(rb"curr_connections (\d+)", stats)
        return int(found) - 1  # the one that asks

    def count(self) -> int:
        """Return how many items it holds, expired ones not counted."""
        return self.dump().count(b"VALUE ")
