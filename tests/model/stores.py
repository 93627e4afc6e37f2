"""Our stores, as the interleaving driver and the state machine want them: one entry of ``STORES`` each."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.testing import AsyncInterleaver, Interleaver
from sojourn.testing.machine import AsyncSessionMachine, SessionMachine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sojourn.testing import FakeClock

__all__ = ["STORES", "Kind"]


class Unsynced(sqlite3.Connection):
    """Never waits for the disk: nobody pulls the plug here."""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return super().execute(
            "PRAGMA synchronous = OFF" if sql.startswith("PRAGMA synchronous") else sql, *args
        )


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How to make a store in a folder, and how to empty one if making it takes long."""

    make: Callable[[Path, FakeClock], Any]
    make_async: Callable[[Path, FakeClock], Any]
    empty: Callable[[Any], object] | None = None

    def interleaver(self, folder: Path) -> Interleaver:
        return Interleaver(lambda clock: self.make(folder, clock), empty=self.empty)

    def async_interleaver(self, folder: Path) -> AsyncInterleaver:
        empty: Callable[[Any], Awaitable[object]] | None = None

        async def make_store(clock: FakeClock) -> Any:
            return self.make_async(folder, clock)

        async def empty_it(store: Any) -> None:
            assert self.empty is not None
            self.empty(store.store)

        if self.empty is not None:
            empty = empty_it
        return AsyncInterleaver(make_store, empty=empty)

    def machine(self, folder: Path) -> type[SessionMachine]:
        kind = self

        class Machine(SessionMachine):
            def make_store(self, clock: FakeClock) -> Any:
                store = kind.make(folder, clock)
                if kind.empty is not None:
                    kind.empty(store)
                return store

        return Machine

    def async_machine(self, folder: Path) -> type[SessionMachine]:
        kind = self

        class Machine(AsyncSessionMachine):
            async def make_store(self, clock: FakeClock) -> Any:
                store = kind.make_async(folder, clock)
                if kind.empty is not None:
                    kind.empty(store.store)
                return store

        return Machine


def _embedded(folder: Path, clock: FakeClock) -> EmbeddedStore:
    return EmbeddedStore(folder / "sessions.sqlite3", clock=clock, factory=Unsynced)


def _empty_table(store: EmbeddedStore) -> None:
    store._saves.run(lambda connection: connection.execute("DELETE FROM session"))


STORES: Final[dict[str, Kind]] = {
    "memory": Kind(
        make=lambda _, clock: MemoryStore(clock=clock),
        make_async=lambda _, clock: AsyncMemoryStore(MemoryStore(clock=clock)),
    ),
    "embedded": Kind(
        make=_embedded,
        make_async=lambda folder, clock: AsyncEmbeddedStore(_embedded(folder, clock), threads=1),
        empty=_empty_table,
    ),
}
