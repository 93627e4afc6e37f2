"""pgbouncer for tests."""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

from tests.servers.postgresql import USER, as_user
from tests.servers.process import HOST, Server, accepts, free_port, new_folder

if TYPE_CHECKING:
    from tests.servers.postgresql import PostgreSQL

__all__ = ["PgBouncer", "program"]


def program(name: str) -> str | None:
    """Return the path of the program, which Debian keeps out of users' ``PATH``."""
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))


class PgBouncer(Server):
    """A pooler in transaction mode before ``server``, with two connections to it."""

    def __init__(self, server: PostgreSQL) -> None:
        self.port = free_port()
        self.database = server.database
        self.folder = new_folder("pgbouncer")
        self.folder.chmod(0o755)  # it refuses to run as root
        users = self.folder / "users"
        users.write_text(f'"{USER}" ""\n')
        settings = self.folder / "settings.ini"
        settings.write_text(
            f"[databases]\n{server.database} = host={HOST} port={server.port} user={USER} pool_size=2\n"
            f"[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = any\nauth_file = {users}\npool_mode = transaction\n"
        )
        arguments = [*as_user(), program("pgbouncer") or "pgbouncer", str(settings)]
        super().__init__(arguments, is_ready=partial(accepts, (HOST, self.port)), files=self.folder)
