"""What a session takes in each store, by its size; ``python -m bench.scale --sizes``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.scale.sessions import sealed

if TYPE_CHECKING:
    from bench.scale.places import Place

__all__ = ["Weighed", "weigh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """So many sessions of one size in one store.  Sizes are bytes."""

    #: What :attr:`bytes` are.
    counts: str
    sessions: int
    #: The parts of one sealed record, beside a key of 32 and a version.
    payload: int
    info: int
    subject: int
    #: What all of them take.
    bytes: int

    @property
    def per_session(self) -> float:
        """Bytes a session takes, its share of indexes and free space included."""
        return self.bytes / self.sessions

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {**asdict(self), "per_session": round(self.per_session, 1)}


def weigh(place: Place, *, sessions: int, size: int) -> Weighed:
    """Return what the ``sessions`` in a filled ``place`` take; ``size`` is that of one as JSON."""
    model = sealed(size)
    return Weighed(
        counts=place.counts,
        sessions=sessions,
        payload=len(model.payload),
        info=len(model.info),
        subject=len(model.subject or b""),
        bytes=place.size(),
    )
