"""The records of sessions that did not fit into their cookies: ordinary ones that know their lineage."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from sojourn.carriers.lineage import ID_LENGTH, CarriedSession, Lineage
from sojourn.recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.record import Record
    from sojourn.session import Session

__all__ = ["SpillRecorder"]

#: Top-level key of the lineage.  The application never sees it, and has no such key of its own.
_KEY: Final = "\0lineage"
_FIELDS: Final = struct.Struct(f">{ID_LENGTH}sIQq")


class SpillRecorder(Recorder):
    """A :class:`~sojourn.recording.Recorder` that keeps the lineage with the session's data."""

    __slots__ = ()

    def read(self, token: str, record: Record, *, now: int, held: bool = False) -> dict[str, bytes] | None:
        """See :meth:`Recorder.read`."""
        found = self.read_with_lineage(token, record, now=now, held=held)
        return None if found is None else found[1]

    def read_with_lineage(
        self, token: str, record: Record, *, now: int, held: bool = False
    ) -> tuple[Lineage, dict[str, bytes]] | None:
        """Return the lineage and the encodings in ``record``, or ``None`` if it is no session.

        A session that another engine of Sojourn's put there has no lineage yet: its id is made of the key, so
        that all requests mean the same session.
        """
        encodings = Recorder.read(self, token, record, now=now, held=held)
        if encodings is None:
            return None
        packed = encodings.pop(_KEY, None)
        if packed is None:
            return Lineage(id=bytes.fromhex(record.key)[-ID_LENGTH:], latest=record.idle_deadline), encodings
        session_id, generation, epoch, latest = _FIELDS.unpack(packed)
        return Lineage(id=session_id, generation=generation, epoch=epoch, latest=latest), encodings

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
        """See :meth:`Recorder.write`."""
        lineage = session.lineage if isinstance(session, CarriedSession) else None
        if lineage is not None:
            packed = _FIELDS.pack(lineage.id, lineage.generation, lineage.epoch, lineage.latest)
            encodings = {**encodings, _KEY: packed}
        return Recorder.write(
            self,
            token,
            session,
            encodings,
            source=source,
            now=now,
            idle_timeout=idle_timeout,
            deadline=deadline,
        )
