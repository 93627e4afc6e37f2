"""Taking over the cookies of an engine that was used before.

Such a cookie holds its session itself, so that nothing has to be looked up, moved or ended elsewhere: it is
read as if it had been written here when it was made, each time it comes, until a save replaces it.
"""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

from sojourn.carriers.lineage import ID_LENGTH, Lineage
from sojourn.carriers.plain import plain_record
from sojourn.errors import EncodeError
from sojourn.policy import EXPIRY_KEY, idle_deadline
from sojourn.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.record import Record
    from sojourn.recording import Recorder

__all__ = ["CookieAdoption", "CookieFormer"]

logger = logging.getLogger("sojourn")

_LABEL: Final = b"sojourn adopted 1\0"


class CookieFormer(Protocol):
    """The engine whose cookies were used before.  Pure: what it has to say is in the cookie."""

    def accepts(self, value: str) -> bool:
        """Whether ``value`` has the form of that engine's."""
        ...

    def read(self, value: str) -> tuple[Mapping[str, Any], int] | None:
        """Return the data in a genuine cookie and when it was made (milliseconds since the Unix epoch)."""
        ...


class CookieAdoption:
    """Reads the cookies of ``former`` as ``recorder`` would have written them.  Pure: no I/O, no clock."""

    def __init__(self, former: CookieFormer, recorder: Recorder) -> None:
        self._former = former
        self._recorder = recorder
        self.accepts = former.accepts

    def read(self, value: str) -> tuple[Lineage, Record] | None:
        """Return what a cookie of the former engine's carries; ``None`` (logged) if it cannot be kept here.

        The session id is made of the cookie, so that all requests with it mean the same session.
        """
        found = self._former.read(value) if self.accepts(value) else None
        if found is None:
            return None
        data, made_at = found
        session = Session(self._recorder.codec)
        lineage = Lineage(id=sha256(_LABEL + value.encode()).digest()[:ID_LENGTH])
        try:
            session.update(data)
            record = plain_record(
                self._recorder,
                lineage,
                session,
                session.changes().assigned,
                source=None,
                now=made_at,
                deadline=self._deadline(session, made_at),
            )
        except EncodeError as error:
            logger.error("a session cannot be taken over from its cookie: %s", error)  # noqa: TRY400
            return None
        return lineage._replace(latest=record.idle_deadline), record

    def _deadline(self, session: Session, made_at: int) -> int:
        policy = self._recorder.policy
        own = policy.idle_timeout_of(self._recorder.subject_of(session), policy.idle_timeout)
        return idle_deadline(session.get(EXPIRY_KEY), now=made_at, idle_timeout=own)
