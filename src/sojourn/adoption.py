"""Taking over sessions from an engine that was used before, one at a time, as their browsers come back.

A token the store does not know, but in the former engine's format, is looked up there, and its data is
stored here under the same token, so that parallel requests with that cookie agree.  It is adopted once and
never again: before anything is stored, the one request that may do it creates a *ticket*, a record that
outlives the former one.  So a session that was ended or renewed here cannot come back from there.

What each request does, for a token ``t`` of the former format:

1. load ``t``: the adopted session; the ordinary case, one round trip.
2. look ``t`` up in the former engine: nothing there, no session (two round trips).
3. create the ticket of ``t``.  If it exists, somebody else is adopting, or has: load ``t`` again, and if it
   is still missing and the ticket is young, wait a moment and try again.
4. create the session under ``t``; then look once more whether the former engine still has it and the subject
   was not revoked meanwhile, and if not, delete it again: the logout was first.

A logout deletes in the former engine first and here second, so that one of the two looks in 4 sees it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from sojourn.errors import DuplicateKeyError, EncodeError
from sojourn.record import DAY, Record, public_id
from sojourn.session import Session
from sojourn.steps import Pause
from sojourn.token import key_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.clock import Clock
    from sojourn.recording import Recorder
    from sojourn.steps import Steps
    from sojourn.store import AsyncStore, Store

__all__ = ["Adoption", "AsyncFormer", "Former"]

logger = logging.getLogger("sojourn")

#: A revocation outlives every session that existed when it was made: no cookie lives longer (RFC 6265bis).
_LONGEST_LIFE: Final = 400 * DAY
_YOUNG: Final = 2_000
_PAUSES: Final = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)


class Former(Protocol):
    """The engine that was used before."""

    def accepts(self, token: str) -> bool:
        """Whether ``token`` has the former engine's format.  No I/O."""
        ...

    def load(self, token: str) -> Mapping[str, Any] | None:
        """Return the data of the living session of ``token``, or ``None``.

        Raises ``StoreUnavailableError`` if the engine did not answer.
        """
        ...

    def delete(self, token: str) -> None:
        """Delete the session of ``token``, if there is one.  Raises ``StoreUnavailableError``."""
        ...


class AsyncFormer(Protocol):
    """:class:`Former` for asyncio."""

    def accepts(self, token: str) -> bool:
        """See :meth:`Former.accepts`."""
        ...

    async def load(self, token: str) -> Mapping[str, Any] | None:
        """See :meth:`Former.load`."""
        ...

    async def delete(self, token: str) -> None:
        """See :meth:`Former.delete`."""
        ...


StoreT = TypeVar("StoreT", "Store", "AsyncStore")


class Adoption(Generic[StoreT]):
    """The steps of taking sessions over from ``former`` into ``store``."""

    def __init__(self, former: Former | AsyncFormer, store: StoreT, recorder: Recorder, clock: Clock) -> None:
        self._former = former
        self._store: StoreT = store
        self._recorder = recorder
        self._clock = clock

    def accepts(self, token: str) -> bool:
        """Whether ``token`` may name a session to adopt."""
        return self._former.accepts(token)

    def adopt(self, token: str, *, idle_timeout: int) -> Steps[Record | None]:
        """Return the record of a session taken over, or ``None`` if there is none to take.

        ``idle_timeout`` is in seconds.
        """
        data: Mapping[str, Any] | None = yield self._former.load, token
        record = None if data is None else self._record(token, data, idle_timeout)
        if data is None or record is None:
            return None
        # Nobody's session may live longer there than it is given here.
        latest = max(record.idle_deadline, self._clock.now() + idle_timeout * 1_000)
        ticket = self._mark(token, "ticket", until=latest + DAY)
        try:
            yield self._store.create, ticket
        except DuplicateKeyError:
            return (yield from self._adopted_by_another(record.key, ticket.key))
        try:
            version = yield self._store.create, record
        except BaseException:
            yield self._store.delete, ticket.key
            raise
        try:
            ended = (yield self._former.load, token) is None or (yield from self._is_revoked(data))
        except BaseException:
            yield self._store.delete, record.key
            yield self._store.delete, ticket.key
            raise
        if ended:
            yield self._store.delete, record.key
            return None
        logger.info("session %s was taken over from the former engine", record.public_id)
        return replace(record, version=version)

    def end(self, token: str | None) -> Steps[None]:
        """Delete the former session of ``token``, if there can be one.  Comes before deleting ours."""
        if token is not None and self.accepts(token):
            yield self._former.delete, token

    def revoke(self, subject: str) -> Steps[None]:
        """Let no session of ``subject`` be adopted any more.  Comes before deleting those we have."""
        digest = self._recorder.keyring.subject_digest(subject)
        mark = self._mark(digest.hex(), "revoked", until=self._clock.now() + _LONGEST_LIFE)
        try:
            yield self._store.create, mark
        except DuplicateKeyError:
            yield self._store.touch, mark.key, mark.idle_deadline

    def _is_revoked(self, data: Mapping[str, Any]) -> Steps[bool]:
        subject = self._recorder.subject_of(data)
        if subject is not None:
            for digest in self._recorder.keyring.subject_digests(subject):
                mark = self._mark(digest.hex(), "revoked", until=0)
                if (yield self._store.load, mark.key) is not None:
                    return True
        return False

    def _adopted_by_another(self, key: str, ticket_key: str) -> Steps[Record | None]:
        """Return what another request has taken over or is taking over, or ``None`` if it ended since."""
        record: Record | None = None
        for pause in _PAUSES:
            record = yield self._store.load, key
            if record is not None:
                break
            ticket: Record | None = yield self._store.load, ticket_key
            if ticket is None or self._clock.now() - ticket.created_at > _YOUNG:
                break
            yield Pause(pause)
        return record

    def _record(self, token: str, data: Mapping[str, Any], idle_timeout: int) -> Record | None:
        session = Session(self._recorder.codec)
        session.update(data)
        try:
            return self._recorder.write(
                token,
                session,
                session.changes().assigned,
                source=None,
                now=self._clock.now(),
                idle_timeout=idle_timeout,
            )
        except EncodeError as error:
            key = public_id(self._recorder.key(token))
            logger.error("session %s cannot be taken over: %s", key, error)  # noqa: TRY400
            return None

    def _mark(self, name: str, kind: str, *, until: int) -> Record:
        """Return an empty record that only says that something happened."""
        key = key_for(name, namespace=f"{self._recorder.keyring.namespace}\0{kind}")
        return Record(key=key, payload=b"", created_at=self._clock.now(), idle_deadline=until)
