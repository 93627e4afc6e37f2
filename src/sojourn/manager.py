"""From a token to a session and back: open → commit → revoke.

The logic stands once, in :mod:`sojourn.lifecycle`, as generators of store operations; :class:`Manager`
carries them out on a :class:`~sojourn.store.Store`, :class:`AsyncManager` on an
:class:`~sojourn.store.AsyncStore`.  A request reads like this::

    session = manager.open(token)          # at most one load
    session["basket"].append("apple")
    manager.commit(session)                # nothing, or one touch, update, create, move or delete
    session.token                          # what the cookie has to carry now

Any call may raise ``StoreUnavailableError``: the store did not answer, so nobody knows whether the session
exists, and it must not be taken for absent.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Unpack

from sojourn.carriers import CookieSteps, Revocations
from sojourn.carriers.nowhere import AsyncNowhere, Nowhere
from sojourn.errors import ConflictError, DuplicateKeyError, SessionGoneError
from sojourn.lifecycle import SessionSteps
from sojourn.policy import Action
from sojourn.purging import PURGE_RATE
from sojourn.steps import run, run_async
from sojourn.store import AsyncStore, Store
from sojourn.token import is_token
from sojourn.turns import AsyncTurns, Turns

if TYPE_CHECKING:
    from sojourn.carriers import CookieFormer, CookieOptions
    from sojourn.keyring import Keyring
    from sojourn.lifecycle import ManagerSettings, Plan
    from sojourn.listing import SessionSummary
    from sojourn.purging import Tell
    from sojourn.session import Session

__all__ = ["AsyncCookieManager", "AsyncManager", "CookieManager", "Manager"]

#: What other requests may be doing to the same record: these take turns inside the process.
_REPLACING: Final = (Action.UPDATE, Action.MOVE)


class Manager(SessionSteps[Store]):
    """Sessions on a :class:`~sojourn.store.Store`.  Safe for use by many threads at once."""

    def __init__(self, store: Store, keyring: Keyring, **settings: Unpack[ManagerSettings]) -> None:
        super().__init__(store, keyring, **settings)
        self._turns = Turns()

    def open(self, token: str | None) -> Session:
        """Return the session of ``token``, or an empty one if there is none.  At most one load.

        ``token`` is what the cookie holds, ``None`` without one.  No session, and no error: a malformed
        token (no I/O), an unknown or expired one, a record that is damaged or sealed under a secret not
        listed any more (logged).  ``session.unknown_token`` then says that the browser sent one.
        """
        if token is None or not is_token(token):
            return run(self.open_steps(token))
        # What nearly every request does takes no steps: they would cost a sixth of it.
        return self._opened(token, self.store.load(self._recorder.key(token)))

    def commit(self, session: Session, *, saves: bool = False, idle_timeout: int | None = None) -> Action:
        """Do what the end of a request needs, and return what that was.  At most one write, if alone.

        Other requests' changes to the same session are kept: only what this one assigned or removed is
        written, onto the fresh record if need be.  ``saves`` and ``idle_timeout``: see :meth:`plan`.
        Raises ``EncodeError`` (nothing was written), ``SessionGoneError`` (the session was ended or has
        expired meanwhile; it stays dead), ``ConflictError`` (both requests changed the same unit, or there
        was no end of conflicts; nothing was written).
        """
        plan = self.plan(session, saves=saves, idle_timeout=idle_timeout)
        if session.record is None or plan.decision.action not in _REPLACING:
            return self._carry_out(session, plan)
        turn = self._turns.of(session.record.key)
        ours = turn.acquire(blocking=False) or turn.acquire(timeout=self._timeout / 2)
        try:
            return self._carry_out(session, plan)
        finally:
            if ours:
                turn.release()

    def _carry_out(self, session: Session, plan: Plan) -> Action:
        """Do what ``commit_steps`` does.  The one call of nearly every save takes no steps, either."""
        draft = self.draft(session, plan)
        if draft is None:
            return run(self.commit_steps(session, plan))
        call, *arguments = draft.call(self.store)
        try:
            version = call(*arguments)
        except (DuplicateKeyError, ConflictError, SessionGoneError) as refusal:
            run(self.refused_steps(session, plan, draft, refusal))
        else:
            draft.stored(session, version)
        return plan.decision.action

    def exists(self, token: str | None) -> bool:
        """Whether ``token`` names a living session.  At most one load."""
        return run(self.exists_steps(token))

    def delete(self, token: str | None) -> bool:
        """End the session of ``token``; return whether it lived.  At most one delete."""
        return run(self.delete_steps(token))

    def end(self, session: Session) -> bool:
        """End ``session`` in the store; return whether it lived.  ``session`` itself stays as it is.

        If another request has renewed it since it was opened, it ends under its new token, given a store with
        an index of subjects and a session with a subject.  One delete, if nobody was in between.
        """
        return run(self.end_steps(session))

    def revoke(self, key: str) -> bool:
        """End the session listed under ``key``; return whether it lived (ASVS 7.4.2, 7.5.2)."""
        return run(self.revoke_steps(key))

    def sessions_of(self, subject: str) -> list[SessionSummary]:
        """Return the subject's living sessions.

        Raises ``ConfigurationError`` if the store keeps no index.
        """
        return run(self.sessions_of_steps(subject))

    def revoke_subject(self, subject: str, *, except_session: Session | None = None) -> int:
        """End the subject's sessions but one; return how many lived (ASVS 7.4.3, 7.5.2).

        Raises ``ConfigurationError`` if the store keeps no index.
        """
        return run(self.revoke_subject_steps(subject, except_session))

    def purge(self, *, rate: float | None = PURGE_RATE, tell: Tell | None = None) -> int:
        """Remove every dead record, in batches with pauses; return how many.

        ``rate``: records a second, at most; ``None``: as fast as the store can.  ``tell`` is called with the
        number of each batch.  0 if the store has no need of it.
        """
        return run(self.purge_steps(rate=rate, tell=tell))


class AsyncManager(SessionSteps[AsyncStore]):
    """:class:`Manager` for asyncio, on an :class:`~sojourn.store.AsyncStore`."""

    def __init__(self, store: AsyncStore, keyring: Keyring, **settings: Unpack[ManagerSettings]) -> None:
        super().__init__(store, keyring, **settings)
        self._turns = AsyncTurns()

    async def open(self, token: str | None) -> Session:
        """See :meth:`Manager.open`."""
        return await run_async(self.open_steps(token))

    async def commit(
        self, session: Session, *, saves: bool = False, idle_timeout: int | None = None
    ) -> Action:
        """See :meth:`Manager.commit`."""
        plan = self.plan(session, saves=saves, idle_timeout=idle_timeout)
        if session.record is None or plan.decision.action not in _REPLACING:
            return await run_async(self.commit_steps(session, plan))
        turn = self._turns.of(session.record.key)
        ours = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout / 2):
                ours = await turn.acquire()
        try:
            return await run_async(self.commit_steps(session, plan))
        finally:
            if ours:
                turn.release()

    async def exists(self, token: str | None) -> bool:
        """See :meth:`Manager.exists`."""
        return await run_async(self.exists_steps(token))

    async def delete(self, token: str | None) -> bool:
        """See :meth:`Manager.delete`."""
        return await run_async(self.delete_steps(token))

    async def end(self, session: Session) -> bool:
        """See :meth:`Manager.end`."""
        return await run_async(self.end_steps(session))

    async def revoke(self, key: str) -> bool:
        """See :meth:`Manager.revoke`."""
        return await run_async(self.revoke_steps(key))

    async def sessions_of(self, subject: str) -> list[SessionSummary]:
        """See :meth:`Manager.sessions_of`."""
        return await run_async(self.sessions_of_steps(subject))

    async def revoke_subject(self, subject: str, *, except_session: Session | None = None) -> int:
        """See :meth:`Manager.revoke_subject`."""
        return await run_async(self.revoke_subject_steps(subject, except_session))

    async def purge(self, *, rate: float | None = PURGE_RATE, tell: Tell | None = None) -> int:
        """See :meth:`Manager.purge`."""
        return await run_async(self.purge_steps(rate=rate, tell=tell))


class CookieManager(CookieSteps[Store], Manager):
    """Sessions in cookies: what :class:`Manager` calls a token is here a cookie's value, each time another.

    ``spill`` is the store of sessions that do not fit into a cookie (``None``: an error instead);
    ``revocations`` the list of sessions that ended, without which none can be ended; ``cookie_former`` the
    engine whose cookies are taken over.  Other settings are :class:`Manager`'s.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        options: CookieOptions | None = None,
        spill: Store | None = None,
        revocations: Revocations[Store] | None = None,
        cookie_former: CookieFormer | None = None,
        **settings: Unpack[ManagerSettings],
    ) -> None:
        super().__init__(
            Nowhere() if spill is None else spill,
            keyring,
            options=options,
            spills=spill is not None,
            revocations=revocations,
            cookie_former=cookie_former,
            **settings,
        )

    def open(self, token: str | None) -> Session:
        """See :meth:`Manager.open`.  A load of the revocation list, and one of the store if it spilled."""
        if token is None or self.revocable or is_token(token):
            return run(self.open_steps(token))
        return self.unsealed(token)  # no I/O, so no steps

    def commit(self, session: Session, *, saves: bool = False, idle_timeout: int | None = None) -> Action:
        """See :meth:`Manager.commit`.  Cookies do not take turns: each request has its own."""
        if self.is_stored(session):
            return super().commit(session, saves=saves, idle_timeout=idle_timeout)
        plan = self.plan(session, saves=saves, idle_timeout=idle_timeout)
        if self.put(session, plan):  # no I/O, so no steps
            return plan.decision.action
        return run(self.commit_steps(session, plan))


class AsyncCookieManager(CookieSteps[AsyncStore], AsyncManager):
    """:class:`CookieManager` for asyncio."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        options: CookieOptions | None = None,
        spill: AsyncStore | None = None,
        revocations: Revocations[AsyncStore] | None = None,
        cookie_former: CookieFormer | None = None,
        **settings: Unpack[ManagerSettings],
    ) -> None:
        super().__init__(
            AsyncNowhere() if spill is None else spill,
            keyring,
            options=options,
            spills=spill is not None,
            revocations=revocations,
            cookie_former=cookie_former,
            **settings,
        )

    async def open(self, token: str | None) -> Session:
        """See :meth:`CookieManager.open`."""
        if token is None or self.revocable or is_token(token):
            return await run_async(self.open_steps(token))
        return self.unsealed(token)

    async def commit(
        self, session: Session, *, saves: bool = False, idle_timeout: int | None = None
    ) -> Action:
        """See :meth:`CookieManager.commit`."""
        if self.is_stored(session):
            return await super().commit(session, saves=saves, idle_timeout=idle_timeout)
        plan = self.plan(session, saves=saves, idle_timeout=idle_timeout)
        if self.put(session, plan):
            return plan.decision.action
        return await run_async(self.commit_steps(session, plan))
