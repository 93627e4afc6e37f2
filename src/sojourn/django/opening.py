"""Which session a request has, what is in it, and whether it was changed: what a page that only reads needs.

What stores, renews and ends it stands on this, in :mod:`sojourn.django.backends.base`.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sojourn.django.engine import engine_of
from sojourn.errors import (
    ConfigurationError,
    EncodeError,
    SessionError,
    SessionGoneError,
    StoreUnavailableError,
)
from sojourn.policy import Action
from sojourn.token import Token

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from sojourn.django.engine import Engine
    from sojourn.session import Changes, Session

__all__ = ["OpenedSession"]

logger = logging.getLogger("sojourn")

#: Characters of the shortest key that Django takes for one.
_SHORTEST_KEY: Final = 8
#: How many of the session cookies in one request are looked up.
_MOST_CANDIDATES: Final = 4


class _LeftAlone:
    """Whether the session is empty, when neither yes nor no will do.

    Django's middleware deletes the cookie of an empty session and, if asked to save, saves one that is not.
    It asks first "delete, if empty?", then "save, unless empty?"; both answers are no.
    """

    def __init__(self) -> None:
        self._answer = True

    def __bool__(self) -> bool:
        self._answer = not self._answer
        return self._answer


class OpenedSession(SessionBase):
    """A Django session as far as it is read: loaded at the first access, from the engine of its class."""

    #: Loaded at the first access; holds the data, and where it stands in the store.
    _opened: Session | None = None
    #: What the browser sent, then what it has to send; ``None``: nothing, or nothing that could be a key.
    _key: str | None = None

    accessed = False
    _modified = False
    #: Whether this request has given the session a new key already.
    _renewed = False
    #: Changes the application does not count, by ``modified = False``.
    _discounted: Changes | None = None
    #: Further keys the browser sent, of which one may be the session's.
    _others: tuple[str, ...] = ()
    _flushed = False
    #: Whether a save found that the session had been ended meanwhile.
    _interrupted = False
    #: What the store said when it did not answer; ``None`` if it always did.  Whatever was made of such a
    #: session may rest on ignorance: an application that can do without it sets this to ``None``.
    unavailable: str | None = None
    #: Whether Sojourn's middleware says so in the log.
    _told_elsewhere = False

    @classmethod
    def get_engine(cls) -> Engine:
        """Return the engine that keeps these sessions.  Raises ``ImproperlyConfigured``."""
        raise NotImplementedError("each engine's SessionStore says where sessions are kept")

    def __init__(self, session_key: str | None = None) -> None:
        self._engine = engine_of(type(self))
        if session_key is not None:
            self._session_key = session_key
        #: Whether the browser sent something that is no session: its cookie is left alone.
        self._unknown = session_key is not None and self._key is None

    # What Django calls these: the key for applications, the key to be set, and the data if they were loaded.

    @property
    def session_key(self) -> str | None:
        """The key, a secret: who has it has the session.  ``None`` until the session is stored."""
        return self._key

    @property
    def _session_key(self) -> str | None:
        return self._key

    @_session_key.setter
    def _session_key(self, value: str | None) -> None:
        self._key = Token(value) if value is not None and len(value) >= _SHORTEST_KEY else None

    def _get_session_key(self) -> str | None:
        return self._key

    def _set_session_key(self, value: str | None) -> None:
        self._session_key = value

    @property
    def _session_cache(self) -> Session:
        if self._opened is None:
            raise AttributeError("the session was not loaded")
        return self._opened

    @_session_cache.setter
    def _session_cache(self, session: Session) -> None:
        self._opened = session

    @_session_cache.deleter
    def _session_cache(self) -> None:
        self._opened = None

    @classmethod
    def of_cookies(cls, values: Sequence[str]) -> Self:
        """Return the session a browser names by the values of its session cookies, in their order.

        Several are no error: they may differ in path, domain or partition.  The first that names a living
        session is the one; it takes a load each to find out, for at most four.
        """
        if len(values) > 1:
            accepts = engine_of(cls).manager.accepts
            values = [value for value in dict.fromkeys(values) if accepts(value)][:_MOST_CANDIDATES]
        session = cls(values[0] if values else None)
        session._others = tuple(map(Token, values[1:]))
        session._told_elsewhere = True
        return session

    @property
    def serializer(self) -> Any:
        """The class ``SESSION_SERIALIZER`` names, for ``encode()`` and ``decode()``."""
        return import_string(settings.SESSION_SERIALIZER)

    @property
    def public_id(self) -> str | None:
        """The part of the lookup key that may be shown; ``None`` while the session is not stored."""
        return self.loaded().public_id

    # Whether there is anything to save, and to send

    @property
    def modified(self) -> bool:
        """Whether the session was changed, also inside a nested value."""
        session = self._opened
        if session is None:
            return self._modified
        if self._unknown and not session:
            return False
        return (
            self._modified
            or session.is_modified(beyond=self._discounted)
            or (self._engine.manager.policy.sliding and self._is_due_to_slide(session))
        )

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value
        session = self._opened
        self._discounted = None
        if session is not None and not value:
            with suppress(EncodeError):  # then there is something to report, whatever was said
                self._discounted = session.changes()

    def get_session_cookie_age(self) -> int:
        """Return the seconds without activity that the session, and its cookie, have unless it says others.

        ``SESSION_COOKIE_AGE``, or ``SOJOURN["ANONYMOUS_TIMEOUT"]`` as long as nobody has signed in.
        """
        age = super().get_session_cookie_age()
        session = self._opened
        return age if session is None else self._engine.manager.idle_timeout_of(session, age)

    def _is_due_to_slide(self, session: Session) -> bool:
        if session.record is None:
            return False
        manager = self._engine.manager
        plan = manager.plan(session, idle_timeout=self.get_session_cookie_age())
        return plan.decision.action is Action.TOUCH

    @property
    def holds_nothing(self) -> bool:
        """Whether, as far as was looked, nothing is stored and there is nothing to store."""
        session = self._opened
        return session is None or (session.record is None and not session)

    @property
    def flushed(self) -> bool:
        """Whether the session was ended, and none begun since: the browser has to forget its cookie."""
        return self._flushed and self.holds_nothing

    def is_empty(self) -> bool:
        """Whether there is nothing to keep, so that the middleware may delete the cookie.

        Not for a cookie that is merely unknown: a parallel request may have renewed the session.
        """
        will_be_saved = self._modified or settings.SESSION_SAVE_EVERY_REQUEST
        if will_be_saved and self._key is not None and self._opened is None:
            self._opened = self.load()  # the save would, but an unknown cookie is not saved
        if self._key is not None or self._opened:
            return False
        return cast("bool", _LeftAlone()) if self._unknown else True

    # Load

    def loaded(self) -> Session:
        """Return the session behind this one, loaded now if it was not yet."""
        return self._get_session()

    async def aloaded(self) -> Session:
        """See :meth:`loaded`."""
        return await self._aget_session()

    def load(self) -> Session:  # type: ignore[override]  # a mapping, as what Django loads is
        """Return the stored session, or an empty one.  One load for each key the browser sent."""
        manager = self._engine.manager
        try:
            session = manager.open(self._key)
            for other in self._others:
                if session.token is not None:
                    break
                session = manager.open(other)
        except SessionError as error:
            self._note(error)
            raise
        return self._found(session)

    async def aload(self) -> Session:  # type: ignore[override]  # likewise
        """See :meth:`load`."""
        manager = self._engine.async_manager
        try:
            session = await manager.open(self._key)
            for other in self._others:
                if session.token is not None:
                    break
                session = await manager.open(other)
        except SessionError as error:
            self._note(error)
            raise
        return self._found(session)

    def _found(self, session: Session) -> Session:
        if session.token is None:
            self._key = None
            self._unknown = self._unknown or session.unknown_token
        elif self._others:
            self._key = session.token
        return session

    def _get_session(self, no_load: bool = False) -> Session:  # noqa: FBT001, FBT002 - as Django calls it
        """Return the session, loaded at the first access; a new one without a key or with ``no_load``."""
        self.accessed = True
        session = self._opened
        if session is None:
            fresh = no_load or self._key is None
            session = self._opened = self._engine.manager.new_session() if fresh else self.load()
        return session

    async def _aget_session(self, no_load: bool = False) -> Session:  # noqa: FBT001, FBT002 - as Django calls it
        """See :meth:`_get_session`."""
        self.accessed = True
        session = self._opened
        if session is None:
            fresh = no_load or self._key is None
            session = self._opened = self._engine.manager.new_session() if fresh else await self.aload()
        return session

    _session = property(_get_session)

    def exists(self, session_key: str | None) -> bool:
        """Whether the key names a living session.  At most one load."""
        return self._engine.manager.exists(session_key)

    async def aexists(self, session_key: str | None) -> bool:
        """See :meth:`exists`."""
        return await self._engine.async_manager.exists(session_key)

    # What went wrong

    def _note(self, error: SessionError) -> None:
        """Take note of what went wrong; raise what Django expects in place of some of our errors."""
        if isinstance(error, StoreUnavailableError):
            self.unavailable = str(error)
            if not self._told_elsewhere:  # what Django says of its 500 goes to nobody but ADMINS, by default
                logger.error("%s", error)
        elif isinstance(error, ConfigurationError):
            raise ImproperlyConfigured(str(error)) from error
        elif isinstance(error, SessionGoneError):
            self.interrupt()
            raise UpdateError(str(error)) from error

    def interrupt(self) -> None:
        """Take note that the session was ended meanwhile: nothing of it is saved any more."""
        self._interrupted = True
        self.modified = False  # pyright: ignore[reportIncompatibleVariableOverride]  # Django's: an attribute
