"""Sojourn's ``db`` engine beside Django's, on one database: ``python -m bench.databases postgresql``.

Both on the same connection settings, in one run, through their ``SessionStore``; the connection stays open.
PostgreSQL and MariaDB are started for the run, with their default durability.  With ``--connect`` each read
makes a connection of its own, as with Django's default ``CONN_MAX_AGE`` of 0.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.db import connection

from bench import operations, site
from bench.contenders import DjangoEngine
from bench.data import SIZES
from bench.targets import Target
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.operations import Medians

__all__ = ["targets"]

DJANGOS: Final = "Django db"
OURS: Final = "Sojourn db"

#: How many times faster than Django's engine ours has to be.
FASTER: Final[Mapping[str, Mapping[str, float]]] = {
    "postgresql": {"read": 4, "modify": 3, "login": 3.5},
    "mariadb": {},
    "sqlite": {"read": 6, "modify": 6},
}


class Connecting(DjangoEngine):
    """An engine whose every operation connects anew."""

    def read(self, token: str) -> object:
        """See :meth:`bench.contenders.Contender.read`."""
        connection.close()
        return super().read(token)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.databases", description=__doc__)
    parser.add_argument("database", choices=FASTER)
    parser.add_argument("--quick", action="store_true", help="a rough look")
    parser.add_argument("--connect", action="store_true", help="connect anew for each read")
    arguments = parser.parse_args()
    kind: Callable[[str], DjangoEngine] = Connecting if arguments.connect else DjangoEngine
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sojourn-bench-")))
        site.set_up(folder, database=_started(arguments.database, stack))
        stack.callback(connection.close)
        everybody = {
            DJANGOS: kind("django.contrib.sessions.backends.db"),
            OURS: kind("sojourn.django.backends.db"),
        }
        medians = operations.measure(everybody, rounds=5 if arguments.quick else 40)
    print(f"{arguments.database}, medians in µs")
    for operation, by_size in medians.items():
        for size, taken in by_size.items():
            ratio = taken[DJANGOS] / taken[OURS]
            print(f"  {operation:8}{size:>7} B{taken[DJANGOS]:10.0f}{taken[OURS]:10.0f}{ratio:8.1f} ×")
    for target in () if arguments.connect else targets(arguments.database, medians):
        print(f"  {target.text}: {target.ratio:.1f}, {'reached' if target.reached else 'NOT REACHED'}")


def _started(name: str, stack: ExitStack) -> dict[str, Any] | None:
    """Return the entry of ``DATABASES`` for a server started now; ``None``: the benchmark's SQLite file."""
    if name == "sqlite":
        return None
    server = PostgreSQL() if name == "postgresql" else MariaDB()
    stack.callback(server.remove)
    server.start()
    engine, user = ("postgresql", "postgres") if name == "postgresql" else ("mysql", "root")
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "HOST": "127.0.0.1",
        "PORT": server.port,
        "USER": user,
        "NAME": server.database,
        "CONN_MAX_AGE": None,
    }


def targets(database: str, medians: Medians) -> Iterator[Target]:
    """Yield what Sojourn sets itself for this database."""
    for operation, limit in FASTER[database].items():
        for size in SIZES:
            taken = medians[operation][size]
            text = f"{database} {operation}, {size} B: at least {limit} times faster than Django's db"
            yield Target(text, taken[DJANGOS] / taken[OURS], limit, at_least=True)


if __name__ == "__main__":
    main()
