"""Django's session interface on a Sojourn manager.

``SessionBase`` keeps the mapping and the expiry methods; what touches the store is replaced, loading in
:mod:`sojourn.django.opening`, the rest here.  A method and its ``a…`` twin differ in which manager they call,
and share what they do before and after.

Where it differs from Django's engines, on purpose:

* ``modified`` is also true after a change inside a nested value.
* A save writes only the keys this request changed, onto whatever is stored by then.
* An unknown cookie is left alone: only ``flush()`` deletes it.
* ``cycle_key()`` and ``save()`` of a session that was ended meanwhile do not bring it back.
* With ``SOJOURN = {"SLIDING": True}`` a session that was only read counts as modified once its expiry is due
  to be moved, so that any middleware saves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from sojourn.django.labels import browser_label
from sojourn.django.opening import OpenedSession
from sojourn.errors import SessionError

if TYPE_CHECKING:
    from django.http import HttpRequest

    from sojourn.session import Session

__all__ = ["SojournSession"]


class SojournSession(OpenedSession):
    """A Django session kept by Sojourn.  Each engine's ``SessionStore`` is one and says where."""

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
