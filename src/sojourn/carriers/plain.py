"""The records of sessions that are in their cookies: in clear, for each cookie is sealed as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sojourn.record import DAY, UNSAVED, Record
from sojourn.values import frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.carriers.lineage import Lineage
    from sojourn.recording import Recorder
    from sojourn.session import Session

__all__ = ["LONGEST_LIFE", "is_plain", "plain_record"]

#: Milliseconds.  No cookie lives longer than 400 days (RFC 6265bis 5.5), and none here is a session longer.
LONGEST_LIFE: Final = 400 * DAY


def plain_record(
    recorder: Recorder,
    lineage: Lineage,
    session: Session,
    encodings: Mapping[str, bytes],
    *,
    source: Record | None,
    now: int,
    deadline: int,
) -> Record:
    """Return the record of ``session`` that goes into a cookie; what :meth:`Recorder.write` does for a store.

    ``source`` is the record it replaces, ``deadline`` when it dies unless there is activity, or the last
    day of a cookie comes.  Raises ``PayloadTooLargeError``.
    """
    payload = frame(encodings, limit=recorder.max_payload)
    subject = recorder.subject_of(session)
    digest = None if subject is None else recorder.keyring.subject_digest(subject)
    former = recorder.goes_on_from(source, subject, digest)
    created_at = now if former is None or session.restarts else former.created_at
    return Record(
        source.key if source is not None and is_plain(source) else recorder.key(lineage.name),
        payload,
        created_at,
        min(deadline, now + LONGEST_LIFE),
        recorder.policy.absolute_deadline(created_at),
        digest,
    )


def is_plain(record: Record) -> bool:
    """Whether ``record`` is from a cookie: one from a store has a version."""
    return record.version is UNSAVED
