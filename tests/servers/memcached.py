"""memcached for tests."""

from __future__ import annotations

import socket
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from tests.servers.process import HOST, Server, accepts, free_port

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Memcached"]


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
        # Giving up root would also give up being killed with the tests.
        super().__init__(["memcached", "-u", "root", "-U", "0", *where, *options], is_ready=ready)

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
        time.sleep(0.05)  # an item that is just being sent to somebody is left out
        found = b""
        for line in self.ask(b"lru_crawler metadump all\r\n", end=b"END\r\n").splitlines():
            if line.startswith(b"key="):
                key = unquote_to_bytes(line.split()[0].removeprefix(b"key="))
                found += line + self.ask(b"get %s\r\n" % key, end=b"END\r\n")
        return found

    def count(self) -> int:
        """Return how many items it holds, expired ones not counted."""
        return self.dump().count(b"VALUE ")
