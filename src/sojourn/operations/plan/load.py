"""What users do, in a few numbers, and what that comes to each second."""

from __future__ import annotations

import math
from typing import Final

from sojourn.errors import ConfigurationError
from sojourn.frozen import frozen
from sojourn.operations.plan.footprint import Shape
from sojourn.values import MAX_SIZE

__all__ = ["Load", "few", "within"]

_LEAST_WRITTEN_OUT: Final = 0.1
#: More than there are people, requests and seconds.
_MOST: Final = 1_000_000_000_000


@frozen()
class Load:
    """Few numbers that say how large a site is.  Durations are seconds, sizes octets."""

    users: int
    sessions_per_user: float = 1.0
    #: Of one session's values, encoded and before they are sealed; nearly that of their JSON.
    session_size: int = 2_000
    #: That read or write a session, a second.
    requests: float
    #: The share of them that changes the session or moves its deadline.
    saves: float = 0.1
    idle_timeout: int = 14 * 24 * 3_600
    #: A second.  ``None``: as many as keep the number of sessions, each living for the idle timeout.
    sign_ins: float | None = None

    def __post_init__(self) -> None:
        """Raise ``ConfigurationError`` for numbers that no site has."""
        within("users", self.users, 1, _MOST)
        within("sessions_per_user", self.sessions_per_user, 0.000_001, 1_000_000)
        within("session_size", self.session_size, 1, MAX_SIZE)
        within("requests", self.requests, 0, _MOST)
        within("saves", self.saves, 0, 1, hint="it is a share, such as 0.1")
        within("idle_timeout", self.idle_timeout, 1, _MOST)
        if self.sign_ins is not None:
            within("sign_ins", self.sign_ins, 0, _MOST)

    @property
    def sessions(self) -> int:
        """How many live at a time."""
        return math.ceil(self.users * self.sessions_per_user)

    @property
    def logins(self) -> float:
        """How many a second, and as many sessions end: by signing out, at worst, which costs most."""
        if self.sign_ins is not None:
            return self.sign_ins
        return self.sessions / self.idle_timeout

    @property
    def modifying(self) -> float:
        """Requests a second that write their session."""
        return self.requests * self.saves

    @property
    def shape(self) -> Shape:
        """What a store is given for one session."""
        return Shape.of_session(self.session_size)


def within(name: str, given: float, least: float, most: float, *, hint: str = "") -> None:
    """Raise ``ConfigurationError`` unless ``given`` lies between ``least`` and ``most``."""
    if not least <= given <= most:
        said = hint or f"it has to be from {least:,} to {most:,}"
        raise ConfigurationError(f"{name} is {given:,}; {said}")


def few(number: float) -> str:
    """Return a number that may be small as people read it: ``1,234.5``, ``0.00017``."""
    return f"{number:,.1f}" if number >= _LEAST_WRITTEN_OUT or not number else f"{number:.2g}"
