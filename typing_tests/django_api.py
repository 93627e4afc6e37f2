"""What a type checker knows of ``sojourn.django``."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, assert_type

from sojourn.django import UserSession, arevoke_sessions, asessions_of, revoke_sessions, sessions_of
from sojourn.django.conf import SojournSettings, sojourn_settings
from sojourn.django.middleware import SessionMiddleware

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse


def lists(user: User) -> None:
    assert_type(sessions_of(user), list[UserSession])
    sessions_of(7)  # type: ignore[arg-type]
    [session] = sessions_of(user)
    assert_type(session.public_id, str)
    assert_type(session.label, str)
    assert_type(session.created_at, datetime)
    assert_type(session.last_seen, datetime)
    assert_type(session.expires_at, datetime)
    session.label = "other"  # type: ignore[misc]


def revokes(user: User, request: HttpRequest) -> None:
    assert_type(revoke_sessions(user), int)
    assert_type(revoke_sessions(user, except_current=request), int)
    assert_type(revoke_sessions(user, only="0123456789ab", except_current=request), int)
    revoke_sessions(user, request)  # type: ignore[call-arg]
    revoke_sessions(user, except_current="token")  # type: ignore[arg-type]
    revoke_sessions("ada")  # type: ignore[arg-type]


async def waits(user: User, request: HttpRequest) -> None:
    assert_type(await asessions_of(user), list[UserSession])
    assert_type(await arevoke_sessions(user, except_current=request, only=None), int)


def settings() -> None:
    assert_type(sojourn_settings(), SojournSettings)
    assert_type(SojournSettings().SLIDING, bool)
    assert_type(SojournSettings(ABSOLUTE_TIMEOUT=60).ABSOLUTE_TIMEOUT, int | None)
    SojournSettings(ABSOLUTE_TIMOUT=60)  # type: ignore[call-arg]
    SojournSettings(SLIDING="yes")  # type: ignore[arg-type]


def view(request: HttpRequest) -> HttpResponse:
    raise NotImplementedError


def middleware() -> None:
    SessionMiddleware(view)
