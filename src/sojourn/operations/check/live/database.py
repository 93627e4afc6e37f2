"""What the database with the table of sessions tells of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sojourn.errors import SessionError
from sojourn.operations.check.finding import Kind, Severity
from sojourn.operations.check.live.common import Clocks, latency, old, silent, skewed
from sojourn.stores.sql.statements import checked_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sojourn.clock import Clock
    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.live.places import Database

__all__ = ["database_findings"]

#: Rows that are looked at for a share: enough to tell, and no more on a large table.
_SEEN: Final = 20_000
_FEW: Final = 1_000
_MOST_EXPIRED: Final = 0.5
_MOST_DEAD: Final = 0.5

_VERSION: Final[Mapping[str, str]] = {
    "postgresql": "SHOW server_version",
    "mysql": "SELECT version()",
    "sqlite": "SELECT sqlite_version()",
}
_OLDEST: Final[Mapping[str, str]] = {"postgresql": "12", "mariadb": "10.6", "mysql": "8.0", "sqlite": "3.35"}
_TIME: Final[Mapping[str, str]] = {
    "postgresql": "SELECT cast(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
    "mysql": "SELECT cast(unix_timestamp(sysdate(3)) * 1000 AS signed)",
}
_INDEXES: Final[Mapping[str, str]] = {
    "postgresql": "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = to_regclass('{table}')",
    "mysql": "SELECT concat(index_name, ' (', column_name, ')') FROM information_schema.statistics "
    "WHERE table_schema = {schema} AND table_name = '{name}'",
    "sqlite": "SELECT coalesce(sql, name) FROM sqlite_master WHERE type = 'index' AND tbl_name = '{name}'",
}
_ISOLATION: Final[Mapping[str, str]] = {
    "postgresql": "SHOW transaction_isolation",
    "mysql": "SELECT @@session.{variable}",
}
#: Of the table and of its partitions, if it has some.
_DEAD_ROWS: Final = (
    "SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE relid = to_regclass('{table}') "
    "OR relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('{table}'))"
)
#: Both limited, so that a large table costs no more than a small one.
_EXPIRED: Final = (
    "SELECT count(*) FROM (SELECT idle_deadline, absolute_deadline FROM {table} "
    "WHERE purge_at <= {now} ORDER BY purge_at LIMIT {seen}) AS due "
    "WHERE idle_deadline <= {now} OR absolute_deadline <= {now}"
)
_ROWS: Final = "SELECT count(*) FROM (SELECT 1 AS one FROM {table} LIMIT {seen}) AS seen"
_TABLE: Final[Mapping[str, str]] = {
    "postgresql": "SELECT count(to_regclass('{table}'))",
    "mysql": "SELECT count(*) FROM information_schema.tables "
    "WHERE table_schema = {schema} AND table_name = '{name}'",
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '{name}'",
}

NO_TABLE: Final = Kind(
    id="sojourn.E103",
    severity=Severity.ERROR,
    title="The database has no table for sessions",
    happens="Every page that has a session is an error 500.",
)
NO_INDEX: Final = Kind(
    id="sojourn.W110",
    severity=Severity.WARNING,
    title="The table of sessions lacks an index",
    happens="Signing in becomes slower with every session there is, for the database reads the whole table: "
    "to purge, or to find the sessions of a user.",
)
BLOATED: Final = Kind(
    id="sojourn.W111",
    severity=Severity.WARNING,
    title="The table of sessions is full of rows that are no more",
    happens="Every page becomes slower, and the disk fills: vacuum does not keep up.",
)
NOT_PURGED: Final = Kind(
    id="sojourn.W112",
    severity=Severity.WARNING,
    title="Most sessions in the table have expired",
    happens="The database and its backups are larger and slower than they have to be.",
)
ISOLATED: Final = Kind(
    id="sojourn.W113",
    severity=Severity.WARNING,
    title="The database isolates transactions more than sessions need",
    happens="Requests of one user that come at once fail with an error 500, or wait for each other's locks.",
)


def database_findings(place: Database, clock: Clock) -> Iterator[Finding]:
    """Ask the database."""
    name = f"the database {place.where}"
    try:
        [[version]] = place.ask(_VERSION[place.dialect])
    except SessionError as error:
        yield silent(name, place.where, str(error).rstrip("."))
        return
    is_mariadb = "mariadb" in str(version).lower()
    least = _OLDEST["mariadb" if is_mariadb else place.dialect]
    yield from old(name, place.where, str(version), least)
    if place.dialect in _TIME:
        clocks = Clocks(clock)
        [[time]] = place.ask(_TIME[place.dialect])
        yield from skewed(name, place.where, clocks.skew(int(time)))
        yield from latency(name, place.where, clock, lambda: place.ask("SELECT 1"))
        yield from _isolation(place, name, is_mariadb=is_mariadb)
    yield from _of_table(place, clock)


def _isolation(place: Database, name: str, *, is_mariadb: bool) -> Iterator[Finding]:
    # Until MariaDB 11.1 the variable had its old name only.
    variable = "tx_isolation" if is_mariadb else "transaction_isolation"
    [[level]] = place.ask(_ISOLATION[place.dialect].format(variable=variable))
    found = str(level).lower().replace("-", " ")
    if found in ("read committed", "read uncommitted"):
        return
    if place.dialect == "mysql":
        corrected = f'{place.where}["OPTIONS"]["isolation_level"] = "read committed"'
    else:
        corrected = (
            f'{place.where}["OPTIONS"].pop("isolation_level", None)\n'
            "ALTER DATABASE … SET default_transaction_isolation = 'read committed';  -- in the database"
        )
    yield ISOLATED.found(
        f"Transactions of {name} are {found}; sessions need read committed.",
        where=place.where,
        corrected=corrected,
    )


def _of_table(place: Database, clock: Clock) -> Iterator[Finding]:
    if not place.is_ours:
        return
    name = checked_name(place.table)
    table = name if place.schema is None else f"{checked_name(place.schema)}.{name}"
    names = {
        "table": table,
        "name": name,
        "schema": "database()" if place.schema is None else f"'{place.schema}'",
    }
    [[is_there]] = place.ask(_TABLE[place.dialect].format(**names))
    if not is_there:
        yield NO_TABLE.found(
            f"{place.where} has no table {table}.",
            where=place.where,
            corrected="manage.py migrate  # in a shell",
        )
        return
    indexes = [str(row[0]) for row in place.ask(_INDEXES[place.dialect].format(**names))]
    missing = [column for column in ("purge_at", "subject") if not any(column in index for index in indexes)]
    if missing:
        create = "\n".join(f"CREATE INDEX {name}_{column} ON {table} ({column});" for column in missing)
        yield NO_INDEX.found(
            f"{table} has no index on {' and '.join(missing)}.", where=place.where, corrected=create
        )
    yield from _bloat(place, table)
    [[rows]] = place.ask(_ROWS.format(table=table, seen=_SEEN))
    [[expired]] = place.ask(_EXPIRED.format(table=table, now=clock.now(), seen=_SEEN))
    if expired > _FEW and expired > _MOST_EXPIRED * rows:
        yield NOT_PURGED.found(
            f"Of {rows:,} rows of {table} that were looked at {expired:,} are expired.",
            where=place.where,
            corrected="manage.py sojourn_purge  # in a shell",
        )


def _bloat(place: Database, table: str) -> Iterator[Finding]:
    if place.dialect != "postgresql":
        return
    for part, live, dead in place.ask(_DEAD_ROWS.format(table=table)):
        if dead > _FEW and dead > _MOST_DEAD * live:
            yield BLOATED.found(
                f"{part} has {dead:,} dead rows beside {live:,} living ones.",
                where=place.where,
                corrected=f"VACUUM {part};\n"
                f"ALTER TABLE {part} SET (autovacuum_enabled, autovacuum_vacuum_scale_factor = 0.05);",
            )
