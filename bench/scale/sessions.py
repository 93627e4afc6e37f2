"""Records as the engines write them, made faster than they would be one by one.

One session of each size is stored and sealed for real; the others have the lengths of its parts.  Sealed
bytes look like chance and do not compress, so chance it is.
"""

from __future__ import annotations

import os
import random
from functools import cache
from typing import TYPE_CHECKING, Final

from bench.data import READ, signed_in
from sojourn.clock import SystemClock
from sojourn.keyring import Keyring
from sojourn.manager import Manager
from sojourn.record import DAY, Record, dated_key
from sojourn.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SHARE_EXPIRED", "records", "sealed"]

#: How much of a full store purging is to find.
SHARE_EXPIRED: Final = 0.2

_IDLE: Final = 14 * DAY
_DIGEST: Final = 32


@cache
def sealed(size: int) -> Record:
    """Return the record of a session of ``size`` bytes as JSON, of a user who is signed in."""
    manager = Manager(
        MemoryStore(),
        Keyring(["one secret for all of them, longer than thirty-two octets"]),
        subject_of=lambda session: session.get(READ),
    )
    session = manager.new_session()
    session.update(signed_in(size))
    session.label = "Firefox on Linux"
    manager.commit(session)
    assert session.record is not None  # noqa: S101 - a commit that returns has stored it
    return session.record


def records(count: int, size: int, *, expired: float = 0.0, absolute: bool = False) -> Iterator[Record]:
    """Yield ``count`` records in random order of keys; of these a share of ``expired`` is dead.

    Their deadlines are spread over the two weeks that a session lasts, those of the dead over the day before
    yesterday.  ``absolute``: they are absolute deadlines, too, and the keys name their days.
    """
    chance = random.Random()
    model, now = sealed(size), SystemClock().now()
    today = now - now % DAY
    for _ in range(count):
        if chance.random() < expired:
            deadline = today - DAY - chance.randrange(1, DAY)
        else:
            deadline = now + chance.randrange(DAY // 24, _IDLE)
        key = os.urandom(_DIGEST).hex()
        yield Record(
            dated_key(key, deadline // DAY) if absolute else key,
            os.urandom(len(model.payload)),
            deadline - _IDLE,
            deadline,
            deadline if absolute else None,
            os.urandom(len(model.subject or b"")),
            os.urandom(len(model.info)),
        )
