"""Where a user is signed in, and signing them out there (ASVS 7.4.2, 7.4.3, 7.5.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from sojourn.errors import ConfigurationError
from sojourn.steps import run, run_async

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

    from sojourn.django.backends.base import SojournSession
    from sojourn.django.engine import Engine
    from sojourn.listing import SessionSummary
    from sojourn.manager import AsyncManager, Manager
    from sojourn.session import Session
    from sojourn.steps import Steps

    Current: TypeAlias = HttpRequest | SojournSession

__all__ = ["UserSession", "arevoke_sessions", "asessions_of", "revoke_sessions", "sessions_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSession:
    """One place where a user is signed in.  Instants are aware, in UTC."""

    #: Names the session in pages and forms; ``request.session.public_id`` is the present one's.
    public_id: str
    #: What it was opened with, such as "Firefox on Linux"; ``""`` if the browser did not say.
    label: str
    #: When the user signed in.
    created_at: datetime
    #: The last recorded activity.
    last_seen: datetime
    #: When it ends unless there is activity.
    expires_at: datetime
    #: The full lookup key; not for showing.
    key: str = field(repr=False)


def sessions_of(user: AbstractBaseUser) -> list[UserSession]:
    """Return the user's living sessions, last seen first.  One round trip for each server secret.

    Raises ``ImproperlyConfigured`` if ``SESSION_ENGINE`` is not Sojourn's or keeps no index of users, and
    ``StoreUnavailableError`` if the store does not answer.
    """
    return run(_sessions_of(_engine().manager, user))


async def asessions_of(user: AbstractBaseUser) -> list[UserSession]:
    """See :func:`sessions_of`."""
    return await run_async(_sessions_of(_engine().async_manager, user))


def revoke_sessions(
    user: AbstractBaseUser,
    *,
    except_current: Current | None = None,
    only: str | None = None,
) -> int:
    """End the user's sessions at once; return how many lived (0 for cookies, which nobody can count).

    ``except_current``: the request, or its session, that stays signed in.  ``only``: the ``public_id`` of the
    one to end.  Raises as :func:`sessions_of` does; then some may have ended already, and to call it again is
    fine.
    """
    current = None if except_current is None else _session(except_current).loaded()
    return run(_revoke_sessions(_engine().manager, user, current, only))


async def arevoke_sessions(
    user: AbstractBaseUser,
    *,
    except_current: Current | None = None,
    only: str | None = None,
) -> int:
    """See :func:`revoke_sessions`."""
    current = None if except_current is None else await _session(except_current).aloaded()
    return await run_async(_revoke_sessions(_engine().async_manager, user, current, only))


def _sessions_of(manager: Manager | AsyncManager, user: AbstractBaseUser) -> Steps[list[UserSession]]:
    try:
        found: list[SessionSummary] = yield manager.sessions_of, _subject(user)
    except ConfigurationError as error:
        raise ImproperlyConfigured(str(error)) from error
    found.sort(key=lambda summary: summary.last_seen, reverse=True)
    return [_user_session(summary) for summary in found]


def _revoke_sessions(
    manager: Manager | AsyncManager, user: AbstractBaseUser, current: Session | None, only: str | None
) -> Steps[int]:
    if only is None:
        revoke = partial(manager.revoke_subject, except_session=current)
        try:
            ended: int = yield revoke, _subject(user)
        except ConfigurationError as error:
            raise ImproperlyConfigured(str(error)) from error
        return ended
    kept = None if current is None else current.public_id
    ended = 0
    for session in (yield from _sessions_of(manager, user)):
        if session.public_id == only != kept:
            ended += yield manager.revoke, session.key
    return ended


def _user_session(summary: SessionSummary) -> UserSession:
    return UserSession(
        public_id=summary.public_id,
        label=summary.label,
        created_at=_instant(summary.created_at),
        last_seen=_instant(summary.last_seen),
        expires_at=_instant(summary.expires_at),
        key=summary.key,
    )


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _subject(user: AbstractBaseUser) -> str:
    """Return the text ``login()`` writes into the session for ``user``."""
    primary_key = user._meta.pk  # noqa: SLF001 - as django.contrib.auth does
    return str(primary_key.value_to_string(user))


def _session(current: Current) -> SojournSession:
    session = current.session if isinstance(current, HttpRequest) else current
    return cast("SojournSession", session)


def _engine() -> Engine:
    from sojourn.django.engine import configured_engine  # noqa: PLC0415 - an app is loaded without engines

    engine = configured_engine()
    if engine is None:
        raise ImproperlyConfigured(
            f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}: whose sessions there are can only be told by "
            "Sojourn's engines, such as 'sojourn.django.backends.embedded'"
        )
    return engine
