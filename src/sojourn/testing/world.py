"""A small site on any store: requests of browsers, carried out by the manager and told to the model.

Every method that ends in ``Steps`` yields the manager's operations, so whoever takes the steps says when each
of them runs.  The answers go to :class:`~sojourn.testing.model.Expected`, which raises a
:class:`~sojourn.testing.model.Violation` at the first one that no order of the requests explains.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from sojourn.errors import ConflictError, SessionGoneError, StoreUnavailableError
from sojourn.keyring import Keyring
from sojourn.lifecycle import SessionSteps
from sojourn.policy import Action, Policy
from sojourn.store import AsyncSubjectIndex, SubjectIndex
from sojourn.testing.expected import Expected
from sojourn.testing.model import USER, USER_HASH, Intent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.session import Session
    from sojourn.steps import Steps
    from sojourn.testing.clock import FakeClock

__all__ = ["IDLE_TIMEOUT", "Request", "World"]

#: Seconds.
IDLE_TIMEOUT: Final = 1800
#: Seconds that a save tries for.
_PATIENCE: Final = 5.0

_KEYRING: Final = Keyring(["a server secret for tests: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"])


def _user(session: Mapping[str, Any]) -> str | None:
    return session.get(USER)


class World:
    """A site whose sessions are in ``store`` and what they must be."""

    def __init__(self, store: Any, clock: FakeClock) -> None:
        self.store: Any = store
        self.clock = clock
        self.expected = Expected(clock, follows=isinstance(store, SubjectIndex | AsyncSubjectIndex))
        #: Numbers for them.
        self.reigns = itertools.count(1)
        #: What happened, for whoever tells the story.
        self.remarks: list[str] = []
        self.manager: SessionSteps[Any] = SessionSteps(
            store,
            _KEYRING,
            clock=clock,
            policy=Policy(idle_timeout=IDLE_TIMEOUT),
            subject_of=_user,
            timeout=_PATIENCE,
        )

    def new_session(self, *, user: str | None = None, **values: Any) -> Steps[str]:
        """Store a session with ``values``; return its token."""
        request = self.new_request()
        for key, value in values.items():
            request[key] = value
        if user is not None:
            request.sign_in(user)
        yield from request.commit()
        return str(request.token)

    def new_request(self) -> Request:
        """Return a request that came without a token."""
        return Request(self)

    def open(self, token: str) -> Steps[Request]:
        """Return a request that came with ``token``."""
        session = yield from self.manager.open_steps(token)
        self.expected.opened(token, None if session.record is None else _copy(session))
        return Request(self, session)

    def exists(self, token: str) -> Steps[None]:
        """Ask whether ``token`` names a session."""
        self.expected.existed(token, (yield from self.manager.exists_steps(token)))

    def delete(self, token: str) -> Steps[None]:
        """End the session of ``token`` without opening it."""
        try:
            lived = yield from self.manager.delete_steps(token)
        except StoreUnavailableError:
            self.expected.may_have_deleted(token)
            raise
        self.expected.deleted(token, lived)

    def sessions_of(self, user: str) -> Steps[list[str]]:
        """List where ``user`` is signed in; return the keys of what is known, in the order it was stored.

        The store's own order is partly chance: of keys, where two sessions began at once.
        """
        found = yield from self.manager.sessions_of_steps(user)
        self.expected.listed(user, [summary.key for summary in found])
        return self.expected.known(summary.key for summary in found)

    def revoke(self, key: str) -> Steps[None]:
        """End the session listed under ``key``."""
        token = self.expected.token_of(key)
        try:
            lived = yield from self.manager.revoke_steps(key)
        except StoreUnavailableError:
            self.expected.may_have_deleted(token)
            raise
        self.remarks.append("ended" if lived else "was not there")
        self.expected.deleted(token, lived)

    def revoke_subject(self, user: str, *, keep: Request | None = None) -> Steps[None]:
        """End the sessions of ``user``, but for the one of ``keep``."""
        session = None if keep is None else keep.session
        token = None if keep is None else keep.token
        try:
            ended = yield from self.manager.revoke_subject_steps(user, session)
        except StoreUnavailableError:
            self.expected.may_have_revoked(user, except_token=token)
            raise
        self.remarks.append(f"ended {ended}")
        self.expected.revoked(user, ended, except_token=token)

    def purge(self) -> Steps[None]:
        """Remove what is dead."""
        yield from self.manager.purge_steps()

    def check(self) -> Steps[None]:
        """Open every token there ever was."""
        for token in tuple(self.expected.tokens):
            yield from self.open(token)


class Request:
    """One request of one browser: a session, and the plain values that it must hold beside it."""

    def __init__(self, world: World, session: Session | None = None) -> None:
        self.session: Session = world.manager.new_session() if session is None else session
        #: Whether the application wants even an unchanged session to be saved.
        self.touches = False
        self._world = world
        self._opened()

    def _opened(self) -> None:
        self._base = _copy(self.session) if self.found else {}
        self.values = _copy(self._base)
        self._reign = self._world.expected.reign_under(self.session.token)
        self._cleared = self._renews = self._restarts = self._ends = False

    @property
    def token(self) -> str | None:
        """The token of its session; ``None`` if it has none."""
        return self.session.token

    @property
    def found(self) -> bool:
        """Whether its session is stored."""
        return self.session.record is not None

    @property
    def user(self) -> str | None:
        """Who is signed in."""
        return self.values.get(USER)

    def __setitem__(self, key: str, value: Any) -> None:
        """Assign ``key``."""
        self.session[key] = list(value) if isinstance(value, list) else value
        self.values[key] = value

    def __delitem__(self, key: str) -> None:
        """Remove ``key``."""
        del self.session[key]
        del self.values[key]

    def append(self, key: str, item: Any) -> None:
        """Change the list under ``key`` in place, telling nobody."""
        self.session[key].append(item)
        self.values[key].append(item)

    def clear(self) -> None:
        """Remove everything."""
        self.session.clear()
        self.values.clear()
        self._cleared = True

    def renew(self) -> None:
        """Ask for a new token."""
        self.session.renew()
        self._renews = True

    def sign_in(self, user: str) -> None:
        """Sign ``user`` in."""
        self.session.renew(authenticated=True)
        self._renews = self._restarts = True
        self[USER] = user
        self[USER_HASH] = user

    def end(self) -> None:
        """Sign out."""
        self.session.end()
        self.values.clear()
        self._ends = True

    def commit(self, *, saves: bool = False) -> Steps[bool]:
        """End the request; return whether that was acknowledged.  Raises if no answer came."""
        world, session = self._world, self.session
        plan = world.manager.plan(session, saves=saves)
        intent = Intent(
            token=session.token,
            base=self._base,
            values=_copy(self.values),
            cleared=self._cleared,
            renews=self._renews,
            restarts=self._restarts,
            ends=self._ends,
            touches=plan.decision.action is Action.TOUCH,
            saves=saves,
            now=plan.now,
            deadline=plan.now + IDLE_TIMEOUT * 1000,
            reign=self._reign,
            next_reign=next(world.reigns),
        )
        began = world.clock.monotonic()
        try:
            yield from world.manager.commit_steps(session, plan)
        except SessionGoneError:
            world.remarks.append("refused: the session is gone")
            world.expected.was_gone(intent)
            return False
        except ConflictError:
            world.remarks.append("refused: conflict")
            world.expected.was_refused(intent, in_time=world.clock.monotonic() < began + _PATIENCE)
            return False
        except StoreUnavailableError:
            world.expected.may_have_committed(intent)
            raise
        world.remarks.append("signed out" if self._ends else "acknowledged")
        world.expected.committed(intent, session.token, _copy(session))
        if intent.token is None or intent.changes or intent.renews or intent.ends:
            self._opened()
        return True


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values``, texts, numbers and lists of those, sharing nothing that can change."""
    return {key: list(value) if isinstance(value, list) else value for key, value in values.items()}
