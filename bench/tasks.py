"""Sessions in Redis under asyncio, 64 tasks in flight: Sojourn beside starsessions."""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

import redis.asyncio
from starlette.requests import HTTPConnection
from starsessions.serializers import JsonSerializer
from starsessions.session import SessionHandler
from starsessions.stores.redis import RedisStore

from bench.data import READ, WRITTEN, signed_in
from sojourn.keyring import Keyring
from sojourn.manager import AsyncManager
from sojourn.stores.from_url import async_from_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["OURS", "TASKS", "THEIRS", "Rates", "measure"]

OURS: Final = "Sojourn Redis, asyncio"
THEIRS: Final = "starsessions Redis"
TASKS: Final = 64
_SIZE: Final = 2_000
_LASTING: Final = 1_209_600
_REPEATS: Final = 10

#: Operation → contender → operations a second.
Rates = dict[str, dict[str, float]]


class _Contender(Protocol):
    async def new(self, values: Mapping[str, Any]) -> str: ...

    async def read(self, token: str) -> object: ...

    async def modify(self, token: str) -> None: ...

    async def close(self) -> None: ...


class _Sojourn:
    def __init__(self, url: str) -> None:
        keyring = Keyring(["a secret of the benchmark, 50 characters or more long"])
        self._manager = AsyncManager(async_from_url(url), keyring)

    async def new(self, values: Mapping[str, Any]) -> str:
        session = self._manager.new_session()
        session.update(values)
        await self._manager.commit(session)
        return str(session.token)

    async def read(self, token: str) -> object:
        return (await self._manager.open(token))[READ]

    async def modify(self, token: str) -> None:
        session = await self._manager.open(token)
        session[WRITTEN] += 1
        await self._manager.commit(session)

    async def close(self) -> None:
        await self._manager.store.close()


class _Starsessions:
    """Its handler, called as its middleware does."""

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(url)
        self._store = RedisStore(connection=self._client)
        self._serializer = JsonSerializer()

    def _handler(self, token: str | None) -> SessionHandler:
        connection = HTTPConnection({"type": "http", "session": {}})
        return SessionHandler(connection, token, self._store, self._serializer, _LASTING)

    async def new(self, values: Mapping[str, Any]) -> str:
        handler = self._handler(None)
        await handler.load()
        handler.connection.session.update(values)
        return await handler.save(_LASTING)

    async def read(self, token: str) -> object:
        handler = self._handler(token)
        await handler.load()
        return handler.connection.session[READ]

    async def modify(self, token: str) -> None:
        handler = self._handler(token)
        await handler.load()
        handler.connection.session[WRITTEN] += 1
        await handler.save(_LASTING)

    async def close(self) -> None:
        await self._client.aclose()


def measure(url: str, *, rounds: int) -> Rates:
    """Return operations a second, the median of ``rounds`` in which each takes its turn."""
    return asyncio.run(_measure(url, rounds))


async def _measure(url: str, rounds: int) -> Rates:
    contenders: dict[str, _Contender] = {OURS: _Sojourn(url), THEIRS: _Starsessions(url)}
    taken: dict[str, dict[str, list[float]]] = {
        operation: {name: [] for name in contenders} for operation in ("read", "modify")
    }
    tokens = {
        name: [await contender.new(signed_in(_SIZE)) for _ in range(TASKS)]
        for name, contender in contenders.items()
    }
    for _ in range(rounds):
        for name, contender in contenders.items():
            for operation, work in (("read", contender.read), ("modify", contender.modify)):
                taken[operation][name].append(await _rate(work, tokens[name]))
    for contender in contenders.values():
        await contender.close()
    return {
        operation: {name: median(rates) for name, rates in by_name.items()}
        for operation, by_name in taken.items()
    }


async def _rate(work: Callable[[str], Awaitable[object]], tokens: list[str]) -> float:
    """Return operations a second with each of ``tokens`` at work at once."""

    async def repeat(token: str) -> None:
        for _ in range(_REPEATS):
            await work(token)

    started = perf_counter()
    await asyncio.gather(*map(repeat, tokens))
    return len(tokens) * _REPEATS / (perf_counter() - started)
