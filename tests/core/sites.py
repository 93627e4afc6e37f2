"""Sites to test the manager with: every test runs once for each store, plain and asynchronous.

A test is written once, as a coroutine.  On a plain manager the calls of a :class:`Site` never suspend, so
that a coroutine of them also runs straight through in a thread of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sojourn import AsyncManager, Keyring, Manager, Session
from sojourn.errors import SessionError
from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.stores.sql import AsyncSQLStore, SQLStore
from sojourn.testing import AsyncFaultyStore, FakeClock, FaultyStore, Meanwhile, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from sojourn.clock import Clock
    from sojourn.listing import SessionSummary
    from sojourn.policy import Action
    from sojourn.record import Record

T = TypeVar("T")

OLD_SECRET = "the old secret: 0123456789 abcdefghijklmnopqrstuvwxyz"
SECRET = "a secret for tests: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"
KEYRING = Keyring([SECRET])

#: How long a thread of a test may take before the test says that it hangs.
PATIENCE = 60


def _memory(path: Path, clock: Clock) -> tuple[Any, Any]:
    store = MemoryStore(clock=clock)
    return store, AsyncMemoryStore(store)


def _embedded(path: Path, clock: Clock) -> tuple[Any, Any]:
    store = EmbeddedStore(path / "sessions.sqlite3", clock=clock)
    return store, AsyncEmbeddedStore(store)


def _sql(path: Path, clock: Clock) -> tuple[Any, Any]:
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # below, it logs what it is given
    # SQLite lets the unlucky of many writers wait long; that is not what is tested here.
    url = f"sqlite:///{path.parent / 'sessions.db'}"
    store = SQLStore(url, clock=clock, timeout=PATIENCE / 2)
    store.create_table()
    return store, AsyncSQLStore(url, clock=clock, timeout=PATIENCE / 2)


#: What each store is made by: a plain and an asynchronous one on the same sessions.  A store is one line.
STORES: dict[str, Callable[[Path, Clock], tuple[Any, Any]]] = {
    "memory": _memory,
    "embedded": _embedded,
    "sql": _sql,
}

#: Every store, plain and asynchronous: the parameters of the fixture ``world``.
KINDS = [(name, kind) for name in STORES for kind in ("plain", "async")]


async def _close(store: Any) -> None:
    await answer(store.close())


async def answer(call: Any) -> Any:
    """Return what ``call`` returned, awaited if it has to be."""
    return await call if inspect.isawaitable(call) else call


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("a call on a plain manager has suspended")


class Site:
    """One process of a site: a manager of its own on sessions that others may share."""

    def __init__(self, world: World, *, keyring: Keyring = KEYRING, **settings: Any) -> None:
        settings.setdefault("clock", world.clock)
        self.world = world
        #: Counts the operations and fails by plan.
        self.store: Any
        self.manager: Any
        if world.asynchronous:
            self.store = AsyncFaultyStore(world.store)
            self.manager = AsyncManager(self.store, keyring, **settings)
        else:
            self.store = FaultyStore(world.store)
            self.manager = Manager(self.store, keyring, **settings)

    async def open(self, token: str | None) -> Session:
        session: Session = await answer(self.manager.open(token))
        return session

    async def commit(self, session: Session, **options: Any) -> Action:
        action: Action = await answer(self.manager.commit(session, **options))
        return action

    async def exists(self, token: str | None) -> bool:
        lives: bool = await answer(self.manager.exists(token))
        return lives

    async def delete(self, token: str | None) -> bool:
        lived: bool = await answer(self.manager.delete(token))
        return lived

    async def revoke(self, key: str) -> bool:
        lived: bool = await answer(self.manager.revoke(key))
        return lived

    async def sessions_of(self, subject: str) -> list[SessionSummary]:
        found: list[SessionSummary] = await answer(self.manager.sessions_of(subject))
        return found

    async def revoke_subject(self, subject: str, **options: Any) -> int:
        ended: int = await answer(self.manager.revoke_subject(subject, **options))
        return ended

    async def purge(self) -> int:
        removed: int = await answer(self.manager.purge())
        return removed

    # What tests do all the time

    async def new(self, label: str | None = None, /, **values: Any) -> str:
        """Store a session that holds ``values``; return its token.  The count starts again."""
        session: Session = self.manager.new_session()
        session.update(values)
        session.label = label
        await self.commit(session)
        assert session.token is not None
        self.store.forget()
        return session.token

    async def save(self, token: str, /, **values: Any) -> Session:
        """Open the session, set ``values``, commit."""
        session = await self.open(token)
        session.update(values)
        await self.commit(session)
        return session

    async def values(self, token: str | None) -> dict[str, Any] | None:
        """Return what the session of ``token`` holds, ``None`` if it is no session."""
        session = await self.open(token)
        return None if session.record is None else dict(session)

    async def end(self, token: str) -> None:
        """Sign out: open the session, end it, commit."""
        session = await self.open(token)
        session.end()
        await self.commit(session)

    def meanwhile(
        self, operation: Operation, do: Callable[[], Coroutine[Any, Any, Any]], **options: Any
    ) -> None:
        """Have something else happen just before the next ``operation``, or just ``after`` it."""
        once: Any = do if self.world.asynchronous else lambda: drive(do())
        self.store.plan(Meanwhile(operation, once, **options))


class World:
    """The sessions that all sites of a test share, and the clock they all look at."""

    def __init__(self, plain: Any, asynchronous: Any, clock: FakeClock, *, use_async: bool) -> None:
        self.asynchronous = use_async
        self.clock = clock
        #: What one asks the store directly neither counts nor fails.
        self.store = asynchronous if use_async else plain
        self._both = (asynchronous, plain)

    def site(self, **settings: Any) -> Site:
        """Return another process of the site.  Settings are the manager's, and ``keyring``."""
        return Site(self, **settings)

    async def record(self, token: str, *, namespace: str = "") -> Record:
        """Return the living record of ``token``."""
        record = await answer(self.store.load(key(token, namespace=namespace)))
        assert record is not None
        found: Record = record
        return found

    async def plant(self, record: Record) -> None:
        """Put ``record`` in place of the one under its key, as whoever can write to the store can."""
        await answer(self.store.update(record, record.version))

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Actor[T]:
        """Let ``coroutine`` run beside the test: in a thread, or as a task."""
        return Actor(self, coroutine)

    async def race(self, *coroutines: Coroutine[Any, Any, T]) -> Sequence[T]:
        """Let all ``coroutines`` run at once; return their results in order."""
        actors = [self.start(coroutine) for coroutine in coroutines]
        return [await actor.result() for actor in actors]

    def gate(self, site: Site, operation: Operation, **options: Any) -> Gate:
        """Return a gate at which the next ``operation`` of ``site`` waits."""
        return Gate(self, site, operation, **options)

    async def close(self) -> None:
        async with AsyncExitStack() as stack:
            for store in self._both:
                stack.push_async_callback(_close, store)


