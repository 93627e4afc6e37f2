"""Stores by their address, as places to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from sojourn.errors import StoreUnavailableError
from sojourn.operations.check.drivers import require
from sojourn.operations.check.live.places import Database, Servers
from sojourn.stores.from_url import parsed
from sojourn.stores.sql.statements import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sojourn.operations.check.live.places import Held, Place
    from sojourn.stores.sql.statements import Dialect

__all__ = ["place_at"]


def place_at(address: str, *, where: str, holds: Held) -> Place | None:
    """Return the place at ``address``; ``None`` if there is no server.  Raises ``ConfigurationError``."""
    kind, arguments = parsed(address)
    if kind in ("memory", "sqlite"):
        return None
    if kind != "sql":
        return Servers(
            kind=cast("Literal['memcached', 'valkey']", kind), arguments=arguments, where=where, holds=holds
        )
    require(kind)
    return _by_sqlalchemy(arguments, where)


def _by_sqlalchemy(arguments: Mapping[str, Any], where: str) -> Database:
    import sqlalchemy as sa  # noqa: PLC0415 - an extra
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    from sojourn.stores.sql import engines  # noqa: PLC0415

    url = engines.parsed(arguments["database"], engines.DRIVERS)
    timeout = arguments.get("timeout", 5.0)
    engine = sa.create_engine(url, **engines.arguments_of(url, timeout=timeout, max_connections=1))
    engines.prepare(engine, timeout)

    def ask(statement: str) -> Sequence[Sequence[Any]]:
        try:
            with engine.connect() as connection:
                return connection.exec_driver_sql(statement.replace("%", "%%")).fetchall()
        except DBAPIError as error:
            raise StoreUnavailableError(str(error.orig).partition("\n")[0]) from error

    kind = engine.dialect.name
    return Database(
        dialect=cast("Dialect", "mysql" if kind == "mariadb" else kind),
        ask=ask,
        where=where,
        table=arguments.get("table", TABLE),
        schema=arguments.get("schema"),
        close=engine.dispose,
    )
