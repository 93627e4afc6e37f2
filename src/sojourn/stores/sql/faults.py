"""What drivers' errors mean, whichever driver it is."""

from __future__ import annotations

from typing import Final

__all__ = ["LONGEST_PAUSE", "TRIES", "is_deadlock", "is_missing_table"]

#: How often a request is tried that a deadlock undid.
TRIES: Final = 10
#: Seconds before the next try, at most.
LONGEST_PAUSE: Final = 0.01

#: What servers call it when they undo a statement because of another: SQLSTATE, or MySQL's number.
_DEADLOCKS: Final = frozenset({"40001", "40P01", 1213})

_NO_TABLE: Final = ("no such table", "does not exist", "doesn't exist")


def is_deadlock(error: BaseException | None) -> bool:
    """Whether a driver's error says that the statement was undone and may be sent again."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    number = error.args[0] if error is not None and error.args else None
    return state in _DEADLOCKS or (isinstance(number, int) and number in _DEADLOCKS)


def is_missing_table(error: BaseException, table: str) -> bool:
    """Whether a driver's error says that there is no such table."""
    said = str(error).partition("\n")[0]
    return table in said and any(words in said for words in _NO_TABLE)
