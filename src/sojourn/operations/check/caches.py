"""What is wrong with ``CACHES`` and with the cache that has the sessions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sojourn.operations.check.finding import Kind, Severity
from sojourn.operations.check.secrets import assignment, shown
from sojourn.project import DJANGO_REDIS, DUMMY, ELSEWHERE, EXAMPLES, GONE, LOCMEM, OURS, PYMEMCACHE, REDIS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.settings import Settings

__all__ = [
    "alias_is_missing",
    "backend_is_gone",
    "cache_keeps_nothing",
    "caches_lack_the_alias_level",
    "nothing_is_copied",
    "process_memory",
    "redis_address_is_none",
]

#: ``host``, ``host:port`` or ``host:port:database``, as clients of Redis took it before there were URLs.
_OLD_ADDRESS: Final = re.compile(r"(?P<host>[\w.-]+)(:(?P<port>\d+))?(:(?P<database>\d+))?")

NO_ALIAS_LEVEL: Final = Kind(
    id="sojourn.E005",
    severity=Severity.ERROR,
    title="CACHES lacks the alias between it and 'BACKEND'",
    happens="Every page that has a session is an error 500: Django takes 'BACKEND' for the name of a cache.",
)
ALIAS_IS_MISSING: Final = Kind(
    id="sojourn.E006",
    severity=Severity.ERROR,
    title="CACHES has no cache of the name that is asked for",
    happens="Every page that asks for it is an error 500: Django itself asks for 'default', and sessions are "
    "in the one that SESSION_CACHE_ALIAS names.",
)
BACKEND_IS_GONE: Final = Kind(
    id="sojourn.E007",
    severity=Severity.ERROR,
    title="CACHES names a backend that is no longer there",
    happens="Every page that has a session is an error 500 after the upgrade: Django 4.1 dropped its "
    "MemcachedCache, with the driver python-memcached, and redis_cache is django_redis now, or Django's own "
    "RedisCache.",
)
KEEPS_NOTHING: Final = Kind(
    id="sojourn.E008",
    severity=Severity.ERROR,
    title="Sessions cannot be kept in the cache that is named",
    happens="Nobody stays signed in: either the cache keeps nothing, or the engine refuses to start on it.",
)
NO_REDIS_ADDRESS: Final = Kind(
    id="sojourn.E009",
    severity=Severity.ERROR,
    title="LOCATION is no address of a Redis server",
    happens="Every page that has a session is an error 500: the driver takes an address with redis:// alone.",
)
PROCESS_MEMORY: Final = Kind(
    id="sojourn.W003",
    severity=Severity.WARNING,
    title="Sessions are kept in the memory of one process",
    happens="Everybody is signed out at each restart and, with more than one worker process, at random "
    "in between.",
)

NOTHING_IS_COPIED: Final = Kind(
    id="sojourn.W014",
    severity=Severity.WARNING,
    title="cached_db has no cache that other processes see, and copies nothing",
    happens="Nothing is lost, but every session comes from the database, as it does with the db engine.",
)


def caches_lack_the_alias_level(settings: Settings) -> Iterator[Finding]:
    """Find ``CACHES = {"BACKEND": …}``, as Horizon's guide of 2012 had it."""
    if "BACKEND" in settings.caches:
        backend = str(settings.caches["BACKEND"])
        gone = backend in GONE
        entry = _in_new_words(GONE[backend], settings.caches) if gone else settings.caches
        yield NO_ALIAS_LEVEL.found(
            "CACHES is a dictionary of caches by name, but has 'BACKEND' where the name should be."
            + (f" And {_gone(backend)}" if gone else ""),
            where=settings.where("CACHES"),
            corrected=assignment("CACHES", {"default": entry}),
        )


def alias_is_missing(settings: Settings) -> Iterator[Finding]:
    """Find ``CACHES`` without ``"default"``, or without the alias that sessions are to be in."""
    if "BACKEND" in settings.caches:
        return  # as said above
    if "default" not in settings.caches:
        others = [str(name) for name in settings.caches]
        example = {"default": {"BACKEND": PYMEMCACHE, "LOCATION": EXAMPLES[PYMEMCACHE]}}
        yield ALIAS_IS_MISSING.found(
            "CACHES has no 'default', which every Django project needs.",
            where=settings.where("CACHES"),
            corrected=f'CACHES["default"] = CACHES["{others[0]}"]'
            if others
            else assignment("CACHES", example),
        )
    alias = settings.cache_alias
    if alias not in (None, "default") and alias not in settings.caches:
        yield ALIAS_IS_MISSING.found(
            f"SESSION_CACHE_ALIAS is {shown(alias)}, but CACHES has no cache of that name.",
            where=settings.where("SESSION_CACHE_ALIAS"),
            corrected=assignment("SESSION_CACHE_ALIAS", "default"),
        )


