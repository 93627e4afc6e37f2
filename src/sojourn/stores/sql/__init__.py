"""Sessions in a SQL database: PostgreSQL, MariaDB and MySQL, SQLite.

``statements`` is every statement, ``operations`` what each call of a store makes of them, without I/O.  Both
serve :class:`SQLStore` and :class:`AsyncSQLStore`, which send them by SQLAlchemy (extra ``sql``), and the
Django engine ``db``, which sends them on Django's own connection and needs no SQLAlchemy: so the two are
imported when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sojourn.stores.sql.aio import AsyncSQLStore as AsyncSQLStore
    from sojourn.stores.sql.store import SQLStore as SQLStore

__all__ = ["AsyncSQLStore", "SQLStore"]


def __getattr__(name: str) -> object:
    if name == "SQLStore":
        from sojourn.stores.sql.store import SQLStore  # noqa: PLC0415 - see above

        return SQLStore
    if name == "AsyncSQLStore":
        from sojourn.stores.sql.aio import AsyncSQLStore  # noqa: PLC0415

        return AsyncSQLStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
