"""What is wrong with how long sessions live, and with what they are written and sealed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sojourn.cookie import MAX_AGE
from sojourn.errors import ConfigurationError
from sojourn.keyring import Keyring
from sojourn.operations.check.finding import Kind, Severity
from sojourn.operations.check.secrets import assignment, shown
from sojourn.policy import AAL2
from sojourn.project import JSON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.settings import Settings

__all__ = [
    "anonymous_sessions_are_kept",
    "cookie_outlives_browsers",
    "former_secret_is_weak",
    "no_absolute_timeout",
    "pickles",
    "secret_is_weak",
]

_DAY: Final = 24 * 3600
#: Seconds that a session nobody has signed in to may well live, and that are proposed.
_LONG: Final = _DAY
_SHORT: Final = 3600

WEAK_SECRET: Final = Kind(
    id="sojourn.W001",
    severity=Severity.WARNING,
    title="A secret is too weak to seal sessions with",
    happens="Whoever guesses it can make sessions of any user, and reads a stolen store.",
)
WEAK_FORMER_SECRET: Final = Kind(
    id="sojourn.I004",
    severity=Severity.INFO,
    title="A former secret is too weak, and still opens sessions",
    happens="Until it is taken out, whoever guesses it can make sessions of any user.",
)
PICKLES: Final = Kind(
    id="sojourn.E012",
    severity=Severity.ERROR,
    title="SESSION_SERIALIZER unpickles",
    happens="Whoever can write to the store, or knows SECRET_KEY, runs programs on the server; Django "
    "5.0 dropped its own, and Sojourn refuses any.",
)
TOO_LONG: Final = Kind(
    id="sojourn.W007",
    severity=Severity.WARNING,
    title="SESSION_COOKIE_AGE is longer than browsers keep a cookie",
    happens="Users are signed out after 400 days whatever it says; stores keep dead sessions for longer.",
)
NO_ABSOLUTE_TIMEOUT: Final = Kind(
    id="sojourn.I001",
    severity=Severity.INFO,
    title="Sessions have no absolute timeout",
    happens="A session that is used often enough never ends, nor does one that was stolen (ASVS 7.3.2).",
)
ANONYMOUS_ARE_KEPT: Final = Kind(
    id="sojourn.I003",
    severity=Severity.INFO,
    title="Sessions that nobody has signed in to are kept as long as any other",
    happens="Nothing at first: each failed sign-in, each robot, may leave a session behind, until the store "
    "is full and somebody's has to go.",
)


def secret_is_weak(settings: Settings) -> Iterator[Finding]:
    """Find secrets that Django takes, and so does Sojourn, but that seal badly (checklist S9)."""
    if not settings.is_ours:
        return
    secret = settings["SECRET_KEY"]
    if secret and _is_weak(secret):
        yield WEAK_SECRET.found(
            "SECRET_KEY is too weak to seal sessions with: it has fewer than 32 octets, hardly any variety, "
            "or comes from a sample such as the one startproject writes. Keep the former one in "
            "SECRET_KEY_FALLBACKS until its sessions have moved.",
            where=settings.where("SECRET_KEY"),
            corrected='SECRET_KEY = "…"  # the output of: '
            "python -c 'import secrets; print(secrets.token_urlsafe(48))'",
        )


def former_secret_is_weak(settings: Settings) -> Iterator[Finding]:
    """Find weak secrets among those that sessions of before may be sealed with."""
    if not settings.is_ours:
        return
    former = settings.listed("SECRET_KEY_FALLBACKS")
    weak = [number for number, secret in enumerate(former) if secret and _is_weak(secret)]
    if weak:
        yield WEAK_FORMER_SECRET.found(
            f"{', '.join(f'SECRET_KEY_FALLBACKS[{number}]' for number in weak)} is too weak to seal sessions "
            "with. Sessions move to SECRET_KEY as they are saved, and the last has ended when "
            "SESSION_COOKIE_AGE is over: take it out then; at once, and who has not moved is signed out.",
            where=settings.where("SECRET_KEY_FALLBACKS"),
            corrected="\n".join(f"del SECRET_KEY_FALLBACKS[{number}]" for number in reversed(weak)),
        )


def _is_weak(secret: object) -> bool:
    try:
        Keyring([secret if isinstance(secret, bytes) else str(secret)])
    except ConfigurationError:
        return True
    return False


def pickles(settings: Settings) -> Iterator[Finding]:
    """Find a serializer that unpickles what is stored."""
    given = str(settings["SESSION_SERIALIZER"])
    if "pickle" in given.lower():
        yield PICKLES.found(
            f"SESSION_SERIALIZER = {shown(given)} unpickles.",
            where=settings.where("SESSION_SERIALIZER"),
            corrected=assignment("SESSION_SERIALIZER", JSON),
        )


def cookie_outlives_browsers(settings: Settings) -> Iterator[Finding]:
    """Find an age that no browser honours."""
    age = settings["SESSION_COOKIE_AGE"]
    if isinstance(age, int | float) and age > MAX_AGE:
        yield TOO_LONG.found(
            f"SESSION_COOKIE_AGE is {age / _DAY:.0f} days; browsers keep a cookie for 400.",
            where=settings.where("SESSION_COOKIE_AGE"),
            corrected=f"{assignment('SESSION_COOKIE_AGE', MAX_AGE)}  # 400 days",
        )


def no_absolute_timeout(settings: Settings) -> Iterator[Finding]:
    """Find sessions that never end by themselves.  In Horizon, they end with Keystone's token."""
    if not settings.is_ours or settings.is_horizons or settings.options.get("ABSOLUTE_TIMEOUT") is not None:
        return
    yield NO_ABSOLUTE_TIMEOUT.found(
        "SOJOURN['ABSOLUTE_TIMEOUT'] is not set. NIST SP 800-63B-4 asks for a day at level AAL2.",
        where=settings.where("SOJOURN"),
        corrected=settings.setting_option("ABSOLUTE_TIMEOUT", AAL2.absolute_timeout),
    )


def anonymous_sessions_are_kept(settings: Settings) -> Iterator[Finding]:
    """Find that a session without a user, such as each failed sign-in to Horizon leaves, is kept for long."""
    age = settings["SESSION_COOKIE_AGE"]
    is_long = isinstance(age, int | float) and age > _LONG
    if not is_long or not settings.is_ours or settings.options.get("ANONYMOUS_TIMEOUT") is not None:
        return
    if settings.kind == "signed_cookies":
        return  # they take no room but their users'
    yield ANONYMOUS_ARE_KEPT.found(
        f"A session that nobody has signed in to is kept for {age / _DAY:.0f} days. "
        "What a visitor has left in it, such as a basket, ends with it: where that has to wait longer than "
        "the hour below, give more seconds.",
        where=settings.where("SOJOURN"),
        corrected=settings.setting_option("ANONYMOUS_TIMEOUT", _SHORT),
    )
