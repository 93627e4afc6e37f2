"""``SOJOURN = {…}`` in a Django project's settings, typed; known without Django."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Final

from sojourn.carriers.chunks import MOST_COOKIES
from sojourn.errors import ConfigurationError
from sojourn.values import MAX_SIZE

__all__ = ["SAME_NAME", "SojournSettings", "nearest_option", "parsed_options"]

#: ``ADOPT`` when it is not set.
SAME_NAME: Final = "the engine of the same name"

_MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SojournSettings:
    """Every key ``SOJOURN`` may have, with its default.  All are optional."""

    #: File of the ``embedded`` engine, by default ``.sojourn/sessions.sqlite3``.  A relative path is under
    #: ``BASE_DIR``.
    PATH: str | os.PathLike[str] | None = None
    #: Address of the servers of the ``cache`` engine, and of the cache of ``cached_db``, where ``CACHES``
    #: cannot say it: a Cluster, Sentinels without django-redis, a memcached with larger items.  Such as
    #: ``"redis+cluster://10.0.0.1:6379/"``.  By default they are those of the alias ``SESSION_CACHE_ALIAS``.
    STORE: str | None = None
    #: Alias, in ``DATABASES``, of the database of the ``db`` and ``cached_db`` engines, and of ``cache`` on
    #: ``DatabaseCache``; by default the one that routers choose.
    DATABASE: str | None = None
    #: Seconds after sign-in at which a session ends whatever happens; ``None``: no such limit.
    ABSOLUTE_TIMEOUT: int | None = None
    #: ``"day"``: in PostgreSQL, the sessions that end on one day at the latest lie in a partition of their
    #: own, which goes as a whole when the day is over, instead of row by row.  Needs ``ABSOLUTE_TIMEOUT``
    #: and, once before it is set, ``manage.py sojourn_partition``.
    PARTITION_BY: str | None = None
    #: Seconds without activity for which a session that nobody has signed in to, and its cookie, are kept, if
    #: they are fewer than ``SESSION_COOKIE_AGE``; what ``set_expiry()`` says goes before.  ``None``: those of
    #: any other session.
    ANONYMOUS_TIMEOUT: int | None = None
    #: Whether reading a session is activity that moves its expiry, at most once per touch interval (a tenth
    #: of the time it has, at most 5 minutes); the response then sends the cookie again.  Works under
    #: Django's session middleware and under Sojourn's.
    SLIDING: bool = False
    #: Whether Sojourn's middleware adds ``Partitioned`` to the cookie (CHIPS), for a site that is embedded
    #: in others.  Needs ``SESSION_COOKIE_SECURE``.
    COOKIE_PARTITIONED: bool = False
    #: How the ``signed_cookies`` engine writes its cookies: ``"sealed"``, so that nobody but the server reads
    #: them, or ``"signed"``, readable for whoever has the cookie.  Either is accepted, so it can be changed.
    COOKIE: str = "sealed"
    #: Whether the ``signed_cookies`` engine compresses sessions of more than 1 KB.
    COOKIE_COMPRESS: bool = True
    #: Address of the store that knows which sessions of the ``signed_cookies`` engine have ended, such as
    #: ``"sqlite:///var/lib/mysite/ended.sqlite3"``.  Without, a copy of a cookie outlives signing out.
    COOKIE_REVOCATIONS: str | None = None
    #: Seconds for which what that store said of a user is believed, instead of asking at each request;
    #: another process's sign-out then counts after at most that long.  ``None``: ask each time.
    COOKIE_REVOCATIONS_LAG: float | None = None
    #: Address of the store for sessions of the ``signed_cookies`` engine that do not fit into a cookie, such
    #: as ``"sqlite:///var/lib/mysite/large.sqlite3"``.  Without, to save one is an error.
    COOKIE_SPILL: str | None = None
    #: Cookies, of 4096 octets each, that a session of the ``signed_cookies`` engine may be spread over, 1 to
    #: 20.  More than one needs Sojourn's session middleware, and a web server that takes such headers.
    MAX_COOKIES: int = 1
    #: Text that keeps apart projects with the same ``SECRET_KEY`` and cookie name: neither accepts the
    #: other's sessions.  Changing it signs everybody out.
    NAMESPACE: str = ""
    #: Sessions one user may have; the oldest ends when there would be more.  ``None``: any number.  Memcached
    #: cannot keep it, and refuses it.
    MAX_SESSIONS_PER_USER: int | None = None
    #: Bytes a session may have when encoded; in memcached at most 1,000,000, or what ``max_payload`` in the
    #: address ``STORE`` says.
    MAX_PAYLOAD: int = MAX_SIZE
    #: Bytes all sessions of the memory engine may have; the least recently used go first.
    MEMORY_LIMIT: int = 64 * _MEBIBYTE
    #: Seconds an operation of the store, or a save with all its retries, may take.
    TIMEOUT: float = 5.0
    #: Dotted path of the Django engine, or a list of them, whose sessions are taken over as browsers come
    #: back.  By default Django's engine of the same name as ``SESSION_ENGINE``'s; ``None``: none.
    ADOPT: str | Sequence[str] | None = SAME_NAME
    #: Dotted paths of classes that sessions pickled by Django's cache engine may hold, besides plain data.
    ADOPT_CLASSES: Sequence[str] = ()
    #: Dotted path of a function from a session (a mapping) to whose it is, as text, or ``None``.
    #: By default the user that ``django.contrib.auth`` signed in.
    SUBJECT: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for field in fields(self):
            _check(field.name, getattr(self, field.name))
        if self.COOKIE not in {"sealed", "signed"}:
            raise ConfigurationError("SOJOURN['COOKIE'] has to be 'sealed' or 'signed'")
        if self.PARTITION_BY not in {None, "day"}:
            raise ConfigurationError("SOJOURN['PARTITION_BY'] has to be 'day' or None")
        if self.MAX_COOKIES > MOST_COOKIES:
            raise ConfigurationError(f"SOJOURN['MAX_COOKIES'] has to be at most {MOST_COOKIES}")


#: What each setting may be: types, how to say so, and whether it has to be above zero.
_KINDS: Final[dict[str, tuple[tuple[type, ...], str]]] = {
    "PATH": ((str, os.PathLike, type(None)), "a path"),
    "STORE": ((str, type(None)), "the address of a store, or None"),
    "DATABASE": ((str, type(None)), "an alias in DATABASES, or None"),
    "PARTITION_BY": ((str, type(None)), "'day' or None"),
    "ABSOLUTE_TIMEOUT": ((int, type(None)), "a positive whole number of seconds, or None"),
    "ANONYMOUS_TIMEOUT": ((int, type(None)), "a positive whole number of seconds, or None"),
    "SLIDING": ((bool,), "True or False"),
    "COOKIE_PARTITIONED": ((bool,), "True or False"),
    "COOKIE": ((str,), "'sealed' or 'signed'"),
    "COOKIE_COMPRESS": ((bool,), "True or False"),
    "COOKIE_REVOCATIONS": ((str, type(None)), "the address of a store, or None"),
    "COOKIE_REVOCATIONS_LAG": ((int, float, type(None)), "a positive number of seconds, or None"),
    "COOKIE_SPILL": ((str, type(None)), "the address of a store, or None"),
    "MAX_COOKIES": ((int,), "a positive whole number"),
    "NAMESPACE": ((str,), "text"),
    "MAX_SESSIONS_PER_USER": ((int, type(None)), "a positive whole number, or None"),
    "MAX_PAYLOAD": ((int,), "a positive whole number of bytes"),
    "MEMORY_LIMIT": ((int,), "a positive whole number of bytes"),
    "TIMEOUT": ((int, float), "a positive number of seconds"),
    "ADOPT": ((str, list, tuple, type(None)), "the dotted path of an engine, a list of such, or None"),
    "ADOPT_CLASSES": ((list, tuple), "a list of dotted paths of classes"),
    "SUBJECT": ((str, type(None)), "the dotted path of a function, or None"),
}


def _check(name: str, value: object) -> None:
    types, meant = _KINDS[name]
    right = isinstance(value, types) and isinstance(value, bool) == (types == (bool,))
    if right and isinstance(value, int | float) and types != (bool,):
        right = value > 0
    if not right:
        raise ConfigurationError(f"SOJOURN[{name!r}] has to be {meant}")


def nearest_option(name: object) -> str | None:
    """Return the setting that ``name`` is, or seems to be meant for; ``None`` if none comes near."""
    near = get_close_matches(str(name).upper(), _KINDS, n=1, cutoff=0.5)
    return near[0] if near else None


def parsed_options(given: object) -> SojournSettings:
    """Return what the dictionary ``given`` says, and every default beside it.

    Raises ``ConfigurationError`` naming an unknown key and the nearest valid one, or a wrong value.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError('SOJOURN has to be a dictionary, such as SOJOURN = {"SLIDING": True}')
    for name in given:
        if name not in _KINDS:
            near = nearest_option(name)
            hint = f"did you mean {near!r}?" if near else f"valid are {', '.join(sorted(_KINDS))}"
            raise ConfigurationError(f"SOJOURN has no setting {name!r}: {hint}")
    return SojournSettings(**given)
