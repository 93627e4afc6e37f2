"""The engine that keeps sessions in their cookies, made from settings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.utils.module_loading import import_string

from sojourn.carriers import CookieOptions, Revocations
from sojourn.carriers.chunks import OVERHEAD
from sojourn.clock import SystemClock
from sojourn.cookie import MAX_ATTRIBUTE, MAX_COOKIE
from sojourn.django.conf import sojourn_settings
from sojourn.django.engine import Engine, Place, keyring_of, made_once, manager_settings, place_at
from sojourn.django.former_cookies import cookies_to_adopt
from sojourn.manager import AsyncCookieManager, CookieManager
from sojourn.stores.from_url import SCHEMES, async_from_url, from_url

if TYPE_CHECKING:
    from sojourn.django.conf import SojournSettings

__all__ = ["cookie_engine", "room_for_value"]

logger = logging.getLogger("sojourn")

#: Kinds of store that forget, by design or when memory runs out.
_FORGETFUL: Final = frozenset({"memory", "memcached"})
#: The longest attributes there can be: Django's middleware sends both of these.
_AGE: Final = 9_999_999_999
_DATE: Final = "Thu, 01 Jan 1970 00:00:00 GMT"


def cookie_engine() -> Engine:
    """Return the engine whose sessions are in their cookies.  Raises ``ImproperlyConfigured``."""
    return made_once(("cookies",), _make)


def _make() -> Engine:
    given = sojourn_settings()
    if given.MAX_SESSIONS_PER_USER is not None:
        raise ImproperlyConfigured(
            "SOJOURN['MAX_SESSIONS_PER_USER'] cannot be kept by sessions in cookies, which nobody can count: "
            "leave it out, or use an engine that keeps sessions on the server"
        )
    keyring = keyring_of(given)
    options = CookieOptions(
        signed=given.COOKIE == "signed",
        compress=given.COOKIE_COMPRESS,
        room=_room(given),
        limit=given.MAX_COOKIES * MAX_COOKIE,
    )
    former = cookies_to_adopt(given)
    shared = manager_settings(given, place="the cookie")
    spill = None if given.COOKIE_SPILL is None else _place("spilled", given.COOKIE_SPILL)
    ended = None if given.COOKIE_REVOCATIONS is None else _list(given.COOKIE_REVOCATIONS)
    if ended is None:
        logger.warning(
            "sessions are in cookies and there is no revocation list: signing out makes a browser forget its "
            "cookie, but a copy of it stays good until it expires (ASVS 7.4.1 is not met). Set "
            "SOJOURN['COOKIE_REVOCATIONS'] to the address of a store, such as "
            "'sqlite:///var/lib/mysite/ended.sqlite3'"
        )
    lag = given.COOKIE_REVOCATIONS_LAG or 0
    namespace, timeout, clock = keyring.namespace, given.TIMEOUT, SystemClock()
    return Engine(
        CookieManager(
            keyring,
            options=options,
            spill=None if spill is None else spill.store,
            revocations=None
            if ended is None
            else Revocations(ended.store, clock=clock, namespace=namespace, lag=lag, timeout=timeout),
            cookie_former=former,
            **shared,
        ),
        AsyncCookieManager(
            keyring,
            options=options,
            spill=None if spill is None else spill.async_store,
            revocations=None
            if ended is None
            else Revocations(ended.async_store, clock=clock, namespace=namespace, lag=lag, timeout=timeout),
            cookie_former=former,
            **shared,
        ),
    )


def _list(address: str) -> Place:
    if SCHEMES.get(address.partition("://")[0].lower()) in _FORGETFUL:
        raise ImproperlyConfigured(
            "SOJOURN['COOKIE_REVOCATIONS'] names a store that forgets, and a session it forgot would live "
            "again: name a file ('sqlite:///var/lib/mysite/ended.sqlite3'), a database, or a Redis or "
            "Valkey that keeps its data"
        )
    return _place("revocations", address)


def _place(use: str, address: str) -> Place:
    return place_at((use, address), lambda _: Place(use, from_url(address), async_from_url(address)))


def _room(given: SojournSettings) -> int:
    """Return how many octets a session may have in all its cookies."""
    room = room_for_value(given)
    if given.MAX_COOKIES == 1:
        return room
    from sojourn.django.middleware import SessionMiddleware  # noqa: PLC0415 - which imports the engines

    installed = map(import_string, settings.MIDDLEWARE)
    if not any(isinstance(one, type) and issubclass(one, SessionMiddleware) for one in installed):
        raise ImproperlyConfigured(
            "SOJOURN['MAX_COOKIES'] needs 'sojourn.django.middleware.SessionMiddleware' in MIDDLEWARE, in "
            "place of Django's session middleware, which sends one cookie"
        )
    return given.MAX_COOKIES * (room - OVERHEAD)


def room_for_value(given: SojournSettings) -> int:
    """Return how many octets the value of the session's cookie may have.

    A browser keeps 4096 octets of name, value and attributes together (RFC 6265 6.1); some count the first
    two only.  What is counted here is what Django's middleware sends, which is longer than what ours does.
    Raises ``ImproperlyConfigured`` for attributes that browsers ignore: what is left has room for a session.
    """
    for name in ("SESSION_COOKIE_NAME", "SESSION_COOKIE_PATH", "SESSION_COOKIE_DOMAIN"):
        length = len(getattr(settings, name) or "")
        if length > MAX_ATTRIBUTE:
            raise ImproperlyConfigured(
                f"{name} has {length} characters, and browsers take no more than {MAX_ATTRIBUTE}: shorten it"
            )
    response = HttpResponse()
    response.set_cookie(
        settings.SESSION_COOKIE_NAME,
        "",
        max_age=_AGE,
        expires=_DATE,
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=settings.SESSION_COOKIE_HTTPONLY,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )
    header = response.cookies[settings.SESSION_COOKIE_NAME].OutputString()
    taken = len(header) - len('""') + (len("; Partitioned") if given.COOKIE_PARTITIONED else 0)
    return MAX_COOKIE - taken
