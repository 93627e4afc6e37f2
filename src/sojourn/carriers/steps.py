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

import logging
from dataclasses import fields, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, Unpack

from sojourn.carriers.lineage import ID_LENGTH, CarriedSession, Lineage
from sojourn.carriers.revocations import DAY, LONGEST_LIFE, Standing, ended, renewed, who
from sojourn.carriers.sealed import LARGEST, SealedCarrier
from sojourn.carriers.spilling import SpillRecorder
from sojourn.cookie import MAX_COOKIE
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    EncodeError,
    PayloadTooLargeError,
    SessionGoneError,
)
from sojourn.frozen import frozen
from sojourn.lifecycle import PURGE_RATE, SessionSteps, purge_steps
from sojourn.policy import Action
from sojourn.sealing import Unsealed
from sojourn.session import Changes, Session
from sojourn.store import AsyncStore, Store
from sojourn.token import Token, is_token, new_token
from sojourn.values import largest_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sojourn.carriers.revocations import Revocations
    from sojourn.keyring import Keyring
    from sojourn.lifecycle import ManagerSettings, Plan, Tell
    from sojourn.listing import SessionSummary
    from sojourn.record import Record
    from sojourn.steps import Steps

__all__ = ["CookieFormer", "CookieOptions", "CookieSteps"]

logger = logging.getLogger("sojourn")

#: How long the token of a session that went back into its cookie is good for requests under way.
_GRACE: Final = 10_000

StoreT = TypeVar("StoreT", Store, AsyncStore)


class CookieFormer(Protocol):
    """The engine whose cookies were used before.  Pure: what it has to say is in the cookie."""

    def accepts(self, value: str) -> bool:
        """Whether ``value`` has the form of that engine's."""
        ...

    def read(self, value: str) -> tuple[Mapping[str, Any], int] | None:
        """Return the data in a genuine cookie and when it was made (milliseconds since the Unix epoch)."""
        ...


