"""What is wrong with the database that has the sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sojourn.operations.check.finding import Kind, Severity
from sojourn.operations.check.secrets import assignment, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.settings import Settings

__all__ = ["connections_are_not_kept", "database_has_unknown_keys", "database_is_missing"]

#: What Django reads of an entry of ``DATABASES``.
KEYS: Final = frozenset(
    {
        *(
            "ATOMIC_REQUESTS",
            "AUTOCOMMIT",
            "CONN_HEALTH_CHECKS",
            "CONN_MAX_AGE",
            "DISABLE_SERVER_SIDE_CURSORS",
        ),
        *("ENGINE", "HOST", "NAME", "OPTIONS", "PASSWORD", "PORT", "TEST", "TIME_ZONE", "USER"),
    }
)
_DUMMY: Final = "django.db.backends.dummy"
#: Seconds.
_KEPT: Final = 600
_EXAMPLE: Final = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/var/lib/mysite/sessions.sqlite3"}

DATABASE_IS_MISSING: Final = Kind(
    id="sojourn.E011",
    severity=Severity.ERROR,
    title="There is no database for the engine that keeps sessions in one",
    happens="Every page that has a session is an error 500: settings.DATABASES is improperly configured.",
)
UNKNOWN_KEYS: Final = Kind(
    id="sojourn.W012",
    severity=Severity.WARNING,
    title="An entry of DATABASES has a key that means nothing",
    happens="Nothing of what it was meant for: Django ignores it without a word.",
)
CONNECTIONS_ARE_NOT_KEPT: Final = Kind(
    id="sojourn.W009",
    severity=Severity.WARNING,
    title="Each request opens a connection of its own to the database with the sessions",
    happens="Every page waits for a connection, with TLS and password several round trips, before it reads "
    "its session, and at a peak the database refuses connections.",
)


def database_is_missing(settings: Settings) -> Iterator[Finding]:
    """Find an engine that keeps sessions in a database without one."""
    engine = settings.database.get("ENGINE")
    is_part = not any(name in settings for name in ("DATABASES", "ROOT_URLCONF", "SESSION_ENGINE"))
    if is_part or settings.database_alias is None or engine not in (None, "", _DUMMY):
        return  # of part of the settings, such as a fragment for production, it says nothing
    alias = shown(settings.database_alias)
    yield DATABASE_IS_MISSING.found(
        f"Sessions are to be kept in DATABASES[{alias}], which is not there or names no ENGINE. "
        "After adding it, run manage.py migrate.",
        where=settings.where("DATABASES"),
        corrected=assignment("DATABASES", {settings.database_alias: _EXAMPLE})
        if "DATABASES" not in settings
        else assignment(f"DATABASES[{alias}]", _EXAMPLE),
    )


def database_has_unknown_keys(settings: Settings) -> Iterator[Finding]:
    """Find keys such as ``default-character-set``, which Horizon's guide has."""
    alias = shown(settings.database_alias)
    for key in settings.database:
        if key not in KEYS:
            yield UNKNOWN_KEYS.found(
                f"DATABASES[{alias}] has {shown(key)}, which Django does not know. Leave it out; what the "
                "driver is to know goes into 'OPTIONS'.",
                where=settings.where("DATABASES"),
                corrected=f"del DATABASES[{alias}][{shown(key)}]",
            )


def connections_are_not_kept(settings: Settings) -> Iterator[Finding]:
    """Find a database on the network whose connections end with each request."""
    entry = settings.database
    engine, options = str(entry.get("ENGINE") or ""), entry.get("OPTIONS")
    is_remote = engine != "" and "sqlite" not in engine and "spatialite" not in engine
    pooled = isinstance(options, Mapping) and bool(options.get("pool"))
    if not is_remote or pooled or entry.get("CONN_MAX_AGE", 0) != 0:
        return
    alias = shown(settings.database_alias)
    yield CONNECTIONS_ARE_NOT_KEPT.found(
        f"CONN_MAX_AGE of DATABASES[{alias}] is 0, as it is by default: no connection outlives its request.",
        where=settings.where("DATABASES"),
        corrected=f'DATABASES[{alias}]["CONN_MAX_AGE"] = {_KEPT}  # seconds\n'
        f'DATABASES[{alias}]["CONN_HEALTH_CHECKS"] = True',
    )
