"""What operations ask of a database, as values.  No I/O."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

__all__ = ["Change", "Read", "Request", "Steps", "TakenError", "Transaction", "Values"]

T = TypeVar("T")

Values: TypeAlias = tuple[Any, ...]


class TakenError(Exception):
    """A statement would have put two rows under one key; it changed nothing."""


class Read(NamedTuple):
    """A statement that returns rows; the answer is the list of them.  Doing it twice harms nobody."""

    statement: str
    values: Values

    def __repr__(self) -> str:
        """Show no value."""
        return f"<Read {self.statement!r}>"


class Change(NamedTuple):
    """A statement that changes rows; the answer is how many.

    Raises ``TakenError``.  One that ``may_fail`` tidies up: it is left out where it could do harm, and
    if it fails, the answer is 0.
    """

    statement: str
    values: Values
    may_fail: bool = False

    def __repr__(self) -> str:
        """Show no value."""
        return f"<Change {self.statement!r}>"


class Transaction(NamedTuple):
    """Changes that happen together or not at all; the answer is how many rows the ``main`` one changed.

    They are made in order, and those after ``main`` only if that changed a row.  Raises ``TakenError``.  One
    that is ``alone`` is no part of a transaction of the application's: inside one it is left out, and the
    answer is 0.
    """

    changes: tuple[Change, ...]
    main: int
    alone: bool = False


Request: TypeAlias = Read | Change | Transaction
Steps: TypeAlias = Generator[Request, Any, T]
