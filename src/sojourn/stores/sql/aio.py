"""The SQL store for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sojourn.errors import StoreUnavailableError
from sojourn.stores.sql.engines import ASYNC_DRIVERS, OnEngine, arguments_of, parsed, session_table
from sojourn.stores.sql.requests import Change, TakenError
from sojourn.stores.sql.statements import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import URL

    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.stores.sql.requests import Request, Steps

__all__ = ["AsyncSQLStore"]

T = TypeVar("T")


class AsyncSQLStore(OnEngine):
    """:class:`SQLStore` for asyncio: the same arguments, the same sessions.

    The drivers taken are asyncpg, asyncmy and aiosqlite unless the address names others
    (``postgresql+psycopg://``).  For one event loop.  The connection of a cancelled call is closed, so that
    nobody gets its answer; what it had sent is done or not done.

    aiosqlite logs, at level DEBUG, each statement with its parameters: the sealed payload, not the token.
    """

    def __init__(
        self,
        database: str | URL | AsyncEngine,
        *,
        table: str = TABLE,
        schema: str | None = None,
        timeout: float = 5.0,
        max_connections: int = 10,
        max_sessions_per_subject: int | None = None,
        purge_every: int | None = 10,
        partition_by: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._owns_engine = not isinstance(database, AsyncEngine)
        if isinstance(database, AsyncEngine):
            engine = database.execution_options(isolation_level="AUTOCOMMIT")
        else:
            url = parsed(database, ASYNC_DRIVERS)
            arguments = arguments_of(url, timeout=timeout, max_connections=max_connections)
            engine = create_async_engine(url, **arguments)
        super().__init__(
            engine.sync_engine,
            table=table,
            schema=schema,
            timeout=timeout,
            max_sessions_per_subject=max_sessions_per_subject,
            purge_every=purge_every,
            partition_by=partition_by,
            clock=clock,
        )
        self._engine = engine
        self._table = session_table(sa.MetaData(), table=table, schema=schema)

    async def create_table(self) -> None:
        """See :meth:`SQLStore.create_table`."""
        try:
            async with self._engine.connect() as connection:
                await connection.run_sync(self._table.create, checkfirst=True)
        except SQLAlchemyError as error:
            raise self._failure(error, 0.0) from error
        await self._run(self._partition())

    # Store

    async def create(self, record: Record) -> Version:
        """See :meth:`SQLStore.create`."""
        version = await self._run(self._create(record))
        if self._is_time_to_sweep():
            await self._run(self._sweep())
        return version

    async def load(self, key: str) -> Record | None:
        """See :meth:`SQLStore.load`."""
        return await self._run(self._load(key))

    async def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`SQLStore.update`."""
        return await self._run(self._update(record, expected_version))

    async def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`SQLStore.touch`."""
        return await self._run(self._touch(key, idle_deadline))

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`SQLStore.move`."""
        return await self._run(self._move(old_key, expected_version, record))

    async def delete(self, key: str) -> bool:
        """See :meth:`SQLStore.delete`."""
        return await self._run(self._delete(key))

    async def close(self) -> None:
        """See :meth:`SQLStore.close`."""
        self._closed = True
        if self._owns_engine:
            await self._engine.dispose()

    # SubjectIndex

    async def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`SQLStore.find_subject`."""
        return await self._run(self._find_subject(subject))

    async def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`SQLStore.delete_subject`."""
        return await self._run(self._delete_subject(subject, except_key))

    # Purge and Scan

    async def purge(self, *, limit: int = 100) -> int:
        """See :meth:`SQLStore.purge`."""
        return await self._run(self._purge(limit))

    async def scan(self, *, after: str = "", limit: int = 100) -> Sequence[Record]:
        """See :meth:`SQLStore.scan`."""
        return await self._run(self._scan(after, limit))

    # Inside

    async def _run(self, steps: Steps[T]) -> T:
        answer: Any = None
        error: TakenError | StoreUnavailableError | None = None
        try:
            while True:
                request = steps.send(answer) if error is None else steps.throw(error)
                error = None
                try:
                    answer = await self._answer(request)
                except StoreUnavailableError as raised:
                    answer = 0
                    if not (isinstance(request, Change) and request.may_fail):
                        error = raised
                except TakenError as raised:
                    error = raised
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _answer(self, request: Request) -> Any:
        if self._closed:
            raise self._closed_error()
        began, tried = self._clock.monotonic(), 0
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    try:
                        async with self._engine.connect() as connection:
                            return await connection.run_sync(self._carry_out, request)
                    except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
                        tried += 1
                        await asyncio.sleep(self._pause(error, request, tried, began))
        except TimeoutError as error:
            raise self._late() from error
