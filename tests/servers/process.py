"""A server as a child process that never outlives the tests."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

__all__ = ["HOST", "Removable", "Server", "accepts", "dying_with_us", "free_port", "new_folder"]

HOST = "127.0.0.1"

#: Seconds a server may take to start; a busy machine is no fault.
PATIENCE = 60.0


def free_port() -> int:
    """Return a port nobody listens on, below those the system gives to outgoing connections.

    Among those a client could find itself connected to itself while the server is down.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def accepts(address: str | tuple[str, int]) -> bool:
    """Whether a server listens on this path or (host, port)."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def new_folder(name: str) -> Path:
    """Return a new folder for a server's files, and remove those of test runs that were killed.

    Not below pytest's folder: only its owner may enter that, and a socket's path in it would be too long.
    """
    prefix = f"sojourn-{name}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*-*"):
        owner = left.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(left, ignore_errors=True)  # another run may be at it, too
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


def dying_with_us(signal_name: str) -> list[str]:
    """Return what goes before a program that is to get this signal when the process that starts it dies."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", signal_name]


class Removable:
    """Something to start: ``with`` it, and nothing of it is left afterwards, not even of one that fails."""

    def start(self) -> None:
        """Start and wait until it answers."""
        raise NotImplementedError  # each server does it its own way

    def remove(self) -> None:
        """End it and delete its files; nothing happens if it does not run."""
        raise NotImplementedError  # likewise

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # an interrupted start leaves nothing, either
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Server(Removable):
    """A program to start, kill, stop, continue and start again with the same arguments.

    The kernel kills it when whoever started it dies, even if that was by ``kill -9``.  ``files`` is a folder
    of its own, which goes with it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        is_ready: Callable[[], bool],
        files: Path | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._arguments = arguments
        self._is_ready = is_ready
        self._files = files
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """See :meth:`Removable.start`."""
        assert self._process is None, "it runs already"
        self._process = subprocess.Popen(
            [*dying_with_us("KILL"), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + self._patience
        while not self._is_ready():
            assert self._process.poll() is None, f"{self._arguments[0]} ended at once"
            assert time.monotonic() < deadline, f"{self._arguments[0]} does not answer"
            time.sleep(0.005)

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def kill(self) -> None:
        """End it as a power failure would; nothing happens if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """See :meth:`Removable.remove`."""
        self.kill()
        if self._files is not None:
            shutil.rmtree(self._files)

    def stop(self) -> None:
        """Let it neither answer nor refuse until :meth:`resume`."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # until the last of its threads has stopped

    def resume(self) -> None:
        """Let it go on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
