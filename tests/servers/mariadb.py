"""MariaDB for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial

from tests.servers.process import HOST, Server, accepts, free_port, new_folder

__all__ = ["FAST", "MariaDB", "program"]

#: What only costs time where nobody pulls the plug; a test about durability asks for the defaults.
FAST = ("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")


def program(name: str) -> str | None:
    """Return the path of one of MariaDB's programs; Debian keeps the server out of users' ``PATH``."""
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))


class MariaDB(Server):
    """A server with one database, ``sessions``."""

    database = "sessions"

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        #: What a client connects to.
        self.address = f"{HOST}:{self.port}"
        self.folder = new_folder("mariadb")
        self._where = ["--no-defaults", f"--datadir={self.folder / 'data'}", f"--tmpdir={self.folder}"]
        if os.geteuid() == 0:
            self._where.append("--user=root")  # giving up root would give up being killed with the tests
        self._socket = f"--socket={self.folder / 'socket'}"
        arguments = [program("mariadbd") or "mariadbd", *self._where, self._socket]
        arguments += [f"--bind-address={HOST}", f"--port={self.port}", "--skip-name-resolve"]
        arguments += ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", *options]
        super().__init__(arguments, is_ready=partial(accepts, (HOST, self.port)), files=self.folder)

    def start(self) -> None:
        """Start, with an empty database if it is the first time."""
        is_new = not (self.folder / "data").exists()
        if is_new:
            self._run("mariadb-install-db", *self._where, "--auth-root-authentication-method=normal")
        super().start()
        if is_new:
            self.sql(f"CREATE DATABASE {self.database} CHARACTER SET utf8mb4", database="mysql")

    def sql(self, statement: str, *, database: str = database) -> str:
        """Return what the server answers, a line for each row, with tabs between columns."""
        return self._run(
            "mariadb", "--no-defaults", self._socket, "-u", "root", "-N", "-B", database, "-e", statement
        ).strip()

    def _run(self, name: str, *arguments: str) -> str:
        command = [program(name) or name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout
