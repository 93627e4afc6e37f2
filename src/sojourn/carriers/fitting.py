"""Whether a session fits into a cookie, and into which."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sojourn.carriers.sealed import LARGEST, SealedCarrier
from sojourn.cookie import MAX_COOKIE
from sojourn.errors import PayloadTooLargeError
from sojourn.frozen import frozen
from sojourn.values import largest_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.carriers.lineage import Lineage
    from sojourn.record import Record

__all__ = ["CookieOptions", "Fitting"]

logger = logging.getLogger("sojourn")


@frozen()
class CookieOptions:
    """How sessions are put into cookies."""

    #: Whether they are signed only, so that who has the cookie can read it.
    signed: bool = False
    #: Whether those of more than 1 KB are compressed.
    compress: bool = True
    #: Octets the value may have.
    room: int = MAX_COOKIE - 256
    #: The limit that leaves this room, for messages.
    limit: int = MAX_COOKIE


@dataclass(frozen=True, slots=True)
class Fitting:
    """Puts records into cookies made by ``options``, as far as there is room."""

    options: CookieOptions
    carrier: SealedCarrier
    #: Whether there is a store for those that do not fit.
    spills: bool

    def value(
        self, lineage: Lineage, record: Record, encodings: Mapping[str, bytes], *, spilled: bool
    ) -> str | None:
        """Return the value that carries ``record``, or ``None`` if the session has to be in the store.

        ``spilled``: it is there now.  Raises ``PayloadTooLargeError`` if there is no store to go to.
        """
        room, limit = self.options.room, self.options.limit
        size: int | None = None
        if len(record.payload) <= LARGEST:
            value = self.carrier.write(lineage, record)
            size = len(value)
            # One that spilled goes back with room to grow, lest it goes to and fro.
            if size <= (room * 3 // 4 if spilled else room):
                return value
        if self.spills:
            return None
        octets = (
            f"{len(record.payload)} octets" if size is None else f"a cookie of {limit - room + size} octets"
        )
        message = (
            f"the session makes {octets}, name and attributes included; the limit is {limit}: keep large "
            "data elsewhere and its identifier in the session, or give it a store to spill into "
            f"({largest_keys(encodings)})"
        )
        logger.error("session %s was not saved: %s", record.public_id, message)
        raise PayloadTooLargeError(message)
