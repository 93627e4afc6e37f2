"""What a response says about the session: its cookie, and to caches that the page is one user's."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from http.cookies import Morsel
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.cache import patch_vary_headers

from sojourn.carriers.chunks import chunk_name, split_value, stale_chunks
from sojourn.cookie import MAX_AGE, MAX_COOKIE, CookieSettings, delete_cookie, parse_cookies, set_cookie
from sojourn.django.conf import sojourn_settings
from sojourn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Container

    from django.http.response import HttpResponseBase

    from sojourn.django.backends.base import SojournSession

__all__ = [
    "SessionCookie",
    "cookie_settings",
    "keep_from_caches",
    "max_age_of",
    "no_session_cookies",
    "session_cookies",
]


# --- the cookie --------------------------------------------------------------------------------------


@cache
def cookie_settings() -> CookieSettings:
    """Return how Django's settings want the session's cookie written; asked once, not for each cookie.

    Raises ``ImproperlyConfigured`` if they contradict each other, naming each and what to write instead.
    """
    samesite: Any = settings.SESSION_COOKIE_SAMESITE
    try:
        return CookieSettings(
            name=settings.SESSION_COOKIE_NAME,
            path=settings.SESSION_COOKIE_PATH or "",
            domain=settings.SESSION_COOKIE_DOMAIN or None,
            secure=bool(settings.SESSION_COOKIE_SECURE),
            httponly=bool(settings.SESSION_COOKIE_HTTPONLY),
            samesite=samesite.capitalize() if samesite else None,  # Django takes "lax" for "Lax"
            partitioned=sojourn_settings().COOKIE_PARTITIONED,
        )
    except ConfigurationError as error:
        raise ImproperlyConfigured(
            f"{error} (in Django's settings: SESSION_COOKIE_NAME, _PATH, _DOMAIN, _SECURE, _HTTPONLY and "
            "_SAMESITE; for partitioned, SOJOURN['COOKIE_PARTITIONED'])"
        ) from error


def _forget_settings(**_: object) -> None:
    cookie_settings.cache_clear()


setting_changed.connect(_forget_settings, dispatch_uid="sojourn.django.headers")


def max_age_of(session: SojournSession) -> int | None:
    """Return the lifetime of a loaded session's cookie in seconds; ``None``: until the browser closes.

    Browsers keep no cookie for longer than 400 days.  One that is expired is sent to expire at once, for to
    delete it would be to sign out.
    """
    if session.get_expire_at_browser_close():
        return None
    return min(max(int(session.get_expiry_age()), 1), MAX_AGE)


def session_cookies(value: str, max_age: int | None, *, sent: str | bytes) -> list[SessionCookie]:
    """Return the cookies that carry the session key ``value``, and those that delete chunks of a longer one.

    ``sent`` is the request's Cookie header.
    """
    how = cookie_settings()
    values = [value]
    if sojourn_settings().MAX_COOKIES > 1:
        values = split_value(value, room=MAX_COOKIE - len(set_cookie(how, "", MAX_AGE)))
    cookies = [
        SessionCookie(_called(how, number), chunk, max_age) for number, chunk in enumerate(values, start=1)
    ]
    return cookies + _deleting(how, sent, kept=len(values))


def no_session_cookies(*, sent: str | bytes) -> list[SessionCookie]:
    """Return the cookies that make the browser forget those it ``sent``."""
    how = cookie_settings()
    if not parse_cookies(sent, how.name):
        return []
    return [SessionCookie.deleting(how), *_deleting(how, sent, kept=1)]


def _deleting(how: CookieSettings, sent: str | bytes, *, kept: int) -> list[SessionCookie]:
    stale = stale_chunks(sent, how.name, kept=kept)
    return [SessionCookie.deleting(replace(how, name=name)) for name in stale]


def _called(how: CookieSettings, number: int) -> CookieSettings:
    return how if number == 1 else replace(how, name=chunk_name(how.name, number))


class SessionCookie(Morsel[str]):
    """A cookie for ``response.cookies``, written as :mod:`sojourn.cookie` writes it, to the byte.

    The attributes can be read as any cookie's.  Once another middleware has changed one, ``http.cookies``
    writes it, which this teaches ``Partitioned`` where Python does not know it (before 3.14).
    """

    _reserved: Final = {**Morsel._reserved, "partitioned": "Partitioned"}  # type: ignore[attr-defined]  # noqa: SLF001
    _flags: Final = {*Morsel._flags, "partitioned"}  # type: ignore[attr-defined]  # noqa: SLF001

    def __init__(self, how: CookieSettings, value: str, max_age: int | None) -> None:
        super().__init__()
        self.set(how.name, value, value)
        self._header = set_cookie(how, value, max_age)
        self._describe(how, "" if max_age is None else max_age)

    @classmethod
    def deleting(cls, how: CookieSettings) -> SessionCookie:
        """Return the cookie that makes the browser forget the one set with the same settings."""
        cookie = cls(how, "", None)
        cookie._header = delete_cookie(how)
        cookie._describe(how, 0)
        return cookie

    def _describe(self, how: CookieSettings, max_age: int | str) -> None:
        attributes: dict[str, Any] = {
            "max-age": max_age,
            "path": how.path,
            "domain": how.domain or "",
            "secure": how.secure or "",
            "httponly": how.httponly or "",
            "samesite": how.samesite or "",
            "partitioned": how.partitioned or "",
        }
        self.update(attributes)
        self._written = (self.coded_value, dict(self))

    def output(self, attrs: Container[str] | None = None, header: str = "Set-Cookie:") -> str:
        """Return the header; with ``header=""``, as Django's handlers ask, its value alone."""
        return f"{header} {self.OutputString(attrs)}".lstrip()

    __str__ = output

    def OutputString(self, attrs: Container[str] | None = None) -> str:  # noqa: N802 - http.cookies' name
        """Return the value of the header."""
        if attrs is None and self._written == (self.coded_value, dict(self)):
            return self._header
        return super().OutputString(attrs)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickled response keeps besides the attributes."""
        kept = {"key": self.key, "value": self.value, "coded_value": self.coded_value}
        return {**kept, "header": self._header, "written": self._written}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take it back."""
        super().__setstate__(state)  # type: ignore[misc]
        self._header, self._written = state["header"], state["written"]


# --- caches ------------------------------------------------------------------------------------------

#: A comma inside quotes separates nothing.
_DIRECTIVES: Final = re.compile(r'(?:[^,"]|"[^"]*"|")+')

#: What would have a shared cache keep the response, and ``private`` for some fields alone.
_REPLACED: Final = frozenset({"public", "s-maxage", "private"})


def keep_from_caches(response: HttpResponseBase, *, entirely: bool) -> None:
    """Have shared caches not keep the response, and none at all if ``entirely``.

    Nothing the application said to keep it from caches is taken back.
    """
    patch_vary_headers(response, ("Cookie",))
    wanted = ["private", "no-store"] if entirely else ["private"]
    given = response.headers.get("Cache-Control")
    response.headers["Cache-Control"] = ", ".join(wanted if given is None else _beside(given, wanted))


def _beside(given: str, wanted: list[str]) -> list[str]:
    """Return the directives of ``given`` that may stay, and those ``wanted`` that are missing."""
    parts = [part.strip() for part in _DIRECTIVES.findall(given)]
    kept = [part for part in parts if part in wanted or (part and _name(part) not in _REPLACED)]
    names = {_name(part) for part in kept}
    return [*kept, *(name for name in wanted if name not in names)]


def _name(directive: str) -> str:
    return directive.partition("=")[0].strip().lower()
