"""Django's own engines as the former home of sessions, which :mod:`sojourn.adoption` takes over.

Django's cache engine pickles.  What it stored is taken from the server as it is
(:mod:`sojourn.django.caches.former`) and read with an unpickler that knows plain data and the classes the
project names in ``SOJOURN["ADOPT_CLASSES"]``, and nothing else (:mod:`sojourn.django.pickles`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.backends.cache import KEY_PREFIX
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookieSession
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.utils.module_loading import import_string

from sojourn.django.caches.former import Pickled, former_cache
from sojourn.django.conf import SAME_NAME
from sojourn.django.pickles import UnexpectedClassError, unpickled
from sojourn.errors import StoreUnavailableError
from sojourn.project import DJANGOS
from sojourn.token import Token

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from django.contrib.sessions.backends.base import SessionBase

    from sojourn.django.conf import SojournSettings

__all__ = ["AsyncDjangoEngines", "DjangoCache", "DjangoEngine", "DjangoEngines", "engines_to_adopt_from"]

logger = logging.getLogger("sojourn")

_APP: Final = "django.contrib.sessions"
_CACHE: Final = f"{DJANGOS}cache"
_DB: Final = f"{DJANGOS}db"
_TABLES: Final = (_DB, f"{DJANGOS}cached_db")
_KEY: Final = re.compile(r"[a-z0-9]{32}", re.ASCII)


class DjangoEngine:
    """One of Django's engines, by its dotted path."""

    def __init__(self, path: str) -> None:
        try:
            self._store: type[SessionBase] = import_module(path).SessionStore
        except (ImportError, AttributeError) as error:
            raise ImproperlyConfigured(
                f"SOJOURN['ADOPT'] names {path!r}, which has no SessionStore: name one of Django's engines, "
                f"such as {_DB!r}, or None"
            ) from error
        if issubclass(self._store, SignedCookieSession) or hasattr(self._store, "get_engine"):
            raise ImproperlyConfigured(
                f"sessions cannot be taken over from {path!r}: name one of Django's engines that keep them "
                "on the server (cache, cached_db, db, file), or None"
            )

    def load(self, token: str) -> Mapping[str, Any] | None:
        """Return the data of the living session of ``token``, or ``None``."""
        store = self._reader(token)
        data = store.load()
        if store.session_key == token:
            return data
        if store.session_key is not None:  # for an expired one, Django's file engine has begun another
            store.delete()
        return None

    async def aload(self, token: str) -> Mapping[str, Any] | None:
        """See :meth:`load`."""
        store = self._reader(token)
        data = await store.aload()
        if store.session_key == token:
            return data
        if store.session_key is not None:
            await store.adelete()
        return None

    def delete(self, token: str) -> None:
        """Delete the session of ``token``."""
        self._store(token).delete()

    async def adelete(self, token: str) -> None:
        """See :meth:`delete`."""
        await self._store(token).adelete()

    def _reader(self, token: str) -> SessionBase:
        """Return the session to load."""
        return self._store(token)


class DjangoTable(DjangoEngine):
    """Django's ``db`` or ``cached_db``, whose table a project may never have made."""

    def __init__(self, path: str) -> None:
        if not apps.is_installed(_APP):
            raise ImproperlyConfigured(
                f"sessions cannot be taken over from {path!r} without its table: add {_APP!r} to "
                "INSTALLED_APPS, or set SOJOURN = {'ADOPT': None}"
            )
        super().__init__(path)
        self._exists: bool | None = None  # not looked yet

    def load(self, token: str) -> Mapping[str, Any] | None:
        """Return the data of the living session of ``token``, or ``None``."""
        return super().load(token) if self._table_exists() else None

    async def aload(self, token: str) -> Mapping[str, Any] | None:
        """See :meth:`load`."""
        return await super().aload(token) if await sync_to_async(self._table_exists)() else None

    def delete(self, token: str) -> None:
        """Delete the session of ``token``."""
        if self._table_exists():
            super().delete(token)

    async def adelete(self, token: str) -> None:
        """See :meth:`delete`."""
        if await sync_to_async(self._table_exists)():
            await super().adelete(token)

    def _table_exists(self) -> bool:
        """Whether there is a table, which is asked once in the life of the process."""
        if self._exists is None:
            model: Any = import_string(f"{_DB}.SessionStore").get_model_class()
            connection = connections[router.db_for_read(model)]
            self._exists = model._meta.db_table in connection.introspection.table_names()  # noqa: SLF001
        return self._exists

    def _reader(self, token: str) -> SessionBase:
        """Return the session to load: of ``cached_db`` the database's, for its cache holds pickles."""
        reader: SessionBase = import_string(f"{_DB}.SessionStore")(token)
        return reader


