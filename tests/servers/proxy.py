"""A TCP proxy between a client and a real server: it counts, and fails as networks do."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Literal

from tests.servers.process import HOST, free_port

if TYPE_CHECKING:
    from typing import Self

__all__ = ["FAULTS", "Fault", "Proxy"]

Fault = Literal["refuse", "blackhole", "reset", "slow", "garbage"]

FAULTS: tuple[Fault, ...] = ("refuse", "blackhole", "reset", "slow", "garbage")

_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on ``port`` and passes bytes on to the server on ``upstream``.

    ``fail()`` breaks it, also for the connections there are: ``refuse`` takes none and resets the others,
    ``blackhole`` swallows what clients send, ``reset`` breaks off in the middle of a reply, ``slow`` passes
    a reply on byte by byte, ``garbage`` passes noise on instead of it.  ``heal()`` mends it.
    """

    def __init__(self, upstream: int) -> None:
        self.port = free_port()
        self.address = f"{HOST}:{self.port}"
        #: Requests that were answered by the server, or swallowed: what came in one go counts once.
        self.round_trips = 0
        #: Connections taken so far.
        self.accepted = 0
        #: Bytes passed on before ``reset`` breaks off.
        self.reset_after = 3
        #: Seconds between bytes while it is ``slow``.
        self.pause = 0.05
        self._upstream = upstream
        self._fault: Fault | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._hang_up()

    @property
    def connections(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._open)

    def fail(self, fault: Fault) -> None:
        self._fault = fault
        if fault == "refuse":
            self._hang_up()

    def heal(self) -> None:
        self._fault = None
        if self._listener is None:
            self._listen()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _hang_up(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection((HOST, self._upstream)) as server:
            for connection in (client, server):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(client)
            try:
                self._pump(client, server)
            finally:
                with self._lock:
                    self._open.discard(client)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        asked = False
        while True:
            ready, _, _ = select.select([client, server], [], [])
            if client in ready:
                request = client.recv(1 << 20)
                if not request:
                    return
                if not asked:
                    with self._lock:
                        self.round_trips += 1
                asked = True
                if self._fault != "blackhole":
                    server.sendall(request)
            if server in ready:
                reply = server.recv(1 << 20)
                if not reply:
                    return
                asked = False
                if not self._pass_on(reply, client):
                    return

    def _pass_on(self, reply: bytes, client: socket.socket) -> bool:
        fault = self._fault
        if fault == "blackhole":
            return True
        if fault == "reset":
            client.sendall(reply[: self.reset_after])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return False
        if fault == "slow":
            for byte in reply:
                client.sendall(bytes((byte,)))
                if self._closing.wait(self.pause):
                    return False
            return True
        client.sendall(_noise(len(reply)) + b"\r\n" if fault == "garbage" else reply)
        return True


def _noise(length: int) -> bytes:
    """Return random bytes, none of them zero: asyncpg 0.32 reads a message that begins with one for ever."""
    return os.urandom(length).replace(b"\0", b"\1")
