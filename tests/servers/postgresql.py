"""PostgreSQL for tests."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.servers.process import HOST, PATIENCE, Server, accepts, free_port, new_folder

__all__ = ["FAST", "USER", "PostgreSQL", "Standby", "as_user", "program"]

#: Who runs it if root runs the tests: it refuses to run as root.
USER = "postgres"

#: What only costs time where nobody pulls the plug; a test about durability asks for the defaults.
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def program(name: str) -> str | None:
    """Return the path of one of PostgreSQL's programs, which Debian keeps out of ``PATH``."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))


def as_user() -> list[str]:
    """Return what goes before a program that refuses to run as root: nothing if that is not who we are."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(USER)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


class PostgreSQL(Server):
    """A server with one database, ``sessions``; ``settings`` are lines of its configuration."""

    database = "sessions"

    def __init__(self, *settings: str) -> None:
        self.port = free_port()
        #: What a client connects to.
        self.address = f"{HOST}:{self.port}"
        self.folder = new_folder("postgresql")
        if as_user():
            shutil.chown(self.folder, USER)
        options = ["listen_addresses=" + HOST, f"port={self.port}", "unix_socket_directories=", *settings]
        arguments = [program("postgres") or "postgres", "-D", str(self.folder / "data")]
        for option in options:
            arguments += ["-c", option]
        super().__init__([*as_user(), *arguments], is_ready=self._answers, files=self.folder)

    def start(self) -> None:
        """Start, with an empty database if it is the first time."""
        is_new = not (self.folder / "data").exists()
        if is_new:
            data = str(self.folder / "data")
            self._run("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        super().start()
        if is_new:
            self.sql(f"CREATE DATABASE {self.database}", database="postgres")

    def sql(self, statement: str, *, database: str = database) -> str:
        """Return what the server answers, a line for each row, with bars between columns."""
        arguments = [*self._there, "-U", USER, "-d", database, "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"]
        return self._run("psql", *arguments, "-c", statement).strip()

    def kill(self) -> None:
        """End it and all its children as a power failure would."""
        if self._process is not None:
            children = self._children()
            super().kill()
            for child in children:
                _kill(child)

    def stop(self) -> None:
        """Let neither it nor its children answer or refuse until :meth:`resume`."""
        super().stop()
        for child in self._children():
            os.kill(child, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on where they were."""
        for child in self._children():
            os.kill(child, signal.SIGCONT)
        super().resume()

    def _children(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(child) for child in children.split()]

    @property
    def _there(self) -> list[str]:
        return ["-h", HOST, "-p", str(self.port)]

    def _answers(self) -> bool:
        """Whether it takes connections, which it does not while it recovers from a crash."""
        if not accepts((HOST, self.port)):
            return False
        asked = [program("pg_isready") or "pg_isready", *self._there]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    def _run(self, name: str, *arguments: str) -> str:
        command = [*as_user(), program(name) or name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout


class Standby(PostgreSQL):
    """A copy of the server on the port ``primary``, kept up to date from there until it is promoted."""

    def __init__(self, primary: int, *settings: str) -> None:
        super().__init__(*settings)
        self._primary = primary

    def start(self) -> None:
        """Start; the first time with all there is on the primary."""
        if not (self.folder / "data").exists():
            there = ["-h", HOST, "-p", str(self._primary), "-U", USER]
            copied = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
            self._run("pg_basebackup", *there, "-D", str(self.folder / "data"), *copied)
        super().start()

    def is_waited_for(self, primary: PostgreSQL) -> None:
        """Let the primary acknowledge nothing from now on that this standby has not got on its disk."""
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("SELECT pg_reload_conf()")
        deadline = time.monotonic() + PATIENCE
        while primary.sql("SELECT sync_state FROM pg_stat_replication") != "sync":
            assert time.monotonic() < deadline, "the standby does not follow"
            time.sleep(0.01)

    def promote(self) -> None:
        """Let it take writes from now on, with what has arrived from the primary until now."""
        assert self.sql("SELECT pg_promote()") == "t", "it was not promoted"


def _kill(pid: int) -> None:
    """Kill a process that is nobody's child any more, and wait until it is gone."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], PATIENCE)
        finally:
            os.close(handle)