def backend_is_gone(settings: Settings) -> Iterator[Finding]:
    """Find backends that Django, or the package they were in, no longer has."""
    for alias, entry in settings.caches.items():
        if not isinstance(entry, Mapping):
            continue
        backend = str(entry.get("BACKEND"))
        if backend in GONE:
            yield BACKEND_IS_GONE.found(
                f"CACHES[{shown(alias)}] names a backend of old: {_gone(backend)}",
                where=settings.where("CACHES"),
                corrected=assignment(f"CACHES[{shown(alias)}]", _in_new_words(GONE[backend], entry)),
            )


def _gone(backend: str) -> str:
    driver = "redis[hiredis]" if GONE[backend] == REDIS else "pymemcache"
    return f"{shown(backend)} is no longer there. Install {driver}, the driver of the backend below."


def _in_new_words(backend: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``entry`` for the backend that took its own's place.  Options were for the driver of old."""
    kept = {key: value for key, value in entry.items() if key != "OPTIONS"}
    location = entry.get("LOCATION") or EXAMPLES[backend]
    return {**kept, "BACKEND": backend, "LOCATION": _url(location) if backend == REDIS else location}


def _url(location: object) -> object:
    """Return the address of a Redis server as a URL, if it is one as it was written before."""
    if isinstance(location, list | tuple):
        return type(location)(map(_url, location))
    match = _OLD_ADDRESS.fullmatch(location) if isinstance(location, str) else None
    if match is None:
        return location
    return f"redis://{match['host']}:{match['port'] or 6379}/{match['database'] or 0}"


def redis_address_is_none(settings: Settings) -> Iterator[Finding]:
    """Find ``127.0.0.1:6379:1``, which Horizon's guide has, where a URL has to be."""
    entry, name = settings.cache, f"CACHES[{shown(settings.cache_alias)}]"
    location = entry.get("LOCATION")
    if str(entry.get("BACKEND")) in (REDIS, DJANGO_REDIS) and _url(location) != location:
        yield NO_REDIS_ADDRESS.found(
            f"LOCATION of {name} is not written as a URL.",
            where=settings.where("CACHES"),
            corrected=assignment(f'{name}["LOCATION"]', _url(location)),
        )


def cache_keeps_nothing(settings: Settings) -> Iterator[Finding]:
    """Find a cache that no session can be kept in."""
    backend = str(settings.cache.get("BACKEND"))
    if backend not in ELSEWHERE or not (settings.is_ours or backend == DUMMY):
        return
    yield KEEPS_NOTHING.found(
        f"Sessions are to be kept in CACHES[{shown(settings.cache_alias)}], {shown(backend)}, but "
        f"{ELSEWHERE[backend]}.",
        where=settings.where("CACHES"),
        corrected=settings.choosing_embedded(),
    )


def process_memory(settings: Settings) -> Iterator[Finding]:
    """Find sessions that no other process sees."""
    if settings.kind != "cache" or settings.cache.get("BACKEND") != LOCMEM:
        return
    yield PROCESS_MEMORY.found(
        "Sessions are kept in the memory of each process: "
        + ("CACHES says so." if "CACHES" in settings else "there is no CACHES, and so Django has it."),
        where=settings.where("CACHES", "SESSION_ENGINE"),
        corrected=settings.choosing_embedded(),
    )


def nothing_is_copied(settings: Settings) -> Iterator[Finding]:
    """Find ``cached_db`` of ours on the memory of each process."""
    if settings.is_ours and settings.kind == "cached_db" and settings.cache.get("BACKEND") == LOCMEM:
        yield NOTHING_IS_COPIED.found(
            f"CACHES[{shown(settings.cache_alias)}] is the memory of one process, where no session "
            "is copied. Name a memcached or Redis there, or do without.",
            where=settings.where("CACHES", "SESSION_ENGINE"),
            corrected=assignment("SESSION_ENGINE", f"{OURS}db"),
        )
