"""Session ↔ record.  Pure: no I/O, the time is given.

The one place that knows how a record comes about: which key, whose session, which deadlines, what is sealed
and what it is bound to.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sojourn.errors import DecodeError
from sojourn.listing import Info, SessionSummary
from sojourn.policy import EXPIRY_KEY, idle_deadline
from sojourn.record import Record
from sojourn.sealing import UnknownSecretError
from sojourn.session import Session
from sojourn.token import key_for
from sojourn.values import frame, unframe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sojourn.keyring import Keyring
    from sojourn.policy import Policy
    from sojourn.sealing import Sealing
    from sojourn.values import Codec

__all__ = ["Recorder"]

logger = logging.getLogger("sojourn")

_CLOCK_SKEW: Final = 60_000
_SESSION_ID: Final = 9
#: What a session's own timeout is where it is an instant.
_INSTANTS: Final = (str, datetime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Writes and reads the records of one site."""

    keyring: Keyring
    sealing: Sealing
    codec: Codec
    policy: Policy
    #: Tells whose session it is from its data; ``None``: nobody's.
    subject_of: Callable[[Mapping[str, Any]], str | None]
    #: Bytes an encoded session may have.
    max_payload: int
    #: Where the records are kept, for messages.
    place: str

    def key(self, token: str) -> str:
        """Return the key under which the session of ``token`` is stored."""
        return key_for(token, namespace=self.keyring.namespace)

    def read(self, token: str, record: Record, *, now: int, held: bool = False) -> dict[str, bytes] | None:
        """Return the encodings in ``record``, or ``None``, logged, if it is no session for this request.

        That is: sealed under a secret not listed, damaged or forged, or not present.  ``held``: see there.
        """
        return self.open(token, record) if self.is_present(record, now=now, held=held) else None

    def is_present(self, record: Record, *, now: int, held: bool = False) -> bool:
        """Whether a living ``record`` may be a session at ``now``.

        Not if it is past an absolute timeout that was set after it was written, nor (logged) if it begins in
        the future, unless ``held``: this request has opened the session before, so that it is one even if
        the clock was set back meanwhile.
        """
        limit = self.policy.absolute_deadline(record.created_at)
        if limit is not None and now >= limit:
            return False
        if not held and record.created_at > now + _CLOCK_SKEW:
            logger.warning("session %s begins in the future: check this machine's clock", record.public_id)
            return False
        return True

    def open(self, token: str, record: Record) -> dict[str, bytes] | None:
        """Return the encodings in ``record``, or ``None``, logged, if it does not open."""
        try:
            bound = self.sealing.context(
                record.key, record.created_at, record.absolute_deadline, record.subject, record.info
            )
            return unframe(self.sealing.open(record.payload, token, bound))
        except UnknownSecretError as error:
            logger.info("session %s in %s is no session: %s", record.public_id, self.place, error)
        except DecodeError as error:
            logger.error(  # noqa: TRY400 - where it was raised says nothing
                "session %s in %s is no session: %s. Its user has to sign in again, others are not affected; "
                "if there are more of them, check the disk and restore a backup",
                record.public_id,
                self.place,
                error,
            )
        return None

    def write(
        self,
        token: str,
        session: Session,
        encodings: Mapping[str, bytes],
        *,
        source: Record | None,
        now: int,
        idle_timeout: int,
        deadline: int | None = None,
    ) -> Record:
        """Return the sealed record that keeps ``encodings`` for ``session`` under ``token``.

        ``source`` is the record it replaces.  The absolute timeout goes on from there, unless the session
        restarts it or has another subject than before.  ``deadline`` is the idle one if the session is saved
        as it is, ``None``: to be worked out.  Raises ``PayloadTooLargeError``.
        """
        payload = frame(encodings, limit=self.max_payload)
        view = session
        if source is not session.record:  # others have written to it meanwhile
            view, deadline = Session(self.codec, encodings), None
        subject = self.subject_of(view)
        if deadline is None:
            idle_timeout = self.policy.idle_timeout_of(subject, idle_timeout)
            deadline = idle_deadline(view.get(EXPIRY_KEY), now=now, idle_timeout=idle_timeout)
        digest = None if subject is None else self.keyring.subject_digest(subject)
        former = self.goes_on_from(source, subject, digest)
        created_at = now if former is None or session.restarts else former.created_at
        key = source.key if source is not None and token == session.token else self.key(token)
        absolute_deadline = self.policy.absolute_deadline(created_at)
        info = b""
        if subject is not None:
            ends_at_instant = isinstance(view.get(EXPIRY_KEY), _INSTANTS)
            if (
                former is not None
                and session.label is None
                and not ends_at_instant
                and session.base.get(EXPIRY_KEY) == encodings.get(EXPIRY_KEY)
                and (former.key, former.created_at, former.absolute_deadline, former.subject)
                == (key, created_at, absolute_deadline, digest)
            ):
                info = former.info  # as it is: sealed again it would say the same
            else:
                before = None if former is None else self.info(former)
                label = session.label
                if label is None:
                    label = "" if before is None else before.label
                plain = Info(
                    session_id=secrets.token_bytes(_SESSION_ID) if before is None else before.session_id,
                    subject=subject,
                    label=label,
                    idle_timeout=None if ends_at_instant else deadline - now,
                    written_at=now,
                )
                bound = self.sealing.context(key, created_at, absolute_deadline, digest, b"")
                info = self.sealing.seal_info(plain.encode(), bound)
        context = self.sealing.context(key, created_at, absolute_deadline, digest, info)
        sealed = self.sealing.seal(payload, token, context)
        return Record(key, sealed, created_at, deadline, absolute_deadline, digest, info)

    def summary(self, record: Record) -> SessionSummary:
        """Return what a listing shows of ``record``; needs no token."""
        return SessionSummary.of(record, self.info(record))

    def info(self, record: Record) -> Info | None:
        """Return the opened info of ``record``; ``None`` if it has none that opens."""
        if not record.info:
            return None
        try:
            bound = self.sealing.context(
                record.key, record.created_at, record.absolute_deadline, record.subject, b""
            )
            return Info.decode(self.sealing.open_info(record.info, bound))
        except DecodeError:
            return None

    def goes_on_from(self, source: Record | None, subject: str | None, digest: bytes | None) -> Record | None:
        """Return ``source`` if it has the subject with this digest, or had it under another listed secret.

        Else ``None``: it is replaced by a session that begins now.
        """
        if source is None or source.subject == digest:
            return source
        if subject is not None and source.subject in self.keyring.subject_digests(subject):
            return source
        return None
