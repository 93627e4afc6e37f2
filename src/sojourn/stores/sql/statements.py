"""Every statement the SQL stores send, with what is atomic about it.

A statement outside ``BEGIN … COMMIT`` is its own transaction: other connections see all of it or nothing.
Whether a record lives is compared with the current instant, which the application's clock gives; all instants
are milliseconds since the Unix epoch.

The table is the same in every database (docs: *How the SQL stores work*)::

    lookup_key         32 bytes, primary key      Record.key, as bytes rather than digits
    created_at         big integer
    idle_deadline      big integer
    absolute_deadline  big integer or NULL
    purge_at           big integer, indexed       when purging is to look at the row: see PURGE
    version_origin     big integer
    version_counter    big integer
    subject            up to 64 bytes or NULL, indexed
    info               up to 256 bytes or NULL    NULL if there is none: Oracle knows no empty value
    payload            bytes

Parameters are written ``?`` here and as the driver wants them by :class:`Statements`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from sojourn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DIALECTS", "POSTGRESQL_SETTINGS", "TABLE", "Dialect", "Statements", "checked_name"]

Dialect: TypeAlias = Literal["postgresql", "mysql", "sqlite"]

#: MariaDB counts as MySQL.
DIALECTS: Final[tuple[Dialect, ...]] = ("postgresql", "mysql", "sqlite")

#: What the table is called, also by Django's migrations.
TABLE: Final = "sojourn_session"

#: For a new table on PostgreSQL.  Room in each page, so that a touched row finds its place there and no index
#: changes (HOT); payloads as they are, for sealed bytes do not get smaller; the dead rows of so many updates
#: are cleared away often.
POSTGRESQL_SETTINGS: Final = (
    "ALTER TABLE {table} SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05)",
    "ALTER TABLE {table} ALTER COLUMN payload SET STORAGE EXTERNAL",
)

#: Names that need no quoting anywhere; 63 characters is the most PostgreSQL takes, 30 what Oracle 12.1 took.
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,47}", re.ASCII)

_COLUMNS: Final = """lookup_key, payload, created_at, idle_deadline, absolute_deadline, subject, info,
    version_origin, version_counter"""

# In all that follows: {table} the table, {expires} the instant of the earlier deadline, {least} the function
# that returns the smaller of two numbers.
_LIVES: Final = "{expires} > ?"
_DEAD: Final = "{expires} <= ?"

#: One read.  Whether the record lives is decided by the reader, who removes it for good if not; it also tells
#: what became of a record that a write did not hit.
LOAD: Final = f"SELECT {_COLUMNS} FROM {{table}} WHERE lookup_key = ?"  # noqa: S608 - constants only

_INSERT: Final = f"""
    INSERT INTO {{table}} AS mine ({_COLUMNS}, purge_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608 - constants only

#: Inserts, or replaces a dead record: one statement, so of two that race one changes no row; a duplicate is
#: no error, which on PostgreSQL would spoil the transaction it is in.
CREATE: Final = f"""{_INSERT} ON CONFLICT (lookup_key) DO UPDATE SET
        payload = excluded.payload, created_at = excluded.created_at, idle_deadline = excluded.idle_deadline,
        absolute_deadline = excluded.absolute_deadline, subject = excluded.subject, info = excluded.info,
        version_origin = excluded.version_origin, version_counter = excluded.version_counter,
        purge_at = excluded.purge_at
    WHERE {{least}}(mine.idle_deadline, coalesce(mine.absolute_deadline, mine.idle_deadline)) <= ?
"""

#: Inserts.  A duplicate is an error that undoes this statement only; then BURY_TAKEN makes room if the record
#: there is dead.  (ON DUPLICATE KEY UPDATE cannot be told apart from an insert, by drivers that count the
#: rows found.)
CREATE_MYSQL: Final = _INSERT.replace(" AS mine", "")

#: Compare-and-set: the comparison and the change are one statement.  Files the record to be purged earlier if
#: it now dies earlier; otherwise no indexed column changes, which keeps it a HOT update on PostgreSQL.
UPDATE: Final = f"""
    UPDATE {{table}} SET payload = ?, created_at = ?, idle_deadline = ?, absolute_deadline = ?, subject = ?,
        info = ?, version_counter = version_counter + 1, purge_at = {{least}}(purge_at, ?)
    WHERE lookup_key = ? AND version_origin = ? AND version_counter = ? AND {_LIVES}
"""  # noqa: S608 - constants only

#: The same where sessions are capped, for a save that leaves the subject as it is: it ends nobody's session.
UPDATE_KEEPING_SUBJECT: Final = f"{UPDATE} AND subject = ?"

#: The same on SQLite, for a save that leaves both indexed columns as they are: the subject, and when purging
#: is to look at the record, which it then does no later than it dies.  SQLite writes every index whose column
#: is set, changed or not: 24 µs instead of 11.
UPDATE_KEEPING_SUBJECT_SQLITE: Final = f"""
    UPDATE {{table}} SET payload = ?, created_at = ?, idle_deadline = ?, absolute_deadline = ?, info = ?,
        version_counter = version_counter + 1
    WHERE lookup_key = ? AND version_origin = ? AND version_counter = ? AND {_LIVES}
        AND subject IS ? AND purge_at <= ?
"""  # noqa: S608 - constants only

#: Moves the idle deadline of a living record; reads and writes in one statement, so revives nothing.
TOUCH: Final = f"""
    UPDATE {{table}} SET idle_deadline = ?, purge_at = {{least}}(purge_at, ?)
    WHERE lookup_key = ? AND {_LIVES}
"""  # noqa: S608 - constants only

#: Renames the row and replaces what is in it, if it is at the expected version: one statement, so no instant
#: knows both keys or neither.  Fails on the primary key if the new key is taken.
MOVE: Final = f"""
    UPDATE {{table}} SET lookup_key = ?, payload = ?, created_at = ?, idle_deadline = ?,
        absolute_deadline = ?, subject = ?, info = ?, version_origin = ?, version_counter = ?, purge_at = ?
    WHERE lookup_key = ? AND version_origin = ? AND version_counter = ? AND {_LIVES}
"""  # noqa: S608 - constants only

#: Ends a living record; of two that race one changes no row.
DELETE: Final = f"DELETE FROM {{table}} WHERE lookup_key = ? AND {_LIVES}"  # noqa: S608

#: Removes a record that was seen dead, so that it stays dead if the clock steps back.  Checks again, for
#: somebody else may have put a new one under the key.
BURY: Final = f"DELETE FROM {{table}} WHERE lookup_key = ? AND {_DEAD}"  # noqa: S608

#: One read of everything the subject has, dead records included.
FIND_SUBJECT: Final = f"""
    SELECT {_COLUMNS} FROM {{table}} WHERE subject = ? ORDER BY created_at, lookup_key
"""  # noqa: S608 - constants only

#: As BURY, for all of a subject's.
BURY_SUBJECT: Final = f"DELETE FROM {{table}} WHERE subject = ? AND {_DEAD}"  # noqa: S608

#: Ends all of the subject's sessions but one at one instant.
DELETE_SUBJECT: Final = "DELETE FROM {table} WHERE subject = ? AND lookup_key <> ?"

#: Ends the subject's oldest sessions, the newly written one aside, so that no more live than the offset and
#: that one.  Runs in the transaction of that write, after GATE.
CAP_SUBJECT: Final = f"""
    {{delete}} SELECT lookup_key FROM {{table}} WHERE subject = ? AND lookup_key <> ? AND {_LIVES}
    ORDER BY created_at DESC, lookup_key DESC {{no_limit}} OFFSET ? {{end}}
"""  # noqa: S608 - constants only

#: Begins the transaction of a sign-in where sessions are capped: from here to its end no other sign-in of the
#: subject comes in between.  On PostgreSQL a lock on a number made of the subject; on MySQL a row that is
#: dead from the start; SQLite locks the whole file at BEGIN.
GATE_POSTGRESQL: Final = "SELECT pg_advisory_xact_lock(?)"
GATE_MYSQL: Final = f"""{CREATE_MYSQL} ON DUPLICATE KEY UPDATE purge_at = greatest(purge_at, VALUES(purge_at))
"""

#: The rows that are due longest, passing over those somebody is writing: so many of the index and no more,
#: however many are due and whichever of them are dead.
_DUE: Final = """
    SELECT lookup_key FROM {table} WHERE purge_at <= ? ORDER BY purge_at LIMIT ? {passing_over}
"""

#: Removes what is dead of the rows that are due longest.  A row is due when ``purge_at`` has come: the
#: deadline it had when it was filed, or an earlier one it was given since.
PURGE: Final = f"{{delete_dead}} {_DUE} {{end_dead}}"

#: Files rows that are due but live, because they were touched since, under the deadline they have by now.
#: That is what keeps touches off the index: a row is filed again once in its idle timeout, not at each touch.
REFILE: Final = f"{{file_live}} {_DUE} {{end_live}}"

#: One read, in key order.
SCAN: Final = f"""
    SELECT {_COLUMNS} FROM {{table}} WHERE lookup_key > ? AND {_LIVES} ORDER BY lookup_key LIMIT ?
"""  # noqa: S608 - constants only

#: By key, also where the table is so small that going through it looks cheaper: that waits for locked rows.
_JOINED: Final = """) AS chosen STRAIGHT_JOIN {table} AS mine FORCE INDEX (PRIMARY)
    ON mine.lookup_key = chosen.lookup_key"""

#: What differs between databases, mostly how to change the rows that a query chooses.  PostgreSQL runs that
#: query once for an array, but for IN maybe several times; SQLite does well with IN; MySQL goes through the
#: whole table for IN, so it is told to join, the chosen rows first.
_WORDS: Final[Mapping[Dialect, Mapping[str, str]]] = {
    "postgresql": {
        "least": "least",
        "no_limit": "",
        "delete": "DELETE FROM {table} WHERE lookup_key = ANY (ARRAY (",
        "end": "))",
        "passing_over": "FOR UPDATE SKIP LOCKED",
        "delete_dead": "DELETE FROM {table} WHERE {expires} <= ? AND lookup_key = ANY (ARRAY (",
        "end_dead": "))",
        "file_live": (
            "UPDATE {table} SET purge_at = {expires} WHERE {expires} > ? AND lookup_key = ANY (ARRAY ("
        ),
        "end_live": "))",
    },
    "mysql": {
        "least": "least",
        "no_limit": "LIMIT 18446744073709551615",
        "delete": "DELETE mine FROM (",
        "end": _JOINED,
        "passing_over": "FOR UPDATE SKIP LOCKED",
        "delete_dead": "DELETE mine FROM (",
        "end_dead": f"{_JOINED} WHERE {_DEAD}",
        "file_live": "UPDATE (",
        "end_live": f"{_JOINED} SET purge_at = {{expires}} WHERE {_LIVES}",
    },
    "sqlite": {
        "least": "min",
        "no_limit": "LIMIT -1",
        "delete": "DELETE FROM {table} WHERE lookup_key IN (",
        "end": ")",
        "passing_over": "",
        "delete_dead": "DELETE FROM {table} WHERE {expires} <= ? AND lookup_key IN (",
        "end_dead": ")",
        "file_live": "UPDATE {table} SET purge_at = {expires} WHERE {expires} > ? AND lookup_key IN (",
        "end_live": ")",
    },
}

_BEGIN: Final[Mapping[Dialect, str]] = {
    "postgresql": "BEGIN",
    "mysql": "START TRANSACTION",
    # Takes the write lock at once: a transaction that read first could fail half-way.
    "sqlite": "BEGIN IMMEDIATE",
}


def checked_name(name: str) -> str:
    """Return the name of a table or schema if it is safe in a statement as it is.

    Raises ``ConfigurationError``: names cannot be parameters, so they are letters, digits and ``_`` only.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigurationError(
            f"{name!r} cannot be the name of a table or schema: use at most 48 lower-case letters, digits "
            "and '_', such as sojourn_session"
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """The statements for one table, as one driver takes them.

    ``parameter`` is how the driver marks a parameter: ``?``, ``%s``, or ``$`` for ``$1``, ``$2`` and so on.
    """

    dialect: Dialect
    parameter: str
    table: str = TABLE
    schema: str | None = None

    load: str = field(init=False)
    create: str = field(init=False)
    update: str = field(init=False)
    #: For a save that leaves the subject as it is.
    update_keeping_subject: str = field(init=False)
    touch: str = field(init=False)
    move: str = field(init=False)
    delete: str = field(init=False)
    bury: str = field(init=False)
    find_subject: str = field(init=False)
    bury_subject: str = field(init=False)
    delete_subject: str = field(init=False)
    cap_subject: str = field(init=False)
    #: ``None``: nothing is needed.
    gate: str | None = field(init=False)
    purge: str = field(init=False)
    refile: str = field(init=False)
    scan: str = field(init=False)
    begin: str = field(init=False)

    def __post_init__(self) -> None:
        """Write out every statement."""
        is_mysql = self.dialect == "mysql"
        is_sqlite = self.dialect == "sqlite"
        gates = {"postgresql": GATE_POSTGRESQL, "mysql": GATE_MYSQL, "sqlite": None}
        for name, text in {
            "load": LOAD,
            "create": CREATE_MYSQL if is_mysql else CREATE,
            "update": UPDATE,
            "update_keeping_subject": UPDATE_KEEPING_SUBJECT_SQLITE if is_sqlite else UPDATE_KEEPING_SUBJECT,
            "touch": TOUCH,
            "move": MOVE,
            "delete": DELETE,
            "bury": BURY,
            "find_subject": FIND_SUBJECT,
            "bury_subject": BURY_SUBJECT,
            "delete_subject": DELETE_SUBJECT,
            "cap_subject": CAP_SUBJECT,
            "gate": gates[self.dialect],
            "purge": PURGE,
            "refile": REFILE,
            "scan": SCAN,
            "begin": _BEGIN[self.dialect],
        }.items():
            object.__setattr__(self, name, None if text is None else self.written(text))

    @property
    def name(self) -> str:
        """The table as statements name it."""
        table = checked_name(self.table)
        return table if self.schema is None else f"{checked_name(self.schema)}.{table}"

    def written(self, text: str) -> str:
        """Return ``text`` with the table in it, for this database and driver."""
        words = _WORDS[self.dialect]
        expires = f"{words['least']}(idle_deadline, coalesce(absolute_deadline, idle_deadline))"
        for _ in range(2):  # words have words in them
            text = text.format(table=self.name, expires=expires, **words)
        text = " ".join(text.split())
        if self.parameter != "$":
            return text.replace("?", self.parameter)
        first, *others = text.split("?")
        return first + "".join(f"${number}{part}" for number, part in enumerate(others, 1))
