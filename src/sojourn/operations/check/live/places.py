"""Where sessions are, as the live checks ask for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sojourn.stores.sql.statements import Dialect

__all__ = ["Ask", "Database", "Held", "NotAskedError", "Place", "Servers"]

#: What lies there.  Copies may be lost at any time: the database has the sessions.
Held: TypeAlias = Literal["sessions", "copies", "ended sessions"]
#: Runs a statement without parameters on the connection that the project has; returns the rows.
Ask: TypeAlias = "Callable[[str], Sequence[Sequence[Any]]]"


class NotAskedError(Exception):
    """Something could not be looked at.  The text says what and why, and holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """memcacheds, or Redis or Valkey servers."""

    kind: Literal["memcached", "valkey"]
    #: Those of the store's class.
    arguments: Mapping[str, Any] = field(repr=False)
    #: The setting, such as ``CACHES['default']``.
    where: str
    holds: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database with the table of sessions."""

    dialect: Dialect
    ask: Ask = field(repr=False)
    #: The setting, such as ``DATABASES['default']``.
    where: str
    table: str
    #: Where the table is; ``None``: where the connection looks.
    schema: str | None = None
    #: Whether the table is Sojourn's: of another one its indexes and columns are not known.
    is_ours: bool = True
    #: Closes what was opened to ask.
    close: Callable[[], object] = field(default=lambda: None, repr=False)


Place: TypeAlias = Servers | Database
