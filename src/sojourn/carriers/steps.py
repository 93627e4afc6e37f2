"""The life of a session that travels in its cookie: open → commit → revoke.

The cookie is the session; the token of :mod:`sojourn.lifecycle` is its value, and each save makes another.
What a server-side session promises has to be had in other ways here:

* A renewal makes the cookies from before invalid, and a sign-out all of them, by the revocation list, if
  there is one.  Without, nothing on the server changes at either.
* A session that does not fit into its cookie *spills*: it moves to a store, as an ordinary session, and the
  cookie holds its token, until it fits again.  Without such a store it is not saved, and an error says so.
* Two requests at once do not merge: each makes a cookie of its own, and the browser keeps the last.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final, TypeVar, Unpack

from sojourn.carriers.adopting import CookieAdoption
from sojourn.carriers.fitting import CookieOptions, Fitting
from sojourn.carriers.ledger import Ledger
from sojourn.carriers.lineage import CarriedSession, Lineage
from sojourn.carriers.plain import is_plain, plain_record
from sojourn.carriers.recent import Opened, Recent
from sojourn.carriers.sealed import SealedCarrier
from sojourn.carriers.spilling import SpillRecorder
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    SessionGoneError,
)
from sojourn.lifecycle import SessionSteps
from sojourn.policy import Action
from sojourn.purging import PURGE_RATE, purge_steps
from sojourn.sealing import Unsealed
from sojourn.store import AsyncStore, Store
from sojourn.token import Token, is_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.carriers.adopting import CookieFormer
    from sojourn.carriers.revocations import Revocations
    from sojourn.keyring import Keyring
    from sojourn.lifecycle import ManagerSettings, Plan
    from sojourn.listing import SessionSummary
    from sojourn.purging import Tell
    from sojourn.record import Record
    from sojourn.session import Changes, Session
    from sojourn.steps import Steps

__all__ = ["CookieSteps"]

#: What another cookie does, by itself and beside a revocation list.
_WRITING: Final = (Action.CREATE, Action.UPDATE, Action.TOUCH, Action.MOVE)
_REWRITING: Final = (Action.UPDATE, Action.TOUCH)

StoreT = TypeVar("StoreT", Store, AsyncStore)


class CookieSteps(SessionSteps[StoreT]):
    """The steps of sessions in cookies; those that do not fit are kept in ``store``.

    ``spills``: whether there is such a store.  ``revocations``: the list of sessions that ended.
    ``cookie_former``: the engine whose cookies are taken over.  The rest is as for :class:`SessionSteps`.
    """

    def __init__(
        self,
        store: StoreT,
        keyring: Keyring,
        *,
        options: CookieOptions | None = None,
        spills: bool = False,
        revocations: Revocations[StoreT] | None = None,
        cookie_former: CookieFormer | None = None,
        **settings: Unpack[ManagerSettings],
    ) -> None:
        super().__init__(store, keyring, **settings)  # type: ignore[arg-type]  # mypy loses StoreT here
        recorder = self._recorder
        #: For the records that are in cookies, which are sealed as a whole.
        self._in_clear = replace(recorder, sealing=Unsealed(), place="the cookie")
        self._recorder = self._spill_recorder = SpillRecorder(
            **{field.name: getattr(recorder, field.name) for field in fields(recorder)}
        )
        options = CookieOptions() if options is None else options
        self._carrier = SealedCarrier(keyring=keyring, signed=options.signed, compress=options.compress)
        self._fitting = Fitting(options, self._carrier, spills)
        self._spills = spills
        self._ledger: Ledger[StoreT] | None = (
            None if revocations is None else Ledger(revocations, self._in_clear)
        )
        self._cookie_adoption = (
            None if cookie_former is None else CookieAdoption(cookie_former, self._in_clear)
        )
        self._put_alone = _WRITING if revocations is None else _REWRITING
        self._recent = Recent()

    @property
    def revocable(self) -> bool:
        """Whether a session can be ended before its cookies expire."""
        return self._ledger is not None

    # Open

    def new_session(self) -> CarriedSession:
        """Return an empty session, put into a cookie at its first commit.  No I/O."""
        session = CarriedSession(self._codec)
        session.lineage = session.standing = None
        session.unsent = False
        return session

    @staticmethod
    def is_stored(session: Session) -> bool:
        """Whether ``session`` did not fit into its cookie, which holds a token instead.  No I/O."""
        return session.record is not None and not is_plain(session.record)

    def accepts(self, token: str) -> bool:
        """Whether ``token`` has the form of a cookie's value.  No I/O."""
        return (
            self._carrier.accepts(token)
            or (self._spills and is_token(token))
            or (self._cookie_adoption is not None and self._cookie_adoption.accepts(token))
        )

    def open_steps(self, token: str | None) -> Steps[Session]:
        """See :meth:`Manager.open`.  One load if there is a revocation list, one if the session spilled."""
        if token is None:
            return self.new_session()
        token = Token(token)
        if not is_token(token):
            session = self.unsealed(token)
        elif self._spills:
            record = yield self.store.load, self._recorder.key(token)
            session = self._spilled(token, record)
        else:
            session = self._unknown()
        if self._ledger is None or session.record is None or session.lineage is None:
            return session
        lives = yield from self._ledger.lives_steps(session, session.lineage, session.record)
        return session if lives else self._unknown()

    def unsealed(self, value: str) -> CarriedSession:
        """Return the session in the cookie ``value``, whatever the revocation list says of it.  No I/O."""
        opened = self._recent.get(value)
        if opened is None:
            opened = self._opened_first(value)
            if opened is None:
                return self._unknown()
        lineage, record, encodings, until = opened
        now = self._clock.now()
        if now >= until or (record.created_at > now and not self._in_clear.is_present(record, now=now)):
            return self._unknown()
        return self._session(Token(value), lineage, record, encodings)

    def _opened_first(self, value: str) -> Opened | None:
        """Return what is in a cookie not opened lately, Sojourn's or a former engine's; ``None``: nothing."""
        found = self._carrier.read(value)
        ours = found is not None
        if found is None and self._cookie_adoption is not None:
            found = self._cookie_adoption.read(value)
        if found is None:
            return None
        lineage, record = found
        encodings = self._in_clear.open(lineage.name, record)
        if encodings is None:
            return None
        limit = self.policy.absolute_deadline(record.created_at)
        until = record.expires_at if limit is None else min(limit, record.expires_at)
        opened = Opened(lineage, record, encodings, until)
        if ours:
            self._recent.put(value, opened)
        return opened

    def _spilled(self, token: Token, record: Record | None) -> CarriedSession:
        now = self._clock.now()
        found = None if record is None else self._spill_recorder.read_with_lineage(token, record, now=now)
        if record is None or found is None:
            return self._unknown()
        lineage, encodings = found
        return self._session(token, lineage, record, encodings)

    def _session(
        self, token: Token, lineage: Lineage, record: Record, encodings: Mapping[str, bytes]
    ) -> CarriedSession:
        session = CarriedSession(self._codec, encodings, token=token, record=record)
        session.lineage, session.standing, session.unsent = lineage, None, False
        return session

    def _unknown(self) -> CarriedSession:
        session = self.new_session()
        session.unknown_token = True
        return session

    # Commit

    def put(self, session: Session, plan: Plan) -> bool:
        """Carry out ``plan`` if all it takes is another cookie; return whether that was so.  No I/O.

        It takes more to end cookies from before, to learn the epoch of a user who signs in, and to spill.
        ``session`` is not stored now: see :meth:`is_stored`.
        """
        if plan.decision.action not in self._put_alone:
            return False
        carried, source = _carried(session), session.record
        encodings = plan.changes.apply({} if source is None else session.base)
        lineage, record = self._drafted(carried, plan, encodings, source=source)
        if self._ledger is not None:
            if self._ledger.concerns(carried, record, now=plan.now):
                return False
            if carried.standing is not None and carried.standing.epoch != lineage.epoch:
                lineage = lineage._replace(epoch=carried.standing.epoch)
        value = self._fitting.value(lineage, record, encodings, spilled=False)
        if value is None:
            return False
        _take(carried, lineage)
        session.saved(Token(value), record, encodings, plan.changes)
        return True

    def draft(self, session: Session, plan: Plan) -> None:
        """Return ``None``: where the session is to be kept turns out on the way."""

    def commit_steps(self, session: Session, plan: Plan) -> Steps[Action]:
        """See :meth:`Manager.commit`."""
        if plan.decision.action is not Action.TOUCH:
            return (yield from super().commit_steps(session, plan))
        yield from self._replace(session, plan)  # the deadline is in the cookie
        return Action.TOUCH

    def _create(self, session: Session, plan: Plan, changes: Changes) -> Steps[None]:
        carried = _carried(session)
        carried.lineage = carried.standing = None
        yield from self._save(carried, plan, changes.apply({}), changes, source=None)

    def _replace(self, session: Session, plan: Plan) -> Steps[None]:
        source, encodings = session.record, plan.changes.apply(session.base)
        try:
            yield from self._save(_carried(session), plan, encodings, plan.changes, source=source)
        except SessionGoneError:
            assigned = {key: session[key] for key in plan.changes.assigned}
            session.forget()
            if plan.decision.action is not Action.MOVE or source is None or source.subject is not None:
                raise
            # Nobody's session was to be renewed and is gone: it gets a life of its own, as in SessionSteps.
            session.update(assigned)
            plan = self.plan(session, saves=True, idle_timeout=plan.idle_timeout)
            yield from self._create(session, plan, plan.changes)

    def _save(
        self,
        session: CarriedSession,
        plan: Plan,
        encodings: dict[str, bytes],
        changes: Changes,
        *,
        source: Record | None,
    ) -> Steps[None]:
        """Put the session into a cookie, or one that does not fit into the store.

        ``source`` is the record it replaces.  Nothing has happened anywhere if this raises ``EncodeError``.
        """
        spilled = source is not None and self.is_stored(session)
        lineage, record = self._drafted(session, plan, encodings, source=source)
        value = self._fitting.value(lineage, record, encodings, spilled=spilled)
        if self._ledger is not None:
            settled = yield from self._ledger.settle_steps(
                session, lineage, record, source=source, now=plan.now
            )
            if settled != lineage:
                lineage = settled
                value = None if value is None else self._carrier.write(lineage, record)
        if value is not None and spilled and source is not None:
            # Requests under way still come with the token, and a browser that the answer does not reach goes
            # on with it; but nobody with one from before a renewal.
            until = plan.now if plan.decision.action is Action.MOVE else source.idle_deadline
            try:
                yield self.store.update, replace(source, idle_deadline=until), source.version
            except ConflictError:
                value = None  # somebody else has saved it: merge where it is
        _take(session, lineage)
        if value is not None:
            session.saved(Token(value), record, encodings, changes)
        elif spilled:
            yield from super()._replace(session, plan)
        else:  # its cookie carries the token from now on
            yield from self._put_new(session, plan, encodings, changes, source=source)

    def _drafted(
        self, session: CarriedSession, plan: Plan, encodings: Mapping[str, bytes], *, source: Record | None
    ) -> tuple[Lineage, Record]:
        """Return what goes into the next cookie, unless the list has something to add.  No I/O."""
        lineage = session.lineage
        if source is None or lineage is None:
            lineage = Lineage.new()
        elif plan.decision.action is Action.MOVE:
            lineage = lineage._replace(generation=lineage.generation + 1)
        record = plain_record(
            self._in_clear,
            lineage,
            session,
            encodings,
            source=source,
            now=plan.now,
            deadline=plan.decision.idle_deadline,
        )
        if record.idle_deadline > lineage.latest:
            lineage = Lineage(lineage.id, lineage.generation, lineage.epoch, record.idle_deadline)
        return lineage, record

    # Revoke

    def delete_steps(self, token: str | None) -> Steps[bool]:
        """See :meth:`Manager.delete`."""
        session = yield from self.open_steps(token)
        return (yield from self.end_steps(session))

    def end_steps(self, session: Session) -> Steps[bool]:
        """See :meth:`Manager.end`.  Without a revocation list, only a session that spilled really ends."""
        record, lineage = session.record, _carried(session).lineage
        if record is None or lineage is None:
            return False
        if self._ledger is not None:
            yield from self._ledger.end_steps(_carried(session), lineage, record, now=self._clock.now())
        lived = True
        if self.is_stored(session):
            lived = yield self.store.delete, record.key
        return lived

    def revoke_steps(self, key: str) -> Steps[bool]:  # noqa: ARG002 - as SessionSteps has it
        """Raise ``ConfigurationError``: see :meth:`sessions_of_steps`."""
        raise ConfigurationError(_NO_LISTING)
        yield  # so that it is a generator

    def sessions_of_steps(self, subject: str) -> Steps[list[SessionSummary]]:  # noqa: ARG002 - likewise
        """Raise ``ConfigurationError``: the server does not know which cookies there are."""
        raise ConfigurationError(_NO_LISTING)
        yield

    def revoke_subject_steps(self, subject: str, except_session: Session | None) -> Steps[int]:
        """End the subject's sessions but one.  Returns 0: nobody knows how many cookies there are."""
        if self._ledger is None:
            raise ConfigurationError(_NO_LIST)
        lineage = None if except_session is None else _carried(except_session).lineage
        spared = None if lineage is None else lineage.id
        yield from self._ledger.end_all_steps(subject, sparing=spared, now=self._clock.now())
        return 0

    def purge_steps(self, *, rate: float | None = PURGE_RATE, tell: Tell | None = None) -> Steps[int]:
        """See :meth:`Manager.purge`."""
        removed = yield from super().purge_steps(rate=rate, tell=tell)
        if self._ledger is not None:
            removed += yield from purge_steps(self._ledger.revocations.store, rate=rate, tell=tell)
        return removed


_NO_LISTING: Final = (
    "sessions in cookies cannot be listed or ended one by one, for the server keeps none of them: use an "
    "engine that keeps sessions on the server"
)
_NO_LIST: Final = (
    "sessions in cookies can be ended only with a revocation list, and none is set: give one, or use an "
    "engine that keeps sessions on the server"
)


def _carried(session: Session) -> CarriedSession:
    if not isinstance(session, CarriedSession):
        raise TypeError("a session that travels in a cookie is made by the manager that opens cookies")
    return session


def _take(session: CarriedSession, lineage: Lineage) -> None:
    before = session.lineage
    if before is None or before.id != lineage.id or before.generation != lineage.generation:
        session.unsent = True
    session.lineage = lineage
