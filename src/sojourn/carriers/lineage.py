"""What ties the cookies of one session together, when nothing on the server does."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from sojourn.session import Session

if TYPE_CHECKING:
    from sojourn.carriers.revocations import Standing

__all__ = ["ID_LENGTH", "CarriedSession", "Lineage"]

#: Octets of a session id.
ID_LENGTH: Final = 12


class Lineage(NamedTuple):
    """Which session a cookie is a state of.  Goes along in each of its cookies, sealed with the data."""

    #: Random, the same in all cookies of the session: through saves, renewals, and a stay in a store.
    id: bytes
    #: Grows by one at each renewal: cookies from before can be told, and refused.
    generation: int = 0
    #: The subject's epoch when the session was signed in; 0: none.  See :class:`Standing`.
    epoch: int = 0
    #: No cookie of the session lives longer (milliseconds since the Unix epoch).
    latest: int = 0

    @classmethod
    def new(cls) -> Lineage:
        """Return that of a session about to begin."""
        return cls(id=secrets.token_bytes(ID_LENGTH))

    @property
    def name(self) -> str:
        """The id as text: what stands in for a token where a record is written or listed."""
        return self.id.hex()

    def __repr__(self) -> str:
        """Show no id."""
        return f"<Lineage, generation {self.generation}>"


class CarriedSession(Session):
    """A session that travels in its cookie."""

    __slots__ = ("lineage", "standing", "unsent")

    #: ``None`` until it is first saved.
    lineage: Lineage | None
    #: What the revocation list said when it was opened; ``None``: there is no list.
    standing: Standing | None
    #: Whether its cookie was begun or renewed in this request, so that nobody else has it yet.
    unsent: bool
