"""What users do, in a few numbers, and what that comes to each second."""

from __future__ import annotations

import math
from typing import Final

from sojourn.errors import ConfigurationError
from sojourn.frozen import frozen
from sojourn.operations.plan.footprint import Shape

__all__ = ["Load", "few"]

_LEAST_WRITTEN_OUT: Final = 0.1


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
        least = {
            "users": 1,
            "sessions_per_user": 0.000_001,
            "session_size": 1,
            "requests": 0,
            "saves": 0,
            "idle_timeout": 1,
            "sign_ins": 0,
        }
        for name, smallest in least.items():
            given = getattr(self, name)
            if given is not None and not smallest <= given < math.inf:
                raise ConfigurationError(f"{name} is {given}; it has to be {smallest:g} or more")
        if self.saves > 1:
            raise ConfigurationError(f"saves is {self.saves}; it is a share, such as 0.1")

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


def few(number: float) -> str:
    """Return a number that may be small as people read it: ``1,234.5``, ``0.00017``."""
    return f"{number:,.1f}" if number >= _LEAST_WRITTEN_OUT or not number else f"{number:.2g}"
