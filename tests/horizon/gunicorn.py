"""gunicorn for tests: its workers end with it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tests.servers.process import HOST, Server, accepts, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.horizon.environments import Environment

__all__ = ["Gunicorn"]

#: Seconds an application may take to load on a busy machine.
PATIENCE = 180.0


class Gunicorn(Server):
    """``application`` in ``environment``, on a loopback port that it keeps; its log is in ``folder``."""

    def __init__(
        self,
        environment: Environment,
        application: str,
        *,
        folder: Path,
        workers: int = 1,
        threads: int = 1,
        variables: Mapping[str, str],
    ) -> None:
        self.port = free_port()
        self.address = f"{HOST}:{self.port}"
        self.log = folder / "gunicorn.log"
        arguments = [
            *("env", "--chdir", str(folder), *(f"{name}={value}" for name, value in variables.items())),
            *(environment.program("gunicorn"), application, "--bind", self.address, "--preload"),
            *("--workers", str(workers), "--threads", str(threads), "--timeout", "600"),
            *("--worker-tmp-dir", "/dev/shm"),  # noqa: S108 - what gunicorn's manual recommends
            *("--error-logfile", str(self.log), "--capture-output", "--log-level", "warning"),
        ]
        super().__init__(arguments, is_ready=partial(accepts, (HOST, self.port)), patience=PATIENCE)

    def end(self) -> None:
        """Let it answer what it was asked, and end."""
        assert self._process is not None, "it does not run"
        self._process.terminate()
        self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it and its workers."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        super().kill()
