"""A real server for the site, and browsers that visit it over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.django.databases import entry_for
from tests.servers.process import dying_with_us

if TYPE_CHECKING:
    import pytest

    from tests.servers.postgresql import PostgreSQL

ROOT = Path(__file__).parents[2]


@dataclass(kw_only=True)
class Server:
    """Gunicorn, or uvicorn if ``asgi``, with the site in ``folder``; stopped and started at will."""

    folder: Path
    workers: int = 2
    threads: int = 4
    asgi: bool = False
    port: int = 0
    #: The site's, if it has any.
    caches: dict[str, Any] | None = None
    #: The entry of ``DATABASES``, where sessions are kept in it.
    database: dict[str, Any] | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def environment(self, engine: str, **sojourn: Any) -> dict[str, str]:
        return os.environ | {
            "SITE": str(self.folder),
            "ENGINE": engine,
            "SOJOURN": json.dumps(sojourn),
            **({} if self.caches is None else {"CACHES": json.dumps(self.caches)}),
            **({} if self.database is None else {"DATABASE": json.dumps(self.database)}),
            "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)])),
        }

    def migrate(self) -> None:
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import tests.live.site; from django.core.management import call_command; "  # noqa: ISC004
                "call_command('migrate', verbosity=0)",
            ],
            env=self.environment("django.contrib.sessions.backends.db"),
            check=True,
            cwd=ROOT,
        )

    def start(self, engine: str, **sojourn: Any) -> None:
        command = self._uvicorn() if self.asgi else self._gunicorn()
        self._process = subprocess.Popen(
            [*dying_with_us("TERM"), *command],
            env=self.environment(engine, **sojourn),
            cwd=ROOT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                assert self._process.poll() is None, "the server did not start"
                assert time.monotonic() < deadline, "the server did not start in time"
                time.sleep(0.05)

    def _gunicorn(self) -> list[str]:
        return [
            *(sys.executable, "-m", "gunicorn", "tests.live.wsgi", "--bind", f"127.0.0.1:{self.port}"),
            *("--workers", str(self.workers), "--threads", str(self.threads), "--worker-tmp-dir", "/dev/shm"),  # noqa: S108
            *("--graceful-timeout", "5", "--log-level", "warning"),
        ]

    def _uvicorn(self) -> list[str]:
        return [
            *(sys.executable, "-m", "uvicorn", "tests.live.asgi:application", "--port", str(self.port)),
            *("--log-level", "warning", "--backlog", "2048", "--lifespan", "off", "--no-access-log"),
        ]

    def stop(self) -> None:
        """Stop it in peace; kill what is left."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def database_for(site: str, request: pytest.FixtureRequest) -> dict[str, Any] | None:
    """Return the entry of ``DATABASES`` for a site on PostgreSQL: an empty database of its own."""
    if "postgresql" not in site:
        return None
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = f"site_{secrets.token_hex(6)}"
    server.sql(f"CREATE DATABASE {name}")
    return entry_for(server, NAME=name, CONN_MAX_AGE=60)


@dataclass
class Browser:
    """Keeps the session cookie.  Its requests may run in parallel, as a browser's do."""

    port: int
    token: str | None = None

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return status and answer of one request; raises ``OSError`` or ``HTTPException`` if none came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {} if self.token is None else {"Cookie": f"sessionid={self.token}"}
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read()
            for cookie in response.headers.get_all("Set-Cookie", []):
                value = cookie.partition(";")[0].partition("=")[2]
                self.token = value.strip('"') or None
        finally:
            connection.close()
        answer: dict[str, Any] = json.loads(body) if response.status == http.client.OK else {}
        return response.status, answer
