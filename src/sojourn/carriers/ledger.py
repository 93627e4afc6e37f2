"""What the revocation list is asked and told in the life of a session.

:mod:`~sojourn.carriers.revocations` keeps the account; here is decided what goes into it: when somebody signs
in, and when a session is renewed, lives longer than it said, or ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from sojourn.carriers.revocations import Revocations, Standing, ended, renewed, who
from sojourn.errors import SessionGoneError
from sojourn.record import DAY
from sojourn.session import Session
from sojourn.store import AsyncStore, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.carriers.lineage import CarriedSession, Lineage
    from sojourn.record import Record
    from sojourn.recording import Recorder
    from sojourn.steps import Steps

__all__ = ["Ledger"]

StoreT = TypeVar("StoreT", Store, AsyncStore)


@dataclass(frozen=True, slots=True)
class Ledger(Generic[StoreT]):
    """What ``revocations`` has to know of the sessions that ``recorder`` reads and writes."""

    revocations: Revocations[StoreT]
    recorder: Recorder

    def lives_steps(self, session: CarriedSession, lineage: Lineage, record: Record) -> Steps[bool]:
        """Whether the list lets a session that was just opened live.  One load, at most."""
        standing = yield from self.revocations.standing_steps(who(lineage, record.subject))
        session.standing = standing
        return standing.allows(lineage)

    def concerns(self, session: CarriedSession, record: Record, *, now: int) -> bool:
        """Whether the list has a part in replacing the session's cookie by one of the same generation.

        It has in those that change whose session it is, or that make it live longer than they said.
        """
        former, source = session.lineage, session.record
        if former is None or source is None or record.subject != source.subject:
            return True
        return not session.unsent and self._outgrows(former, record, now)

    def settle_steps(
        self, session: CarriedSession, lineage: Lineage, record: Record, *, source: Record | None, now: int
    ) -> Steps[Lineage]:
        """Tell the list of the cookie that is about to be written; return the lineage to write.

        Raises ``SessionGoneError`` if the session has ended since it was opened.
        """
        former, known = session.lineage, session.standing
        about = who(lineage, record.subject)
        before = None if source is None or former is None else who(former, source.subject)
        standing = known
        if about != before:
            standing = Standing()
            if record.subject is not None:  # read before the list is asked once more about the former one
                standing = yield from self.revocations.standing_steps(about, fresh=True)
        if before is not None and former is not None:
            change: Callable[[Standing], Standing] | None = None
            if lineage.generation != former.generation:
                change = renewed(lineage.id, lineage.generation, self._outlives(lineage, now))
            elif session.unsent:
                pass  # nobody else can have ended it
            elif about != before:
                still = yield from self.revocations.standing_steps(before, fresh=True)
                if not still.allows(former):
                    raise SessionGoneError("the session was ended during the request; nothing was saved")
            elif self._outgrows(former, record, now):
                # Half as much more, for the next time it moves.
                latest = record.idle_deadline + (record.idle_deadline - now) // 2
                lineage = lineage._replace(latest=latest)
                change = renewed(lineage.id, 0, self._outlives(lineage, now))
            if change is not None:
                changed = yield from self.revocations.change_steps(
                    before, change, known=known, only_if=former
                )
                standing = changed if about == before else standing
        session.standing = standing
        return lineage if standing is None else lineage._replace(epoch=standing.epoch)

    def end_steps(
        self, session: CarriedSession, lineage: Lineage, record: Record, *, now: int
    ) -> Steps[None]:
        """End all cookies of the session.  One write, if nobody else changed the same record."""
        change = ended(lineage.id, self._outlives(lineage, now))
        standing = session.standing
        for about in self._everyone(session, who(lineage, record.subject)):
            yield from self.revocations.change_steps(about, change, known=standing)
            standing = None

    def end_all_steps(self, subject: str, *, sparing: bytes | None, now: int) -> Steps[None]:
        """End all sessions of ``subject`` but one, given by its id."""
        # The present secret's last, and read first in settle_steps: a session between them is not missed.
        for digest in reversed(self.recorder.keyring.subject_digests(subject)):
            yield from self.revocations.change_steps(
                f"subject {digest.hex()}", lambda standing: standing.with_new_epoch(now, sparing=sparing)
            )

    def _everyone(self, session: Session, first: str) -> list[str]:
        """Return whom the list has to know a session's end of: its user, under each listed secret."""
        subject = self.recorder.subject_of(Session(self.recorder.codec, session.base))
        everyone = [first]
        for digest in [] if subject is None else self.recorder.keyring.subject_digests(subject):
            if (other := f"subject {digest.hex()}") not in everyone:
                everyone.append(other)
        return everyone

    def _outgrows(self, former: Lineage, record: Record, now: int) -> bool:
        """Whether ``record`` lives longer than whoever ends its session would think."""
        return record.idle_deadline > max(former.latest, self._usual(now))

    def _outlives(self, lineage: Lineage, now: int) -> int:
        """Return an instant at which all cookies of the session are dead, also those being written now."""
        return max(lineage.latest, self._usual(now)) + DAY

    def _usual(self, now: int) -> int:
        return now + self.recorder.policy.idle_timeout * 1000
