"""What is wrong with the cookie, and with sessions kept in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sojourn.operations.check.finding import Kind, Severity
from sojourn.operations.check.secrets import assignment, shown
from sojourn.project import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.settings import Settings

__all__ = ["cookie_is_readable", "cookie_is_sent_anywhere", "cookie_is_unsafe", "cookies_cannot_be_revoked"]

UNSAFE: Final = Kind(
    id="sojourn.W004",
    severity=Severity.WARNING,
    title="SESSION_COOKIE_SECURE is off",
    happens="The browser sends the cookie over plain HTTP, too, and whoever is on the same network takes "
    "over the session.",
)
READABLE: Final = Kind(
    id="sojourn.W005",
    severity=Severity.WARNING,
    title="SESSION_COOKIE_HTTPONLY is off",
    happens="Any script on a page, also one that an attacker slipped in, can read the cookie and send it "
    "away.",
)
SENT_ANYWHERE: Final = Kind(
    id="sojourn.W006",
    severity=Severity.WARNING,
    title="SESSION_COOKIE_SAMESITE lets other sites send the cookie",
    happens="A page of somebody else's can make a signed-in user's browser send requests as that user.",
)
NOT_REVOCABLE: Final = Kind(
    id="sojourn.W010",
    severity=Severity.WARNING,
    title="Sessions in cookies cannot be ended",
    happens="Whoever has a copy of the cookie goes on after the user has signed out, until it expires.",
)


def cookie_is_unsafe(settings: Settings) -> Iterator[Finding]:
    """Find a cookie that travels unencrypted."""
    if not settings["SESSION_COOKIE_SECURE"]:
        yield UNSAFE.found(
            "SESSION_COOKIE_SECURE is not True. Leave it so only where the site is not served over HTTPS.",
            where=settings.where("SESSION_COOKIE_SECURE"),
            corrected=assignment("SESSION_COOKIE_SECURE", value=True),
        )


def cookie_is_readable(settings: Settings) -> Iterator[Finding]:
    """Find a cookie that scripts can read."""
    if not settings["SESSION_COOKIE_HTTPONLY"]:
        yield READABLE.found(
            "SESSION_COOKIE_HTTPONLY is not True.",
            where=settings.where("SESSION_COOKIE_HTTPONLY"),
            corrected=assignment("SESSION_COOKIE_HTTPONLY", value=True),
        )


def cookie_is_sent_anywhere(settings: Settings) -> Iterator[Finding]:
    """Find a cookie that comes with requests other sites make; not one kept apart for each (CHIPS)."""
    given = settings["SESSION_COOKIE_SAMESITE"]
    if str(given).lower() in ("lax", "strict") or settings.options.get("COOKIE_PARTITIONED"):
        return
    yield SENT_ANYWHERE.found(
        f"SESSION_COOKIE_SAMESITE is {shown(given)}. Leave it so only for a site that is embedded in others.",
        where=settings.where("SESSION_COOKIE_SAMESITE"),
        corrected=assignment("SESSION_COOKIE_SAMESITE", "Lax"),
    )


def cookies_cannot_be_revoked(settings: Settings) -> Iterator[Finding]:
    """Find sessions in cookies without a list of those that have ended (ASVS 7.4.1)."""
    if settings.kind != "signed_cookies" or (settings.is_ours and settings.options.get("COOKIE_REVOCATIONS")):
        return
    option = settings.setting_option(
        "COOKIE_REVOCATIONS", f"sqlite://{settings.example_file('ended.sqlite3')}"
    )
    lines = [option] if settings.is_ours else [assignment("SESSION_ENGINE", f"{OURS}signed_cookies"), option]
    yield NOT_REVOCABLE.found(
        "Sessions are kept in their cookies, and nothing knows which of them have ended."
        + ("" if settings.is_ours else " Django's signed_cookies engine cannot have that; Sojourn's can."),
        where=settings.where("SOJOURN", "SESSION_ENGINE"),
        corrected="\n".join(lines),
    )
