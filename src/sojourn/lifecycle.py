"""The logic of a session's life, written once: open → commit → revoke.

As generators that yield store operations and are sent the answers (:mod:`sojourn.steps`), so that the same
lines serve :class:`~sojourn.manager.Manager` and :class:`~sojourn.manager.AsyncManager`.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, TypeVar

from sojourn.adoption import Adoption
from sojourn.clock import SystemClock
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    DuplicateKeyError,
    SessionGoneError,
    StoreError,
)
from sojourn.frozen import frozen
from sojourn.policy import Action, Policy, decide
from sojourn.purging import PURGE_RATE, purge_steps
from sojourn.record import DAY
from sojourn.recording import Recorder
from sojourn.sealing import Sealed
from sojourn.session import UNCHANGED, Changes, Session
from sojourn.steps import Pause
from sojourn.store import AsyncStore, AsyncSubjectIndex, Store, SubjectIndex
from sojourn.token import Token, is_token, new_token
from sojourn.values import MAX_SIZE, MessagePackCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sojourn.adoption import AsyncFormer, Former
    from sojourn.clock import Clock
    from sojourn.keyring import Keyring
    from sojourn.listing import SessionSummary
    from sojourn.policy import Decision
    from sojourn.purging import Tell
    from sojourn.record import Record, Version
    from sojourn.sealing import Sealing
    from sojourn.steps import Call, Steps
    from sojourn.values import Codec

__all__ = ["Draft", "ManagerSettings", "Plan", "SessionSteps", "default_subject"]

_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.1
#: How often a sign-out goes after a session that other requests keep renewing.
_CHASES: Final = 10
#: Seconds, a hundred years: days that tokens name have four digits.
_LONGEST_DATED: Final = 36_500 * 86_400

StoreT = TypeVar("StoreT", Store, AsyncStore)


def default_subject(session: Mapping[str, Any]) -> str | None:
    """Return the value of ``"_subject"``: whose session it is, where no framework says."""
    subject = session.get("_subject")
    return None if subject is None else str(subject)


@frozen(kw_only=False)
class Plan:
    """What a commit is going to do, worked out without I/O."""

    decision: Decision
    changes: Changes
    #: Milliseconds since the Unix epoch.
    now: int
    #: Seconds; fewer if the session turns out to be nobody's.
    idle_timeout: int
    #: When to try no longer, on the monotonic clock.
    give_up: float


@frozen(kw_only=False)
class Draft:
    """What is to be stored, and what the session is to know once it is."""

    token: Token
    record: Record
    encodings: Mapping[str, bytes]
    changes: Changes
    #: The record it takes the place of; ``None``: it is a new one.
    replaces: Record | None

    def __repr__(self) -> str:
        """Show what may be shown."""
        return f"<Draft of {self.record!r}>"

    def call(self, store: Store | AsyncStore) -> Call:
        """Return the call that stores it; its answer is the version."""
        record, replaced = self.record, self.replaces
        if replaced is None:
            return store.create, record
        if record.key == replaced.key:
            return store.update, record, replaced.version
        return store.move, replaced.key, replaced.version, record

    def stored(self, session: Session, version: Version) -> None:
        """Let ``session`` know that it is stored at ``version``."""
        session.saved(self.token, self.record.at(version), self.encodings, self.changes)


class ManagerSettings(TypedDict, total=False):
    """Keyword arguments of :class:`SessionSteps`."""

    policy: Policy
    codec: Codec
    sealing: Sealing
    units: tuple[str, ...]
    subject_of: Callable[[Mapping[str, Any]], str | None]
    max_payload: int
    place: str
    timeout: float
    clock: Clock
    former: Former | AsyncFormer | None


class SessionSteps(Generic[StoreT]):
    """The logic of a session's life, as generators of operations on ``store``.

    ``keyring`` holds the server secrets; ``sealing`` protects payloads (by default ``Sealed(keyring)``);
    ``codec`` translates values.  Keys that start with one of ``units`` are merged together or not at all.
    ``subject_of`` tells whose session it is.  ``max_payload`` is in bytes; ``timeout``, in seconds, bounds a
    save with all its retries.  ``place`` tells people where the store is.  ``former`` is the engine whose
    sessions are taken over (see :mod:`sojourn.adoption`).

    Call a manager's methods to use it; who wants to say when each operation runs takes the ``..._steps``
    (:mod:`sojourn.testing.interleaving` does).
    """

    def __init__(
        self,
        store: StoreT,
        keyring: Keyring,
        *,
        policy: Policy | None = None,
        codec: Codec | None = None,
        sealing: Sealing | None = None,
        units: tuple[str, ...] = ("_auth_user_", "_subject"),
        subject_of: Callable[[Mapping[str, Any]], str | None] = default_subject,
        max_payload: int = MAX_SIZE,
        place: str = "the store",
        timeout: float = 5.0,
        clock: Clock | None = None,
        former: Former | AsyncFormer | None = None,
    ) -> None:
        self.store: StoreT = store
        self.policy = Policy() if policy is None else policy
        self._codec: Codec = MessagePackCodec() if codec is None else codec
        self._recorder = Recorder(
            keyring=keyring,
            sealing=Sealed(keyring) if sealing is None else sealing,
            codec=self._codec,
            policy=self.policy,
            subject_of=subject_of,
            max_payload=max_payload,
            place=place,
        )
        self._keyring = keyring
        self._units = units
        self._timeout = timeout
        self._clock: Clock = SystemClock() if clock is None else clock
        if self._dates_tokens() and self.policy.absolute_timeout is None:
            raise ConfigurationError(
                "partition_by='day' keeps sessions by the day on which they end at the latest, so there has "
                "to be one: set absolute_timeout (in Django, SOJOURN['ABSOLUTE_TIMEOUT'])"
            )
        if self._dates_tokens() and (self.policy.absolute_timeout or 0) > _LONGEST_DATED:
            raise ConfigurationError(
                f"partition_by='day' has no day that is {self.policy.absolute_timeout} s away: set "
                f"absolute_timeout (in Django, SOJOURN['ABSOLUTE_TIMEOUT']) to at most {_LONGEST_DATED}"
            )
        self._adoption: Adoption[StoreT] | None = None
        if former is not None:
            self._adoption = Adoption(former, store, self._recorder, self._clock)

    # Open

    def new_session(self) -> Session:
        """Return an empty session, stored at its first commit.  No I/O."""
        return Session(self._codec)

    def accepts(self, token: str) -> bool:
        """Whether ``token`` has the form of one: Sojourn's, or a former engine's.  No I/O."""
        return is_token(token) or (self._adoption is not None and self._adoption.accepts(token))

    def open_steps(self, token: str | None) -> Steps[Session]:
        """See :meth:`Manager.open`."""
        if token is None:
            return self.new_session()
        if is_token(token):
            record = yield self.store.load, self._recorder.key(token)
        else:
            record = yield from self._find_former(token)
        return self._opened(token, record)

    def _opened(self, token: str, record: Record | None) -> Session:
        """Return the session in ``record``, or an empty one if there is none that opens."""
        encodings = None if record is None else self._recorder.read(token, record, now=self._clock.now())
        if encodings is None:
            return Session(self._codec, unknown_token=True)
        return Session(self._codec, encodings, token=Token(token), record=record)

    def _find_former(self, token: str) -> Steps[Record | None]:
        """Return the living record of a former engine's ``token``, adopted now if it was not yet."""
        if self._adoption is None or not self._adoption.accepts(token):
            return None
        record: Record | None = yield self.store.load, self._recorder.key(token)
        if record is None:
            record = yield from self._adoption.adopt(token, idle_timeout=self.policy.idle_timeout)
        return record

    def exists_steps(self, token: str | None) -> Steps[bool]:
        """See :meth:`Manager.exists`."""
        session = yield from self.open_steps(token)
        return session.token is not None

    # Commit

    def plan(self, session: Session, *, saves: bool = False, idle_timeout: int | None = None) -> Plan:
        """Return what a commit of ``session`` has to do.  No I/O; raises ``EncodeError``.

        ``saves``: the application asked for a save, which is activity and stores even an empty session.
        ``idle_timeout`` (seconds) replaces the policy's.
        """
        now = self._clock.now()
        timeout = self.policy.idle_timeout if idle_timeout is None else idle_timeout
        changes = UNCHANGED if session.ended else session.changes()
        own = self.idle_timeout_of(session, timeout)
        decision = decide(self.policy, session, changes, now=now, saves=saves, idle_timeout=own)
        return Plan(decision, changes, now, timeout, self._clock.monotonic() + self._timeout)

    def idle_timeout_of(self, session: Session, idle_timeout: int) -> int:
        """Return the seconds without activity that ``session`` has, of ``idle_timeout`` at most.  No I/O."""
        if self.policy.anonymous_timeout is None:
            return idle_timeout
        return self.policy.idle_timeout_of(self._recorder.subject_of(session), idle_timeout)

    def commit_steps(self, session: Session, plan: Plan) -> Steps[Action]:
        """Carry out ``plan``, which :meth:`plan` made for ``session``.  See :meth:`Manager.commit`."""
        action = plan.decision.action
        if action is Action.CREATE:
            yield from self._create(session, plan, plan.changes)
        elif action is Action.TOUCH:
            yield from self._touch(session, plan.decision.idle_deadline)
        elif action is Action.UPDATE or action is Action.MOVE:
            yield from self._replace(session, plan)
        elif session.ended:
            yield from self.end_steps(session)
            session.forget()
        return action

    def draft(self, session: Session, plan: Plan) -> Draft | None:
        """Return what is to be stored; ``None`` if storing it is not what ``plan`` begins with.  No I/O."""
        action = plan.decision.action
        if action is Action.UPDATE or (action is Action.MOVE and not self._is_former(session)):
            encodings = plan.changes.apply(session.base)
            return self._draft(session, plan, encodings, plan.changes, _stored(session))
        if action is Action.CREATE:
            return self._draft(session, plan, plan.changes.apply({}), plan.changes, None)
        return None

    def _is_former(self, session: Session) -> bool:
        """Whether the session has its token from a former engine, which may know it still."""
        return self._adoption is not None and self._adoption.accepts(session.token or "")

    def _draft(
        self,
        session: Session,
        plan: Plan,
        encodings: Mapping[str, bytes],
        changes: Changes,
        source: Record | None,
        *,
        beside: bool = False,
    ) -> Draft:
        """Return what is to be stored in place of ``source``, or ``beside`` it, as a record of its own."""
        stays = source is not None and not beside and plan.decision.action is not Action.MOVE
        token = Token(session.token or "") if stays else self._new_token(plan.now)
        record = self._recorder.write(
            token,
            session,
            encodings,
            source=source,
            now=plan.now,
            idle_timeout=plan.idle_timeout,
            deadline=plan.decision.idle_deadline,
        )
        return Draft(token, record, encodings, changes, None if beside else source)

    def _create(self, session: Session, plan: Plan, changes: Changes) -> Steps[None]:
        return self._put_new(session, plan, changes.apply({}), changes, source=None)

    def _put_new(
        self,
        session: Session,
        plan: Plan,
        encodings: Mapping[str, bytes],
        changes: Changes,
        *,
        source: Record | None,
    ) -> Steps[None]:
        """Store the session under a new token; ``source`` is the record it goes on from."""
        draft = self._draft(session, plan, encodings, changes, source, beside=True)
        try:
            version = yield draft.call(self.store)
        except DuplicateKeyError:
            yield from self._put_again(session, plan, draft, source)
        else:
            draft.stored(session, version)

    def _put_again(
        self, session: Session, plan: Plan, draft: Draft, source: Record | None = None
    ) -> Steps[None]:
        """Store the session under another token: that of ``draft`` is somebody's.  Twice is not chance."""
        draft = self._draft(session, plan, draft.encodings, draft.changes, source, beside=True)
        version = yield draft.call(self.store)
        draft.stored(session, version)

    def _new_token(self, now: int) -> Token:
        """Return a new token, for a session that begins or goes on at ``now``."""
        latest = self.policy.absolute_deadline(now) if self._dates_tokens() else None
        return new_token() if latest is None else new_token(latest // DAY)

    def _dates_tokens(self) -> bool:
        """Whether tokens name the day on which their sessions end at the latest, as the store says now."""
        return getattr(self.store, "partition_by", None) == "day"

    def _touch(self, session: Session, deadline: int) -> Steps[None]:
        record = _stored(session)
        if not (yield self.store.touch, record.key, deadline):
            session.forget()
            raise _gone(record)
        session.record = replace(record, idle_deadline=deadline)

    def _replace(self, session: Session, plan: Plan) -> Steps[None]:
        """Update or move the record; on a conflict, apply the changes to the fresh one and try again."""
        if plan.decision.action is Action.MOVE and self._adoption is not None:
            yield from self._adoption.end(session.token)  # first: if it fails, nothing has happened
        encodings = plan.changes.apply(session.base)
        draft = self._draft(session, plan, encodings, plan.changes, _stored(session))
        try:
            version = yield draft.call(self.store)
        except (ConflictError, SessionGoneError) as refusal:
            yield from self._replace_again(session, plan, draft, refusal)
        else:
            draft.stored(session, version)

    def refused_steps(self, session: Session, plan: Plan, draft: Draft, refusal: StoreError) -> Steps[None]:
        """Go on after the store refused ``draft``, which :meth:`draft` returned."""
        if isinstance(refusal, ConflictError | SessionGoneError):
            yield from self._replace_again(session, plan, draft, refusal)
        elif draft.replaces is None:
            yield from self._put_again(session, plan, draft)
        else:
            raise refusal

    def _replace_again(
        self, session: Session, plan: Plan, draft: Draft, refusal: ConflictError | SessionGoneError
    ) -> Steps[None]:
        source = _stored(session)
        was_signed_in = source.subject is not None
        pauses = _pauses()
        while isinstance(refusal, ConflictError):
            self._expect_time_left(plan, source, refusal)
            yield Pause(next(pauses))  # before the load: what is loaded is fresh when it is written
            fresh = yield self.store.load, source.key
            if fresh is None:
                break
            theirs = self._recorder.read(session.token or "", fresh, now=self._clock.now(), held=True)
            if theirs is None:  # it lives, but what another request wrote cannot be read here
                session.forget()
                raise _gone(fresh)
            source, encodings = fresh, plan.changes.merge(session.base, theirs, self._units)
            draft = self._draft(session, plan, encodings, plan.changes, source)
            try:
                version = yield draft.call(self.store)
            except (ConflictError, SessionGoneError) as again:
                refusal = again
            else:
                draft.stored(session, version)
                return
        if plan.decision.action is not Action.MOVE or was_signed_in or source.subject is not None:
            session.forget()
            raise _gone(source)
        # Nobody's session was to be renewed and is gone: it gets a life of its own, which holds what this
        # request set and nothing of the session that is gone.
        yield from self._create(session, plan, Changes(plan.changes.assigned, frozenset()))

    def _expect_time_left(self, plan: Plan, source: Record, conflict: ConflictError) -> None:
        if self._clock.monotonic() >= plan.give_up:
            raise ConflictError(
                f"other requests kept changing session {source.public_id} for {self._timeout} s, "
                "so nothing was saved: try again"
            ) from conflict

    # Revoke

    def delete_steps(self, token: str | None) -> Steps[bool]:
        """See :meth:`Manager.delete`."""
        if token is None:
            return False
        token = Token(token)
        if not is_token(token):
            if self._adoption is None or not self._adoption.accepts(token):
                return False
            yield from self._adoption.end(token)
        lived: bool = yield self.store.delete, self._recorder.key(token)
        return lived

    def end_steps(self, session: Session) -> Steps[bool]:
        """See :meth:`Manager.end`."""
        lived = yield from self.delete_steps(session.token)
        record = session.record
        info = None if record is None else self._recorder.info(record)
        if lived or record is None or info is None:
            return lived
        if not isinstance(self.store, SubjectIndex | AsyncSubjectIndex):
            return False
        # It has ended already, or another request has renewed it: then it lives under another key, and may be
        # renewed again between the look and the delete.
        digests = dict.fromkeys(self._keyring.subject_digests(info.subject)) | {record.subject: None}
        for _ in range(_CHASES):
            renewed: list[str] = []
            for digest in digests:
                for other in (yield self.store.find_subject, digest):
                    others = self._recorder.info(other)
                    if others is not None and others.session_id == info.session_id:
                        renewed.append(other.key)
            for key in renewed:
                lived |= yield self.store.delete, key
            if lived or not renewed:
                break
        return lived

    def revoke_steps(self, key: str) -> Steps[bool]:
        """See :meth:`Manager.revoke`."""
        lived: bool = yield self.store.delete, key
        return lived

    def sessions_of_steps(self, subject: str) -> Steps[list[SessionSummary]]:
        """See :meth:`Manager.sessions_of`."""
        index = self._index()
        found: list[SessionSummary] = []
        for digest in self._keyring.subject_digests(subject):
            records = yield index.find_subject, digest
            found.extend(self._recorder.summary(record) for record in records)
        return found

    def revoke_subject_steps(self, subject: str, except_session: Session | None) -> Steps[int]:
        """See :meth:`Manager.revoke_subject`."""
        kept = None if except_session is None or except_session.record is None else except_session.record.key
        delete_subject = partial(self._index().delete_subject, except_key=kept)
        if self._adoption is not None:
            yield from self._adoption.revoke(subject)
        ended: int = 0
        for digest in self._keyring.subject_digests(subject):
            ended += yield delete_subject, digest
        return ended

    def _index(self) -> SubjectIndex | AsyncSubjectIndex:
        if isinstance(self.store, SubjectIndex | AsyncSubjectIndex):
            return self.store
        raise ConfigurationError(
            f"{type(self.store).__name__} keeps no index of subjects, so it cannot list or end someone's "
            "sessions: use a store that does"
        )

    def purge_steps(self, *, rate: float | None = PURGE_RATE, tell: Tell | None = None) -> Steps[int]:
        """See :meth:`Manager.purge`."""
        return (yield from purge_steps(self.store, rate=rate, tell=tell))


def _pauses() -> Iterator[float]:
    """Yield the seconds to wait before each next try: none before the second, then more and more."""
    yield 0.0
    longest = _FIRST_PAUSE
    while True:
        yield random.uniform(0, longest)  # noqa: S311 - jitter, not a secret
        longest = min(2 * longest, _LONGEST_PAUSE)


def _stored(session: Session) -> Record:
    if session.record is None:
        raise SessionGoneError("the session is not stored")
    return session.record


def _gone(record: Record) -> SessionGoneError:
    return SessionGoneError(
        f"session {record.public_id} was ended or has expired during the request; nothing was saved"
    )
