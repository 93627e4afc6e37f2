"""Records to test with."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from sojourn.record import Record

if TYPE_CHECKING:
    from sojourn.clock import Clock

__all__ = ["new_record"]


def new_record(clock: Clock, *, lives: float = 1800.0, **fields: Any) -> Record:
    """Return a record under a new random key, created now and idle for ``lives`` seconds at most.

    ``fields`` are those of :class:`~sojourn.record.Record`; each overrides what it would be.
    """
    now = clock.now()
    record: dict[str, Any] = {
        "key": secrets.token_hex(32),
        "payload": b"a payload",
        "created_at": now,
        "idle_deadline": now + round(lives * 1000),
    }
    return Record(**(record | fields))
