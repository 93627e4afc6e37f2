"""What to do with a session at the end of a request.  Pure: settings, the time and the session, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from sojourn.errors import ConfigurationError, EncodeError
from sojourn.frozen import frozen

if TYPE_CHECKING:
    from sojourn.session import Changes, Session

__all__ = [
    "AAL1",
    "AAL2",
    "AAL3",
    "EXPIRY_KEY",
    "Action",
    "Decision",
    "Policy",
    "decide",
    "idle_deadline",
]

#: Top-level key under which a session carries a timeout of its own, as Django's ``set_expiry`` writes it:
#: seconds of inactivity (0: until the browser closes), or an instant in ISO 8601.
EXPIRY_KEY: Final = "_session_expiry"

_LONGEST_TOUCH_INTERVAL = 300_000
_EARLIER_TOLERANCE = 2_000
_MILLISECONDS = 1_000
#: Beyond every deadline: stores keep instants in 64 bits.
_NO_INSTANT = 1 << 62


class Action(Enum):
    """The one thing a commit does in the store."""

    NOTHING = "nothing"
    TOUCH = "touch"
    UPDATE = "update"
    CREATE = "create"
    MOVE = "move"
    DELETE = "delete"


@frozen(kw_only=False)
class Decision:
    """An action, and the idle deadline (milliseconds since the Unix epoch) that goes with it."""

    action: Action
    idle_deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long sessions live.  Timeouts are whole seconds.

    A session dies ``idle_timeout`` after its last activity and, if there is one, ``absolute_timeout``
    after it began or was last signed in to, whatever happens (ASVS 7.3.1, 7.3.2).
    """

    #: Seconds without activity after which a session is dead.
    idle_timeout: int = 1_209_600
    #: Seconds after sign-in at which it is dead all the same; ``None``: no such limit.
    absolute_timeout: int | None = None
    #: The same as ``idle_timeout``, for sessions without a subject: nobody has signed in, or not yet.  The
    #: lower of the two holds; ``None``: no other than ``idle_timeout``.
    anonymous_timeout: int | None = None
    #: Whether reading a session is activity.  A read then touches at most once per touch interval.
    sliding: bool = False

    def __post_init__(self) -> None:
        """Refuse timeouts that cannot be meant."""
        limits = (self.absolute_timeout, self.anonymous_timeout)
        if self.idle_timeout < 0 or any(limit is not None and limit <= 0 for limit in limits):
            raise ConfigurationError(
                "idle_timeout, absolute_timeout and anonymous_timeout are positive numbers of seconds "
                "(the latter two may be None: no such limit)"
            )

    def idle_timeout_of(self, subject: str | None, idle_timeout: int) -> int:
        """Return the seconds of inactivity after which a session is dead, by whose it is.

        ``idle_timeout`` is what sessions with a subject have.
        """
        if subject is not None or self.anonymous_timeout is None:
            return idle_timeout
        return min(idle_timeout, self.anonymous_timeout)

    def absolute_deadline(self, created_at: int) -> int | None:
        """Return the instant from which a session begun at ``created_at`` is dead, or ``None``."""
        if self.absolute_timeout is None:
            return None
        return created_at + self.absolute_timeout * _MILLISECONDS


#: Timeouts of NIST SP 800-63B-4 by authenticator assurance level.
AAL1: Final = Policy(idle_timeout=30 * 86_400, absolute_timeout=30 * 86_400)
AAL2: Final = Policy(idle_timeout=3_600, absolute_timeout=24 * 3_600, sliding=True)
AAL3: Final = Policy(idle_timeout=900, absolute_timeout=12 * 3_600, sliding=True)


def idle_deadline(expiry: object, *, now: int, idle_timeout: int) -> int:
    """Return the idle deadline of a session that carries ``expiry`` and is active at ``now``.

    ``expiry`` is what :data:`EXPIRY_KEY` holds: ``None`` or 0 (``idle_timeout`` seconds apply), seconds (a
    number or a ``timedelta``), or an instant as ISO 8601 text or ``datetime`` (naive: local time).  ``now``
    and the result are milliseconds since the Unix epoch.  Raises ``EncodeError`` for anything else, and for
    instants that no store has room for.
    """
    if not expiry:
        return now + idle_timeout * _MILLISECONDS
    try:
        if isinstance(expiry, int | float):
            deadline = now + int(expiry * _MILLISECONDS)
        elif isinstance(expiry, timedelta):
            deadline = now + expiry // timedelta(milliseconds=1)
        else:
            instant = expiry if isinstance(expiry, datetime) else datetime.fromisoformat(str(expiry))
            deadline = int(instant.timestamp() * _MILLISECONDS)
    except (OverflowError, ValueError):
        deadline = _NO_INSTANT
    if not -_NO_INSTANT < deadline < _NO_INSTANT:
        raise EncodeError(
            f"{EXPIRY_KEY} is neither seconds nor an instant in ISO 8601, or out of range: "
            "set it with set_expiry()"
        )
    return deadline


def decide(  # noqa: PLR0911 - a return for each action reads best
    policy: Policy,
    session: Session,
    changes: Changes,
    *,
    now: int,
    saves: bool = False,
    idle_timeout: int | None = None,
) -> Decision:
    """Return what a commit has to do.

    ``saves``: the application asked for a save, which is activity and stores even an empty session.
    ``idle_timeout`` (seconds) replaces the policy's for this session.
    """
    if session.ended:
        return Decision(Action.NOTHING if session.record is None else Action.DELETE, now)
    timeout = policy.idle_timeout if idle_timeout is None else idle_timeout
    deadline = idle_deadline(session.get(EXPIRY_KEY), now=now, idle_timeout=timeout)
    if session.record is None:
        return Decision(Action.CREATE if session or saves else Action.NOTHING, deadline)
    if session.renewal:
        return Decision(Action.MOVE, deadline)
    touch_interval = min((deadline - now) // 10, _LONGEST_TOUCH_INTERVAL)
    if (
        session.restarts
        or session.label is not None
        or (changes and not _only_moves_deadline(session, changes, within=touch_interval))
    ):
        return Decision(Action.UPDATE, deadline)
    if not (changes or saves or policy.sliding):
        return Decision(Action.NOTHING, session.record.idle_deadline)
    later_by = deadline - session.record.idle_deadline
    if -_EARLIER_TOLERANCE <= later_by < touch_interval:
        return Decision(Action.NOTHING, session.record.idle_deadline)
    return Decision(Action.UPDATE if changes else Action.TOUCH, deadline)


def _only_moves_deadline(session: Session, changes: Changes, *, within: int) -> bool:
    """Whether the only change is another instant, or hardly another number of seconds, in ``EXPIRY_KEY``.

    Horizon calls ``set_expiry()`` on every page, with what is left of a token's life.  The number stored may
    lag behind by less than ``within`` milliseconds, for the next save of anything else goes by it.  Turning
    "so many seconds" into "until the browser closes" or back is a change the browser has to see.
    """
    if len(changes.assigned) != 1 or EXPIRY_KEY not in changes.assigned:
        return False
    if changes.replaces or changes.removed:
        return False
    before, after = session.before(EXPIRY_KEY), session[EXPIRY_KEY]
    if _kind(before) != _kind(after):
        return False
    return not isinstance(after, int | float) or abs(after - before) * _MILLISECONDS < within


def _kind(expiry: Any) -> tuple[type, bool]:
    return (type(expiry), bool(expiry))
