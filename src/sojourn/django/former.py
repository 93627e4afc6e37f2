"""Django's own engines as the former home of sessions, which :mod:`sojourn.adoption` takes over.

Django's cache engines pickle.  What they stored is read with an unpickler that knows plain data and the
classes the project names in ``SOJOURN["ADOPT_CLASSES"]``, and nothing else.
"""

from __future__ import annotations

import io
import logging
import pickle
import re
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookieSession
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sojourn.django.conf import SAME_NAME
from sojourn.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from django.contrib.sessions.backends.base import SessionBase

    from sojourn.django.conf import SojournSettings

__all__ = ["AsyncDjangoEngines", "DjangoEngine", "DjangoEngines", "engines_to_adopt_from"]

logger = logging.getLogger("sojourn")

_PREFIX: Final = "django.contrib.sessions.backends."
_CACHE: Final = f"{_PREFIX}cache"
_CACHED_DB: Final = f"{_PREFIX}cached_db"
_KEY: Final = re.compile(r"[a-z0-9]{32}", re.ASCII)
_PLAIN: Final = frozenset(
    {
        "builtins.bytearray",
        "builtins.complex",
        "builtins.frozenset",
        "builtins.set",
        "collections.OrderedDict",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "django.utils.safestring.SafeString",
        "uuid.UUID",
        "zoneinfo.ZoneInfo._unpickle",
    }
)


class _UnexpectedClassError(pickle.UnpicklingError):
    """A pickle names a class that is neither plain data nor allowed."""


class _Unpickler(pickle.Unpickler):
    """Reads plain data and instances of the classes in ``allowed``."""

    def __init__(self, pickled: bytes, allowed: frozenset[str]) -> None:
        super().__init__(io.BytesIO(pickled))
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class; raises ``_UnexpectedClassError`` naming any other."""
        path = f"{module}.{name}"
        if path in _PLAIN or path in self._allowed:
            return super().find_class(module, name)
        raise _UnexpectedClassError(path)


class DjangoEngine:
    """One of Django's engines, by its dotted path."""

    def __init__(self, path: str, classes: Sequence[str]) -> None:
        try:
            self._store: type[SessionBase] = import_module(path).SessionStore
        except (ImportError, AttributeError) as error:
            raise ImproperlyConfigured(
                f"SOJOURN['ADOPT'] names {path!r}, which has no SessionStore: name one of Django's engines, "
                f"such as {_PREFIX + 'db'!r}, or None"
            ) from error
        if issubclass(self._store, SignedCookieSession) or hasattr(self._store, "get_engine"):
            raise ImproperlyConfigured(
                f"sessions cannot be taken over from {path!r}: name one of Django's engines that keep them "
                "on the server (cache, cached_db, db, file), or None"
            )
        if path == _CACHE and not isinstance(caches[settings.SESSION_CACHE_ALIAS], LocMemCache):
            raise ImproperlyConfigured(
                f"sessions cannot be taken over from the cache {settings.SESSION_CACHE_ALIAS!r}: only from "
                "LocMemCache; set SOJOURN = {'ADOPT': None}"
            )
        self._path = path
        self._allowed = frozenset(classes)

    def load(self, token: str) -> Mapping[str, Any] | None:
        """Return the data of the living session of ``token``, or ``None``."""
        if self._path == _CACHE:
            return self._from_cache(token)
        store = self._reader(token)
        data = store.load()
        if store.session_key == token:
            return data
        if store.session_key is not None:  # for an expired one, Django's file engine has begun another
            store.delete()
        return None

    async def aload(self, token: str) -> Mapping[str, Any] | None:
        """See :meth:`load`."""
        if self._path == _CACHE:
            return self._from_cache(token)
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
        """Return the session to load: of ``cached_db`` the database's, for its cache holds pickles."""
        if self._path == _CACHED_DB:
            reader: SessionBase = import_string(f"{_PREFIX}db.SessionStore")(token)
            return reader
        return self._store(token)

    def _from_cache(self, token: str) -> Mapping[str, Any] | None:
        cache: Any = caches[settings.SESSION_CACHE_ALIAS]
        key = cache.make_and_validate_key(f"{import_module(_CACHE).KEY_PREFIX}{token}")
        with cache._lock:  # noqa: SLF001 - get() would unpickle whatever is there
            pickled = None if cache._has_expired(key) else cache._cache[key]  # noqa: SLF001
        if pickled is None:
            return None
        try:
            data: Mapping[str, Any] = _Unpickler(pickled, self._allowed).load()
        except _UnexpectedClassError as error:
            logger.error(  # noqa: TRY400 - the message says it all
                "a session of %s holds a %s and is not taken over: if your project put it there, add "
                "'%s' to SOJOURN['ADOPT_CLASSES']",
                self._path,
                error,
                error,
            )
            return None
        return data


class _Engines:
    """Django engines to adopt from, in order."""

    def __init__(self, engines: Sequence[DjangoEngine]) -> None:
        self._engines = tuple(engines)

    def accepts(self, token: str) -> bool:
        """Whether ``token`` has the format of Django's session keys."""
        return _KEY.fullmatch(token) is not None


class DjangoEngines(_Engines):
    """A :class:`sojourn.adoption.Former`."""

    def load(self, token: str) -> Mapping[str, Any] | None:
        """See :meth:`sojourn.adoption.Former.load`."""
        with _translated():
            return next((data for engine in self._engines if (data := engine.load(token))), None)

    def delete(self, token: str) -> None:
        """See :meth:`sojourn.adoption.Former.delete`."""
        with _translated():
            for engine in self._engines:
                engine.delete(token)


class AsyncDjangoEngines(_Engines):
    """A :class:`sojourn.adoption.AsyncFormer`."""

    async def load(self, token: str) -> Mapping[str, Any] | None:
        """See :meth:`sojourn.adoption.AsyncFormer.load`."""
        with _translated():
            for engine in self._engines:
                if data := await engine.aload(token):
                    return data
        return None

    async def delete(self, token: str) -> None:
        """See :meth:`sojourn.adoption.AsyncFormer.delete`."""
        with _translated():
            for engine in self._engines:
                await engine.adelete(token)


@contextmanager
def _translated() -> Generator[None]:
    """Let whatever an engine raises mean that it did not answer."""
    try:
        yield
    except ImproperlyConfigured:
        raise
    except Exception as error:
        raise StoreUnavailableError(
            "Django's engine, from which sessions are taken over (SOJOURN['ADOPT']), did not answer: "
            f"{type(error).__name__}: {error}"
        ) from error


def engines_to_adopt_from(given: SojournSettings, same_name: str | None) -> list[DjangoEngine]:
    """Return the engines ``SOJOURN["ADOPT"]`` names; by default Django's of the ``same_name``."""
    adopt = given.ADOPT
    if adopt == SAME_NAME:
        adopt = None if same_name is None else f"{_PREFIX}{same_name}"
    if adopt is None:
        return []
    paths = [adopt] if isinstance(adopt, str) else list(adopt)
    return [DjangoEngine(path, given.ADOPT_CLASSES) for path in paths]
