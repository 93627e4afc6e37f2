"""The words of the model: a way a session may be, what a request wants, a promise broken.

See :mod:`sojourn.testing.expected`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["USER", "USER_HASH", "Intent", "Violation", "Way"]

#: Where a session says whose it is, and a second value that must always be the same user's.
USER: Final = "_auth_user_id"
USER_HASH: Final = "_auth_user_hash"

_UNIT: Final = "_auth_user_"


class Violation(AssertionError):  # noqa: N818 - it is what a test says, not what a call raises
    """A promise is broken.  ``kind`` says which.

    ``"revived"``: a session that had ended, or a token that was renewed, was found alive or accepted.
    ``"lost"``: an acknowledged change, or a living session, is not there.  ``"mixed"``: values of two users
    in one session.  ``"wrong"``: an answer that no order of the requests explains.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        #: The schedule in which it was found, for ``replay``; ``None`` outside the interleaving driver.
        self.schedule: object = None


@dataclass(frozen=True, slots=True)
class Way:
    """One way a living session may be.  ``None`` takes its place for a session that has ended."""

    #: The token it lives under; ``None``: one that nobody has got to know.
    token: str | None
    values: Mapping[str, Any] = field(repr=False)
    #: Dead from this instant on, once asked for.
    deadline: int
    created_at: int
    #: Tells one user's time in the session from another's, through all tokens.
    reign: int

    @property
    def subject(self) -> str | None:
        """Whose it is."""
        return self.values.get(USER)

    def lives(self, now: int) -> bool:
        """Whether its deadline is to come."""
        return now < self.deadline

    def is_under(self, token: str, now: int) -> bool:
        """Whether it lives under ``token``."""
        return self.token == token and self.lives(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a request wants its commit to do, as the application put it."""

    #: The token it came with; ``None``: its session is not stored.
    token: str | None
    #: The session's values when it was opened or last saved, and now.
    base: Mapping[str, Any] = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)
    cleared: bool = False
    renews: bool = False
    #: Whether a user has just proved who they are: the time since the session began is counted anew.
    restarts: bool = False
    ends: bool = False
    #: Whether the idle deadline moves although nothing else changes.
    touches: bool = False
    #: Whether even an empty session is stored.
    saves: bool = False
    now: int
    deadline: int
    #: The :attr:`Way.reign` it found, and the one that begins if it gives the session to another user.
    reign: int
    next_reign: int

    @property
    def assigned(self) -> dict[str, Any]:
        """What it gives a new value."""
        base = {} if self.cleared else self.base
        return {key: value for key, value in self.values.items() if key not in base or base[key] != value}

    @property
    def changes(self) -> bool:
        """Whether it changes any value."""
        return self.values != self.base

    @property
    def writes(self) -> bool:
        """Whether it has anything to write to a session that is stored."""
        return self.changes or self.renews or self.touches

    def clashes(self, way: Way) -> bool:
        """Whether it and somebody else gave the session to users, and not to the same."""
        before, mine, theirs = _unit(self.base), _unit(self.values), _unit(way.values)
        return mine not in (before, theirs) and theirs != before

    def ended(self, way: Way | None, *, follows: bool) -> Way | None:
        """Return what becomes of ``way`` when this signs out.

        It ends under the token that this came with, and, if the store can tell (``follows``), under whatever
        token others have renewed it to, unless it has been somebody else's since.
        """
        if way is None or way.token == self.token:
            return None
        return None if follows and way.subject is not None and way.reign == self.reign else way

    def done_to(self, way: Way, token: str | None) -> Way:
        """Return what becomes of ``way``, from now on under ``token``."""
        if not (self.changes or self.renews):
            return replace(way, deadline=self.deadline)
        values = self._merged(way)
        goes_on = values.get(USER) == way.subject
        return Way(
            token,
            values,
            deadline=self.deadline,
            created_at=way.created_at if goes_on and not self.restarts else self.now,
            reign=way.reign if goes_on else self.next_reign,
        )

    def fresh(self, token: str | None) -> Way:
        """Return the session this makes where there was none."""
        return Way(token, self.assigned, self.deadline, self.now, self.next_reign)

    def _merged(self, way: Way) -> Mapping[str, Any]:
        if self.cleared and self.changes:
            return self.values
        kept = {k: v for k, v in way.values.items() if k in self.values or k not in self.base}
        return {**kept, **self.assigned}


def _unit(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key.startswith(_UNIT)}
