"""Who is measured: each engine behind the same few operations."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from bench.data import READ, SIGNED_IN, WRITTEN
from bench.raw import RawDict, RawSqlite
from sojourn.keyring import Keyring
from sojourn.manager import Manager
from sojourn.stores.embedded import EmbeddedStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from django.contrib.sessions.backends.base import SessionBase

    from sojourn.session import Session

__all__ = [
    "COOKIES",
    "CORE",
    "DB",
    "DB_OURS",
    "DICT",
    "EMBEDDED",
    "FILE",
    "FIRST",
    "LOCMEM",
    "MEMORY",
    "SEALED",
    "SQLITE",
    "Contender",
    "DjangoEngine",
    "contenders",
]

LOCMEM = "Django cache (LocMem)"
FILE = "Django file"
DB = "Django db (SQLite WAL)"
DB_OURS = "Sojourn db (SQLite WAL)"
COOKIES = "Django signed_cookies"
MEMORY = "Sojourn memory"
SEALED = "Sojourn signed_cookies"
FIRST = "Sojourn signed_cookies, first time"
EMBEDDED = "Sojourn embedded"
CORE = "Sojourn embedded, no Django"
DICT = "raw dict"
SQLITE = "raw sqlite3"


class Contender(Protocol):
    """Keeps sessions.  What ``new`` and ``login`` return names a session to the other operations."""

    def new(self, values: Mapping[str, Any]) -> str:
        """Store a new session of these values."""
        ...

    def login(self, token: str) -> str:
        """Sign a user in: the session gets a new token, then the user's keys, and is saved again."""
        ...

    def read(self, token: str) -> object:
        """Return the value of one small key."""
        ...

    def open(self, token: str) -> Any:
        """Return the session, its small key read, ready to be changed."""
        ...

    def save(self, opened: Any) -> None:
        """Change one small key of what :meth:`open` returned, and save."""
        ...

    def logout(self, token: str) -> None:
        """Read the session and end it."""
        ...


class DjangoEngine:
    """Any engine of Django's kind, through its ``SessionStore``, called as middleware and login() do."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.session_store: type[SessionBase] = import_module(engine).SessionStore

    def new(self, values: Mapping[str, Any]) -> str:
        """See :meth:`Contender.new`."""
        session = self.session_store()
        session.update(dict(values))
        session.save()
        return str(session.session_key)

    def login(self, token: str) -> str:
        """See :meth:`Contender.login`."""
        session = self.session_store(token)
        session.get(READ)
        session.cycle_key()
        session.update(SIGNED_IN)
        if hasattr(session, "signed_in"):
            session.signed_in(label="Firefox on Linux")
        session.save()
        return str(session.session_key)

    def read(self, token: str) -> object:
        """See :meth:`Contender.read`."""
        return self.session_store(token)[READ]

    def open(self, token: str) -> SessionBase:
        """See :meth:`Contender.open`."""
        session = self.session_store(token)
        session.get(WRITTEN)
        return session

    def save(self, opened: SessionBase) -> None:
        """See :meth:`Contender.save`."""
        opened[WRITTEN] = opened[WRITTEN] + 1
        opened.save()

    def logout(self, token: str) -> None:
        """See :meth:`Contender.logout`."""
        session = self.session_store(token)
        session.get(READ)
        session.flush()


class Core:
    """Sojourn's manager without Django around it."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def new(self, values: Mapping[str, Any]) -> str:
        """See :meth:`Contender.new`."""
        session = self._manager.new_session()
        session.update(values)
        self._manager.commit(session)
        return str(session.token)

    def login(self, token: str) -> str:
        """See :meth:`Contender.login`."""
        session = self._manager.open(token)
        session.renew(authenticated=True)
        session.update(SIGNED_IN)
        self._manager.commit(session)
        return str(session.token)

    def read(self, token: str) -> object:
        """See :meth:`Contender.read`."""
        return self._manager.open(token)[READ]

    def open(self, token: str) -> Session:
        """See :meth:`Contender.open`."""
        session = self._manager.open(token)
        session.get(WRITTEN)
        return session

    def save(self, opened: Session) -> None:
        """See :meth:`Contender.save`."""
        opened[WRITTEN] = opened[WRITTEN] + 1
        self._manager.commit(opened)

    def logout(self, token: str) -> None:
        """See :meth:`Contender.logout`."""
        session = self._manager.open(token)
        session.end()
        self._manager.commit(session)


def contenders(folder: Path) -> dict[str, Contender]:
    """Return everybody by name, with their files in ``folder``."""
    store = EmbeddedStore(folder / "core" / "sessions.sqlite3")
    keyring = Keyring(["a secret of the benchmark, 50 characters or more long"])
    return {
        LOCMEM: DjangoEngine("django.contrib.sessions.backends.cache"),
        FILE: DjangoEngine("django.contrib.sessions.backends.file"),
        DB: DjangoEngine("django.contrib.sessions.backends.db"),
        DB_OURS: DjangoEngine("sojourn.django.backends.db"),
        COOKIES: DjangoEngine("django.contrib.sessions.backends.signed_cookies"),
        SEALED: DjangoEngine("sojourn.django.backends.signed_cookies"),
        FIRST: DjangoEngine("bench.engines.sojourn_cookies_first"),
        MEMORY: DjangoEngine("sojourn.django.backends.cache"),
        EMBEDDED: DjangoEngine("sojourn.django.backends.embedded"),
        CORE: Core(Manager(store, keyring, subject_of=_user)),
        DICT: RawDict(),
        SQLITE: RawSqlite(folder / "raw" / "sessions.sqlite3"),
    }


def _user(session: Mapping[str, Any]) -> str | None:
    user = session.get(READ)
    return None if user is None else str(user)
