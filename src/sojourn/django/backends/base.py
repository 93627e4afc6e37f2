"""Django's session interface on a Sojourn manager.

``SessionBase`` keeps the mapping and the expiry methods; this replaces what touches the store.  A method and
its ``a…`` twin differ in which manager they call, and share what they do before and after.

Where it differs from Django's engines, on purpose:

* ``modified`` is also true after a change inside a nested value.
* A save writes only the keys this request changed, onto whatever is stored by then.
* An unknown cookie is left alone: only ``flush()`` deletes it.
* ``cycle_key()`` and ``save()`` of a session that was ended meanwhile do not bring it back.
* With ``SOJOURN = {"SLIDING": True}`` a session that was only read counts as modified once its expiry is due
  to be moved, so that any middleware saves it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sojourn.django.engine import engine_of
from sojourn.django.labels import browser_label
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

    from django.http import HttpRequest

    from sojourn.django.engine import Engine
    from sojourn.session import Changes, Session

__all__ = ["SojournSession"]

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


class SojournSession(SessionBase):
    """A Django session kept by Sojourn.  Each engine's ``SessionStore`` is one and says where."""

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

    # Save

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - as Django calls it
        """Store what this request changed, and move the expiry.  At most one write, if alone.

        Raises ``UpdateError`` if the session was ended meanwhile, ``CreateError`` if ``must_create`` and it
        is stored already, ``sojourn.errors.EncodeError`` for a value that cannot be stored.
        """
        session = self._to_save(self._get_session(no_load=must_create), must_create=must_create)
        try:
            self._engine.manager.commit(session, saves=True, idle_timeout=self.get_session_cookie_age())
        except SessionError as error:
            self._note(error)
            raise
        self._saved(session)

    async def asave(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - as Django calls it
        """See :meth:`save`."""
        session = self._to_save(await self._aget_session(no_load=must_create), must_create=must_create)
        try:
            await self._engine.async_manager.commit(
                session, saves=True, idle_timeout=self.get_session_cookie_age()
            )
        except SessionError as error:
            self._note(error)
            raise
        self._saved(session)

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
        self.modified = False

    def _to_save(self, session: Session, *, must_create: bool) -> Session:
        if must_create and session.record is not None:
            raise CreateError("the session is stored already")
        if self._interrupted:
            raise UpdateError("the session was ended or has expired during the request; nothing was saved")
        return session

    def _saved(self, session: Session) -> None:
        self._key = session.token
        self._unknown = False
        self._discounted = None

    # Begin, renew, end

    def create(self) -> None:
        """Store the present data as a session of its own, under a new key."""
        self._begin(self._get_session(no_load=True))
        self.save()

    async def acreate(self) -> None:
        """See :meth:`create`."""
        self._begin(await self._aget_session(no_load=True))
        await self.asave()

    def _begin(self, former: Session) -> None:
        if former.record is not None:
            self._opened = fresh = self._engine.manager.new_session()
            fresh.update(former)
        self._renewed = True
        self._interrupted = False
        self.modified = True

    def cycle_key(self) -> None:
        """Give the session a new key; the old one is dead from here on.

        Raises ``SessionInterrupted`` if a signed-in session was ended meanwhile.
        """
        self._renew(self._get_session())
        try:
            self.save()
        except UpdateError as error:
            raise SessionInterrupted(str(error)) from error

    async def acycle_key(self) -> None:
        """See :meth:`cycle_key`."""
        self._renew(await self._aget_session())
        try:
            await self.asave()
        except UpdateError as error:
            raise SessionInterrupted(str(error)) from error

    def _renew(self, session: Session) -> None:
        self._renewed = True
        self.modified = True
        if session.record is not None:
            session.renew()

    def clear(self) -> None:
        """Remove every key; at the save, what is set after this replaces whatever is stored."""
        self._session.clear()
        self.modified = True

    def flush(self) -> None:
        """End the session, and any other whose key the browser sent; the response deletes the cookie."""
        self.delete()
        for other in self._others:
            self.delete(other)
        self._start_over()

    async def aflush(self) -> None:
        """See :meth:`flush`."""
        await self.adelete()
        for other in self._others:
            await self.adelete(other)
        self._start_over()

    def _start_over(self) -> None:
        self._opened = self._engine.manager.new_session()
        self._key = None
        self._unknown = self._interrupted = False
        self._others = ()
        self._flushed = True
        self.accessed = True
        self.modified = True  # pyright: ignore[reportIncompatibleVariableOverride]  # Django's: an attribute

    def delete(self, session_key: str | None = None) -> None:
        """End the session of ``session_key``, or this one, also if it was renewed meanwhile.  One delete."""
        own, manager = self._own(session_key), self._engine.manager
        try:
            if own is None:
                manager.delete(self._key if session_key is None else session_key)
            else:
                manager.end(own)
        except SessionError as error:
            self._note(error)
            raise

    async def adelete(self, session_key: str | None = None) -> None:
        """See :meth:`delete`."""
        own, manager = self._own(session_key), self._engine.async_manager
        try:
            if own is None:
                await manager.delete(self._key if session_key is None else session_key)
            else:
                await manager.end(own)
        except SessionError as error:
            self._note(error)
            raise

    def _own(self, session_key: str | None) -> Session | None:
        """Return the session behind this one if it was loaded and is the one meant."""
        session = self._opened
        if session_key is not None or session is None or session.token != self._key:
            return None
        return session

    @classmethod
    def clear_expired(cls) -> None:
        """Remove every expired session, in batches with pauses."""
        cls.get_engine().manager.purge()

    @classmethod
    async def aclear_expired(cls) -> None:
        """See :meth:`clear_expired`."""
        await cls.get_engine().async_manager.purge()

    # Sign-in

    def signed_in(self, *, label: str) -> None:
        """Take note of a sign-in: a new key (ASVS 7.2.4), a new absolute timeout, a label for listings.

        Django renews the key when somebody signs in, but not when the same user signs in again.
        """
        session = self.loaded()
        session.label = label
        session.restarts = True
        if not self._renewed and session.record is not None:
            self.cycle_key()


def _note_sign_in(request: HttpRequest | None = None, **_: object) -> None:
    session = getattr(request, "session", None)
    if request is not None and isinstance(session, SojournSession):
        session.signed_in(label=browser_label(request.META.get("HTTP_USER_AGENT", "")))


user_logged_in.connect(_note_sign_in, dispatch_uid="sojourn.django.backends")