class DjangoCache:
    """Django's cache engine, on the alias that ``SESSION_CACHE_ALIAS`` names.

    What may keep a task waiting is asked in a thread, once for each session that is taken over.
    """

    def __init__(self, given: SojournSettings) -> None:
        self._cache = former_cache(settings.SESSION_CACHE_ALIAS, timeout=given.TIMEOUT)
        self._allowed = frozenset(given.ADOPT_CLASSES)

    def load(self, token: str) -> Mapping[str, Any] | None:
        """Return the data of the living session of ``token``, or ``None``."""
        stored = self._cache.load(Token(KEY_PREFIX + token))
        if stored is None:
            return None
        try:
            data = unpickled(stored, self._allowed) if isinstance(stored, Pickled) else stored
        except UnexpectedClassError as error:
            logger.error(  # noqa: TRY400 - the message says it all
                "a session of %s holds a %s and is not taken over: if your project put it there, add "
                "'%s' to SOJOURN['ADOPT_CLASSES']",
                _CACHE,
                error,
                error,
            )
            return None
        except Exception as error:  # noqa: BLE001 - a damaged pickle may raise anything
            logger.error("a session of %s cannot be read (%s)", _CACHE, type(error).__name__)  # noqa: TRY400
            return None
        if isinstance(data, Mapping):
            return data
        logger.error("what %s has under a session's key is no session but a %s", _CACHE, type(data).__name__)
        return None

    async def aload(self, token: str) -> Mapping[str, Any] | None:
        """See :meth:`load`."""
        if self._cache.thread_sensitive is None:
            return self.load(token)
        return await sync_to_async(self.load, thread_sensitive=self._cache.thread_sensitive)(token)

    def delete(self, token: str) -> None:
        """Delete the session of ``token``."""
        self._cache.delete(Token(KEY_PREFIX + token))

    async def adelete(self, token: str) -> None:
        """See :meth:`delete`."""
        if self._cache.thread_sensitive is None:
            self.delete(token)
        else:
            await sync_to_async(self.delete, thread_sensitive=self._cache.thread_sensitive)(token)


#: One of those to adopt from.
_Engine: TypeAlias = "DjangoEngine | DjangoCache"


class _Engines:
    """Django engines to adopt from, in order."""

    def __init__(self, engines: Sequence[_Engine]) -> None:
        self._engines = tuple(engines)

    def accepts(self, token: str) -> bool:
        """Whether ``token`` has the format of Django's session keys."""
        return _KEY.fullmatch(token) is not None


class DjangoEngines(_Engines):
    """A :class:`sojourn.adoption.Former`."""

    def load(self, token: str) -> Mapping[str, Any] | None:
        """See :meth:`sojourn.adoption.Former.load`."""
        with _translated(token):
            return next((data for engine in self._engines if (data := engine.load(token))), None)

    def delete(self, token: str) -> None:
        """See :meth:`sojourn.adoption.Former.delete`."""
        with _translated(token):
            for engine in self._engines:
                engine.delete(token)


class AsyncDjangoEngines(_Engines):
    """A :class:`sojourn.adoption.AsyncFormer`."""

    async def load(self, token: str) -> Mapping[str, Any] | None:
        """See :meth:`sojourn.adoption.AsyncFormer.load`."""
        with _translated(token):
            for engine in self._engines:
                if data := await engine.aload(token):
                    return data
        return None

    async def delete(self, token: str) -> None:
        """See :meth:`sojourn.adoption.AsyncFormer.delete`."""
        with _translated(token):
            for engine in self._engines:
                await engine.adelete(token)


@contextmanager
def _translated(token: str) -> Generator[None]:
    """Let whatever an engine raises mean that it did not answer.

    Its own error goes no further: drivers put the key into their messages, and its frames hold it.
    """
    try:
        yield
    except ImproperlyConfigured:
        raise
    except Exception as error:  # noqa: BLE001 - engines and drivers raise what they like
        said = f"{type(error).__name__}: {error}".replace(token, "…")
        raise StoreUnavailableError(
            f"Django's engine, from which sessions are taken over (SOJOURN['ADOPT']), did not answer: {said}"
        ) from None


def engines_to_adopt_from(given: SojournSettings, same_name: str | None) -> list[DjangoEngine | DjangoCache]:
    """Return the engines ``SOJOURN["ADOPT"]`` names; by default Django's of the ``same_name``."""
    adopt = given.ADOPT
    if adopt == SAME_NAME:
        adopt = None if same_name is None else f"{DJANGOS}{same_name}"
        if adopt in _TABLES and not apps.is_installed(_APP):
            return []  # nobody can have used it
    if adopt is None:
        return []
    paths = [adopt] if isinstance(adopt, str) else list(adopt)
    return [_engine(path, given) for path in paths]


def _engine(path: str, given: SojournSettings) -> DjangoEngine | DjangoCache:
    if path == _CACHE:
        return DjangoCache(given)
    return DjangoTable(path) if path in _TABLES else DjangoEngine(path)
