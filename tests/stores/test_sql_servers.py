"""The database servers other tests stand on: they come back after a crash with what was committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.mariadb import MariaDB
    from tests.servers.postgresql import PostgreSQL


def test_postgresql_comes_back_after_a_crash_with_what_was_committed(
    new_postgresql: Callable[..., PostgreSQL],
) -> None:
    server = new_postgresql()
    server.sql("CREATE TABLE kept (x int)")
    server.sql("INSERT INTO kept VALUES (7)")
    server.kill()
    server.start()
    assert server.sql("SELECT x FROM kept") == "7"


def test_mariadb_comes_back_after_a_crash_with_what_was_committed(
    new_mariadb: Callable[..., MariaDB],
) -> None:
    server = new_mariadb()
    server.sql("CREATE TABLE kept (x int)")
    server.sql("INSERT INTO kept VALUES (7)")
    server.kill()
    server.start()
    assert server.sql("SELECT x FROM kept") == "7"
