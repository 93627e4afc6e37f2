"""One alias of ``CACHES``: what it is, before anybody asks what a server makes of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sojourn.project import DJANGO_REDIS, ELSEWHERE, EXAMPLES, GONE, KNOWN, OURS, PYMEMCACHE, REDIS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["CacheEntry", "cache_entry"]

_EMBEDDED: Final = f"{OURS}embedded"

_ADDRESS: Final = re.compile(r"[\w.-]+:\d+")
_PLAIN: Final = re.compile("[0-9A-Za-z_.-]{0,24}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """An alias of ``CACHES`` whose backend can keep sessions."""

    alias: str
    #: One of the names above: that of the backend, or of the one it is derived from.
    backend: str
    location: object = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    #: What every key of ours begins with, so that it is nobody else's.
    key_prefix: str

    @property
    def place(self) -> tuple[str, ...]:
        """What tells the place of its sessions from others: for :func:`~sojourn.django.engine.engine_at`."""
        return (self.backend, repr(self.location), repr(self.options), self.key_prefix)

    def error(self, what: str) -> ImproperlyConfigured:
        """Return the error that says ``what`` is wrong with this entry."""
        return ImproperlyConfigured(f"CACHES[{self.alias!r}]: {what}")

    def locations(self, separators: str) -> Sequence[Any]:
        """Return the servers: ``LOCATION`` as a list, a string of several taken apart."""
        location = self.location
        found = re.split(f"[{separators}]", location) if isinstance(location, str) else location
        if not isinstance(found, list | tuple) or not found or "" in found:
            raise self.error(f"LOCATION names no server: write 'LOCATION': {self.example!r}")
        return found

    @property
    def example(self) -> str:
        """A location such as this backend's."""
        return EXAMPLES[REDIS if self.backend in (REDIS, DJANGO_REDIS) else PYMEMCACHE]

    def checked(
        self, given: Mapping[str, Any], option: str, kinds: type | tuple[type, ...], meant: str
    ) -> Any:
        """Return an option, ``None`` if it is not given.  Refuse what is not of these ``kinds``."""
        value = given.get(option)
        if value is None or isinstance(value, kinds):
            return value
        raise self.error(f"{option} has to be {meant}; it is of type {type(value).__name__}")

    def check_options(
        self, given: Mapping[str, Any], known: Collection[str], *, where: str = "OPTIONS"
    ) -> None:
        """Refuse options whose meaning would be lost."""
        lost = sorted(name for name in given if name not in known)
        if lost:
            raise self.error(
                f"{where} has {', '.join(map(repr, lost))}, which sessions would not honour: leave it out of "
                "the alias that SESSION_CACHE_ALIAS names, or give the server's address in SOJOURN, such as "
                f"SOJOURN = {{'STORE': {self._address!r}}}"
            )

    @property
    def _address(self) -> str:
        redis = self.backend in (REDIS, DJANGO_REDIS)
        return "redis://user:password@127.0.0.1:6379/0" if redis else "memcached://127.0.0.1:11211/"


def cache_entry(alias: str) -> CacheEntry:
    """Return the entry ``alias`` of ``CACHES``.

    Raises ``ImproperlyConfigured``, with the lines to write, if there is none or if it can keep no sessions.
    """
    configured: Any = settings.CACHES
    if "BACKEND" in configured:
        raise ImproperlyConfigured(
            "CACHES lacks the alias between it and 'BACKEND': write "
            f"CACHES = {{{alias!r}: {_shown(configured['BACKEND'], configured.get('LOCATION'))}}}"
        )
    if alias not in configured:
        raise InvalidCacheBackendError(  # as Django does: an ImproperlyConfigured
            f"SESSION_CACHE_ALIAS is {alias!r}, but CACHES has no {alias!r}: add it, or name one it has"
        )
    given = _dictionary(configured[alias], f"CACHES[{alias!r}]")
    named = str(given.get("BACKEND"))
    return CacheEntry(
        alias=alias,
        backend=_known(alias, named, given.get("LOCATION")),
        location=given.get("LOCATION", ""),
        options=_dictionary(given.get("OPTIONS") or {}, f"OPTIONS of CACHES[{alias!r}]"),
        key_prefix=_key_prefix(str(given.get("KEY_PREFIX", "")), str(given.get("VERSION", 1))),
    )


def _dictionary(given: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"{what} has to be a dictionary; it is of type {type(given).__name__}")
    return given


def _known(alias: str, named: str, location: object) -> str:
    """Return which of the known backends ``named`` is, or is derived from."""
    if named in KNOWN:
        return named
    gone = GONE.get(named)
    if gone is not None:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] names {named!r}, which is no longer there: write "
            f"CACHES = {{{alias!r}: {_shown(gone, location)}}}"
        )
    try:
        backend = import_string(named)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] names {named!r}, which cannot be imported ({error}): correct or install it, "
            f"or use SESSION_ENGINE = {_EMBEDDED!r}"
        ) from error
    ancestors = [f"{ancestor.__module__}.{ancestor.__qualname__}" for ancestor in backend.__mro__]
    for ancestor in ancestors:
        if ancestor in KNOWN:
            return ancestor
    reason = next(
        (ELSEWHERE[ancestor] for ancestor in ancestors if ancestor in ELSEWHERE),
        "it is not known what it promises",
    )
    raise ImproperlyConfigured(
        f"sessions cannot be kept in CACHES[{alias!r}], a {named!r}: {reason}; use "
        f"SESSION_ENGINE = {_EMBEDDED!r}, or another alias in SESSION_CACHE_ALIAS, or give the address "
        "of a server, such as SOJOURN = {'STORE': 'valkey://127.0.0.1:6379/0', 'ADOPT': None}"
    )


def _shown(backend: str, location: object) -> str:
    """Return a corrected entry; of the location only what can hold no password."""
    example = EXAMPLES[REDIS if "redis" in backend.lower() else PYMEMCACHE]
    if isinstance(location, str) and _ADDRESS.fullmatch(location):
        example = f"redis://{location}/0" if "redis" in backend.lower() else location
    return f"{{'BACKEND': {backend!r}, 'LOCATION': {example!r}}}"


def _key_prefix(prefix: str, version: str) -> str:
    """Return what our keys begin with, such that no key of Django's caches equals one of ours.

    Django writes ``prefix:version:key``, whatever the prefix is: two colons at least.  Ours have none (and
    what the Valkey store keeps beside sessions, one).
    """
    return f"sojourn/{_plain(prefix)}/{_plain(version)}/"


def _plain(text: str) -> str:
    """Return ``text`` if servers take it as it is, else what can be read of it and its digest."""
    if _PLAIN.fullmatch(text):
        return text
    readable = re.sub("[^0-9A-Za-z_.-]", "_", text)[:11]
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
