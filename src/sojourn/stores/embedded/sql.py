"""Every statement the embedded store sends, with what is atomic about it.

A statement outside ``BEGIN … COMMIT`` is its own transaction: other connections see all of it or
nothing, and a crash leaves all of it or nothing.  Whether a record lives or is dead is compared with the
current instant; all instants are milliseconds since the Unix epoch.
"""

from __future__ import annotations

from typing import Final

#: "SjRn", in the file's header: that it is ours.
APPLICATION_ID: Final = 0x536A526E
#: Grows when the tables change.
SCHEMA_VERSION: Final = 1

IS_EMPTY: Final = "SELECT count(*) = 0 FROM sqlite_master"

# Two choices by measurement (100,000 sessions of 200 bytes; median of one save in µs):
#
# - No index on the deadline.  Each touch and each save moves it, and SQLite writes every index whose
#   column is set, changed or not: 15 without, 26 with an index on the deadline, 26 with one on the hour
#   of the deadline.  Purging walks the rows by id instead, a window at a time (SWEEP_LOOK).
# - A rowid table with the key beside it: WITHOUT ROWID, which keeps payloads inside the key's tree,
#   doubles the file and reads four times slower at 12 KB.
#
# The payload comes last, so that reading the other columns never follows it to its overflow pages.
SCHEMA: Final = (
    """
    CREATE TABLE session (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        idle_deadline INTEGER NOT NULL,
        absolute_deadline INTEGER,
        version_origin INTEGER NOT NULL,
        version_counter INTEGER NOT NULL,
        subject BLOB,
        info BLOB NOT NULL,
        payload BLOB NOT NULL
    )
    """,
    "CREATE INDEX session_subject ON session (subject) WHERE subject IS NOT NULL",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

#: Pages (of 4 KiB) of the log at which whoever commits copies it back: at 1,000 the slowest of a thousand
#: saves took 18 to 23 ms, at 2,000 it took 4, and beyond the longest pause grows from 55 to 240 ms.
LOG_PAGES: Final = 2000

#: The same for purging, which fills most of the log while it runs: so early that the copying falls to it,
#: not to somebody's save.
PURGE_LOG_PAGES: Final = 1000

#: For each connection.  After a burst the log shrinks back to 32 MB.  A file somebody tampered with runs
#: no code.
SETTINGS: Final = ("PRAGMA journal_size_limit = 33554432", "PRAGMA trusted_schema = OFF")

_EXPIRES_AT = "min(idle_deadline, ifnull(absolute_deadline, idle_deadline))"
_LIVES = f"{_EXPIRES_AT} > ?"
_DEAD = f"{_EXPIRES_AT} <= ?"
# What somebody planted as text comes out as bytes, to be refused like any other forgery.
_COLUMNS = """
    key, CAST(payload AS BLOB), created_at, idle_deadline, absolute_deadline, CAST(subject AS BLOB),
    CAST(info AS BLOB), version_origin, version_counter
"""

#: One read.  Whether the record lives is decided by the reader, who removes it for good if not; it also
#: tells what became of a record that a write did not hit.
LOAD: Final = f"SELECT {_COLUMNS} FROM session WHERE key = ?"  # noqa: S608 - constants only

#: Inserts, or replaces a dead record: one statement, so of two that race one changes no row.
CREATE: Final = f"""
    INSERT INTO session (key, payload, created_at, idle_deadline, absolute_deadline, subject, info,
                         version_origin, version_counter)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET
        payload = excluded.payload, created_at = excluded.created_at, idle_deadline = excluded.idle_deadline,
        absolute_deadline = excluded.absolute_deadline, subject = excluded.subject, info = excluded.info,
        version_origin = excluded.version_origin, version_counter = excluded.version_counter
    WHERE {_DEAD}
"""  # noqa: S608 - constants only

#: Compare-and-set: the comparison and the change are one statement.  For the usual save, which leaves
#: the subject as it is: setting it would write its index too (36 µs instead of 19).
UPDATE: Final = f"""
    UPDATE session SET payload = ?, created_at = ?, idle_deadline = ?, absolute_deadline = ?, info = ?,
                       version_counter = version_counter + 1
    WHERE key = ? AND version_origin = ? AND version_counter = ? AND {_LIVES} AND subject IS ?
"""  # noqa: S608 - constants only

#: The same for a save that gives the record to another subject.
UPDATE_SUBJECT: Final = f"""
    UPDATE session SET payload = ?, created_at = ?, idle_deadline = ?, absolute_deadline = ?, info = ?,
                       version_counter = version_counter + 1, subject = ?
    WHERE key = ? AND version_origin = ? AND version_counter = ? AND {_LIVES}
"""  # noqa: S608 - constants only

#: Moves the idle deadline of a living record; reads and writes in one statement, so revives nothing.
TOUCH: Final = f"UPDATE session SET idle_deadline = ? WHERE key = ? AND {_LIVES}"  # noqa: S608

#: Renames the row and replaces what is in it, if it is at the expected version: one statement, so no
#: instant knows both keys or neither.  Fails on the UNIQUE key if the new key is taken.
MOVE: Final = f"""
    UPDATE session SET key = ?, payload = ?, created_at = ?, idle_deadline = ?, absolute_deadline = ?,
                       subject = ?, info = ?, version_origin = ?, version_counter = ?
    WHERE key = ? AND version_origin = ? AND version_counter = ? AND {_LIVES}
"""  # noqa: S608 - constants only

#: Ends a living record; of two that race one changes no row.
DELETE: Final = f"DELETE FROM session WHERE key = ? AND {_LIVES}"  # noqa: S608

#: Removes a record that was seen dead, so that it stays dead if the clock steps back.  Checks again,
#: for another process may have put a new one under the key.
BURY: Final = f"DELETE FROM session WHERE key = ? AND {_DEAD}"  # noqa: S608

#: One read of everything the subject has, dead records included.
FIND_SUBJECT: Final = f"""
    SELECT {_COLUMNS} FROM session WHERE subject = ? ORDER BY created_at, key
"""  # noqa: S608 - constants only

#: As BURY, for all of a subject's.
BURY_SUBJECT: Final = f"DELETE FROM session WHERE subject = ? AND {_DEAD}"  # noqa: S608

#: Ends all of the subject's sessions but one at one instant.
DELETE_SUBJECT: Final = "DELETE FROM session WHERE subject = ? AND key IS NOT ?"

#: Ends the subject's oldest sessions, the newly written one aside, so that no more live than the offset
#: and that one.  Runs in the transaction of that write, which holds the lock from its start: no other login
#: comes in between.
CAP_SUBJECT: Final = f"""
    DELETE FROM session WHERE id IN (
        SELECT id FROM session WHERE subject = ? AND key <> ? AND {_LIVES}
        ORDER BY created_at DESC, key DESC LIMIT -1 OFFSET ?
    )
"""  # noqa: S608 - constants only

#: One read: about how long the table is.
NEWEST: Final = "SELECT ifnull(max(id), 0) FROM session"

#: One read of some rows after an id: where it ended, how many rows it saw, how many are dead.
SWEEP_LOOK: Final = f"""
    SELECT max(id), count(*), total({_DEAD}) FROM (
        SELECT id, idle_deadline, absolute_deadline FROM session WHERE id > ? ORDER BY id LIMIT ?
    )
"""  # noqa: S608 - constants only

#: Removes what is dead between two ids.  Ids only grow, so never more rows than SWEEP_LOOK saw.
SWEEP: Final = f"DELETE FROM session WHERE id > ? AND id <= ? AND {_DEAD}"  # noqa: S608

#: One read, in key order.
SCAN: Final = f"""
    SELECT {_COLUMNS} FROM session WHERE key > ? AND {_LIVES} ORDER BY key LIMIT ?
"""  # noqa: S608 - constants only

#: Writes a consistent copy without the free pages; blocks no writer.
BACK_UP: Final = "VACUUM INTO ?"

#: Takes the write lock at once: a transaction that read first could fail half-way.
BEGIN: Final = "BEGIN IMMEDIATE"
COMMIT: Final = "COMMIT"