class Actor(Generic[T]):
    """Something that goes on beside the test."""

    def __init__(self, world: World, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[T] | None = None
        if world.asynchronous:
            self._task = asyncio.create_task(coroutine)
        else:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(drive(self._coroutine))
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            self._error = error

    async def result(self) -> T:
        """Wait for its end; return or raise what it did."""
        if self._task is not None:
            return await asyncio.wait_for(self._task, PATIENCE)
        assert self._thread is not None
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "a thread hangs"
        if self._error is not None:
            raise self._error
        return self._result[0]

    async def error(self) -> SessionError | None:
        """Wait for its end; return the error it raised, if it raised one."""
        try:
            await self.result()
        except SessionError as error:
            return error
        return None


class Gate:
    """A place at a store's operation where whoever comes waits until the test opens it."""

    def __init__(self, world: World, site: Site, operation: Operation, **options: Any) -> None:
        self._asynchronous = world.asynchronous
        self._reached: Any = asyncio.Event() if world.asynchronous else threading.Event()
        self._open: Any = asyncio.Event() if world.asynchronous else threading.Event()
        site.store.plan(Meanwhile(operation, self._pass, **options))

    def _pass(self) -> Any:
        self._reached.set()
        return self._open.wait() if self._asynchronous else self._wait(self._open)

    async def reached(self) -> None:
        """Wait until somebody waits at the gate."""
        if self._asynchronous:
            await asyncio.wait_for(self._reached.wait(), PATIENCE)
        else:
            self._wait(self._reached)

    def open(self) -> None:
        """Let everybody through."""
        self._open.set()

    @staticmethod
    def _wait(event: threading.Event) -> None:
        assert event.wait(PATIENCE), "nobody came"


def key(token: str, *, namespace: str = "") -> str:
    """Return the key of ``token``, worked out apart from the code under test."""
    label = f"sojourn key 1\0{len(namespace)}\0{namespace}\0"
    return hashlib.sha256(f"{label}{token}".encode()).hexdigest()