@frozen()
class CookieOptions:
    """How sessions are put into cookies."""

    #: Whether they are signed only, so that who has the cookie can read it.
    signed: bool = False
    #: Whether those of more than 1 KB are compressed.
    compress: bool = True
    #: Octets the value may have.
    room: int = MAX_COOKIE - 256
    #: The limit that leaves this room, for messages.
    limit: int = MAX_COOKIE


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
        #: Makes the records that go into cookies: sealed as a whole, not each by itself.
        self._in_clear = replace(recorder, sealing=Unsealed(), place="the cookie", lists=False)
        self._recorder = self._spill_recorder = SpillRecorder(
            **{field.name: getattr(recorder, field.name) for field in fields(recorder)}
        )
        self._options = CookieOptions() if options is None else options
        self._carrier = SealedCarrier(
            keyring=keyring, signed=self._options.signed, compress=self._options.compress
        )
        self._spills = spills
        self._revocations: Revocations[StoreT] | None = revocations
        self._cookie_former = cookie_former

    @property
    def revocable(self) -> bool:
        """Whether a session can be ended before its cookies expire."""
        return self._revocations is not None

    # Open

    def new_session(self) -> CarriedSession:
        """Return an empty session, put into a cookie at its first commit.  No I/O."""
        session = CarriedSession(self._codec)
        session.lineage = session.standing = None
        session.unsent = False
        return session

    def accepts(self, token: str) -> bool:
        """Whether ``token`` has the form of a cookie's value.  No I/O."""
        return (
            self._carrier.accepts(token)
            or (self._spills and is_token(token))
            or (self._cookie_former is not None and self._cookie_former.accepts(token))
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
        if self._revocations is None or session.record is None or session.lineage is None:
            return session
        standing = yield from self._revocations.standing_steps(who(session.lineage, session.record.subject))
        if not standing.allows(session.lineage):
            return self._unknown()
        session.standing = standing
        return session

    def unsealed(self, value: str) -> CarriedSession:
        """Return the session in the cookie ``value``, whatever the revocation list says of it.  No I/O."""
        now = self._clock.now()
        found = self._carrier.read(value)
        if found is None and self._cookie_former is not None and self._cookie_former.accepts(value):
            found = self._adopted(value, self._cookie_former)
        if found is None or found[1].is_expired(now):
            return self._unknown()
        lineage, record = found
        encodings = self._in_clear.read(lineage.name, record, now=now)
        if encodings is None:
            return self._unknown()
        return self._session(Token(value), lineage, record, encodings)

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

    def _adopted(self, value: str, former: CookieFormer) -> tuple[Lineage, Record] | None:
        """Return what a former engine's cookie carries, as if it had been written here when it was made.

        The session id is made of the cookie, so that all requests with it mean the same session.
        """
        found = former.read(value)
        if found is None:
            return None
        data, made_at = found
        session = Session(self._codec)
        lineage = Lineage(id=sha256(b"sojourn adopted 1\0" + value.encode()).digest()[:ID_LENGTH])
        try:
            session.update(data)
            record = self._in_clear.write(
                lineage.name,
                session,
                session.changes().assigned,
                source=None,
                now=made_at,
                idle_timeout=self.policy.idle_timeout,
            )
        except EncodeError as error:
            logger.error("a session cannot be taken over from its cookie: %s", error)  # noqa: TRY400
            return None
        record = _mortal(record, made_at)
        return lineage._replace(latest=record.idle_deadline), record

    # Commit

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
            session.forget()
            if plan.decision.action is not Action.MOVE or source is None or source.subject is not None:
                raise
            # Nobody's session was to be renewed and is gone: it gets a life of its own, as in SessionSteps.
            yield from self._create(session, plan, Changes(plan.changes.assigned, frozenset()))

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
        spilled = source is not None and is_token(session.token or "")
        lineage = Lineage.new() if session.lineage is None else session.lineage
        if source is not None and plan.decision.action is Action.MOVE:
            lineage = lineage._replace(generation=lineage.generation + 1)
        record = _mortal(
            self._in_clear.write(
                lineage.name, session, encodings, source=source, now=plan.now, idle_timeout=plan.idle_timeout
            ),
            plan.now,
        )
        if record.idle_deadline > lineage.latest:
            lineage = lineage._replace(latest=record.idle_deadline)
        value = self._fitting(lineage, record, encodings, spilled=spilled)
        if self._revocations is not None:
            settled = yield from self._settle(
                self._revocations, session, lineage, record, source=source, now=plan.now
            )
            if settled != lineage:
                lineage = settled
                value = None if value is None else self._carrier.write(lineage, record)
        session.unsent |= session.lineage is None or session.lineage.generation != lineage.generation
        session.lineage = lineage
        if value is not None and spilled and source is not None:
            # Requests under way may still come with the token, but not with one from before a renewal.
            until = plan.now if plan.decision.action is Action.MOVE else plan.now + _GRACE
            try:
                yield self.store.update, replace(source, idle_deadline=until), source.version
            except ConflictError:
                value = None  # somebody else has saved it: merge where it is
        if value is not None:
            session.saved(Token(value), record, encodings, changes)
        elif spilled:
            yield from super()._replace(session, plan)
        else:
            yield from self._spill(session, plan, encodings, changes, source=source)

    def _fitting(
        self, lineage: Lineage, record: Record, encodings: Mapping[str, bytes], *, spilled: bool
    ) -> str | None:
        """Return the value that carries ``record``, or ``None`` if the session has to be in the store.

        Raises ``PayloadTooLargeError`` if there is no store to go to.
        """
        room, limit = self._options.room, self._options.limit
        size: int | None = None
        if len(record.payload) <= LARGEST:
            value = self._carrier.write(lineage, record)
            size = len(value)
            # One that spilled goes back with room to grow, lest it goes to and fro.
            if size <= (room * 3 // 4 if spilled else room):
                return value
        if self._spills:
            return None
        octets = (
            f"{len(record.payload)} octets" if size is None else f"a cookie of {limit - room + size} octets"
        )
        message = (
            f"the session makes {octets}, name and attributes included; the limit is {limit}: keep large "
            "data elsewhere and its identifier in the session, or give it a store to spill into "
            f"({largest_keys(encodings)})"
        )
        logger.error("session %s was not saved: %s", record.public_id, message)
        raise PayloadTooLargeError(message)

    def _spill(
        self,
        session: CarriedSession,
        plan: Plan,
        encodings: dict[str, bytes],
        changes: Changes,
        *,
        source: Record | None,
    ) -> Steps[None]:
        """Keep the session in the store; its cookie carries the token from now on."""
        token = new_token()
        record = self._recorder.write(
            token, session, encodings, source=source, now=plan.now, idle_timeout=plan.idle_timeout
        )
        version = yield self.store.create, record
        session.saved(token, record.at(version), encodings, changes)

    def _settle(
        self,
        revocations: Revocations[StoreT],
        session: CarriedSession,
        lineage: Lineage,
        record: Record,
        *,
        source: Record | None,
        now: int,
    ) -> Steps[Lineage]:
        """Tell the revocation list of what is about to be written; return the lineage to write.

        Nothing to tell, and no I/O, for a save that changes neither whose session it is nor its generation.
        Raises ``SessionGoneError`` if the session has ended since it was opened.
        """
        former, known = session.lineage, session.standing
        about = who(lineage, record.subject)
        before = None if source is None or former is None else who(former, source.subject)
        standing = known
        if about != before:
            standing = Standing()
            if record.subject is not None:  # read before the list is asked once more about the former one
                standing = yield from revocations.standing_steps(about, fresh=True)
        if before is not None and former is not None:
            change: Callable[[Standing], Standing] | None = None
            if lineage.generation != former.generation:
                change = renewed(lineage.id, lineage.generation, self._outlives(lineage, now))
            elif session.unsent:
                pass  # nobody else can have ended it
            elif about != before:
                still = yield from revocations.standing_steps(before, fresh=True)
                if not still.allows(former):
                    raise SessionGoneError("the session was ended during the request; nothing was saved")
            elif record.idle_deadline > max(former.latest, now + self.policy.idle_timeout * 1000):
                # Longer than whoever ends it would think.  Half as much more, for the next time it moves.
                latest = record.idle_deadline + (record.idle_deadline - now) // 2
                lineage = lineage._replace(latest=latest)
                change = renewed(lineage.id, 0, self._outlives(lineage, now))
            if change is not None:
                changed = yield from revocations.change_steps(before, change, known=known, only_if=former)
                standing = changed if about == before else standing
        session.standing = standing
        return lineage if standing is None else lineage._replace(epoch=standing.epoch)

    def _outlives(self, lineage: Lineage, now: int) -> int:
        """Return an instant at which all cookies of the session are dead, also those being written now."""
        return max(lineage.latest, now + self.policy.idle_timeout * 1000) + DAY

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
        if self._revocations is not None:
            change = ended(lineage.id, self._outlives(lineage, self._clock.now()))
            standing = _carried(session).standing
            for about in self._everyone(session, who(lineage, record.subject)):
                yield from self._revocations.change_steps(about, change, known=standing)
                standing = None
        lived = True
        if is_token(session.token or ""):
            lived = yield self.store.delete, record.key
        return lived

    def _everyone(self, session: Session, first: str) -> list[str]:
        """Return whom the list has to know a session's end of: its user, under each listed secret."""
        subject = self._recorder.subject_of(Session(self._codec, session.base))
        everyone = [first]
        for digest in [] if subject is None else self._keyring.subject_digests(subject):
            if (other := f"subject {digest.hex()}") not in everyone:
                everyone.append(other)
        return everyone

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
        if self._revocations is None:
            raise ConfigurationError(_NO_LIST)
        lineage = None if except_session is None else _carried(except_session).lineage
        now, spared = self._clock.now(), None if lineage is None else lineage.id
        # The present secret's last, and read first in _settle: a session that is between them is not missed.
        for digest in reversed(self._keyring.subject_digests(subject)):
            yield from self._revocations.change_steps(
                f"subject {digest.hex()}", lambda standing: standing.with_new_epoch(now, sparing=spared)
            )
        return 0

    def purge_steps(self, *, rate: float | None = PURGE_RATE, tell: Tell | None = None) -> Steps[int]:
        """See :meth:`Manager.purge`."""
        removed = yield from super().purge_steps(rate=rate, tell=tell)
        if self._revocations is not None:
            removed += yield from purge_steps(self._revocations.store, rate=rate, tell=tell)
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


def _mortal(record: Record, now: int) -> Record:
    """Return ``record`` with an end: no cookie lives longer than 400 days (RFC 6265bis 5.5)."""
    latest = now + LONGEST_LIFE
    return record if record.idle_deadline <= latest else replace(record, idle_deadline=latest)
