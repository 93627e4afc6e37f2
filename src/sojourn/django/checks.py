"""What ``manage.py check`` says of the settings; registered with the import of ``sojourn.django``."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

from sojourn.django.starting import cannot_start
from sojourn.operations.check import Kind, Settings, Severity, findings
from sojourn.project import OURS
from sojourn.stores.sql.statements import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.django.database import DatabaseStore
    from sojourn.operations.check import Finding

__all__ = ["check_deployment", "check_settings", "check_table"]

#: Engines that may keep sessions in a table; ``cache`` where ``CACHES`` names a database.
_IN_A_TABLE: Final = tuple(f"{OURS}{name}" for name in ("cache", "cached_db", "db"))

NO_TABLE: Final = Kind(
    id="sojourn.W002",
    severity=Severity.WARNING,
    title="The database has no table for sessions",
    happens="Every page that has a session is an error 500.",
)
NOT_PARTITIONED: Final = Kind(
    id="sojourn.W015",
    severity=Severity.WARNING,
    title="The table of sessions is not partitioned, although PARTITION_BY is set",
    happens="Sessions are kept in it as it is, and removed row by row.",
)

#: What concerns whoever tries something out, too: a weak secret, sessions in process memory.
_ALWAYS: Final = frozenset({"sojourn.W001", "sojourn.W003", "sojourn.I004"})

_MESSAGES: Final = {
    Severity.INFO: checks.Info,
    Severity.WARNING: checks.Warning,
    Severity.ERROR: checks.Error,
}


@checks.register(checks.Tags.security)
def check_settings(**_: object) -> list[checks.CheckMessage]:
    """Report what keeps sessions from working, and what concerns whoever tries something out, too."""
    found = [finding for finding in findings(_project()) if _is_always_said(finding)]
    if not any(finding.severity is Severity.ERROR for finding in found):
        found += cannot_start()
    return [_message(finding) for finding in found]


@checks.register(checks.Tags.security, deploy=True)
def check_deployment(**_: object) -> list[checks.CheckMessage]:
    """Report what will harm users in production; for ``manage.py check --deploy``."""
    return [_message(finding) for finding in findings(_project()) if not _is_always_said(finding)]


@checks.register(checks.Tags.database)
def check_table(databases: Sequence[str] | None = None, **_: object) -> list[checks.CheckMessage]:
    """Warn that an engine in a database has no table yet; for ``manage.py check --database default``."""
    if settings.SESSION_ENGINE not in _IN_A_TABLE or cannot_start():
        return []
    store = import_module(settings.SESSION_ENGINE).SessionStore.get_engine().manager.store
    alias = getattr(getattr(store, "origin", store), "alias", None)
    if alias is None or alias not in (databases or ()):
        return []
    try:
        is_there = TABLE in connections[alias].introspection.table_names()
    except DatabaseError:
        return []  # as others will say
    if is_there:
        return _not_partitioned(getattr(store, "origin", store))
    command = "manage.py migrate" + ("" if alias == "default" else f" --database {alias}")
    what = f"The database {alias!r} has no table for sessions; {command} makes it."  # which checks first
    return [_message(NO_TABLE.found(what, where="DATABASES", corrected=command), todo="Run")]


def _not_partitioned(store: DatabaseStore) -> list[checks.CheckMessage]:
    if store.partition_by is None or store.is_partitioned():
        return []
    what = f"The table of sessions in the database {store.alias!r} is not partitioned by day."
    command = "manage.py sojourn_partition  # then restart the site"
    return [_message(NOT_PARTITIONED.found(what, where="DATABASES", corrected=command))]


def _is_always_said(finding: Finding) -> bool:
    return finding.severity is Severity.ERROR or finding.id in _ALWAYS


def _project() -> Settings:
    """Return the settings that the project itself has."""
    given: dict[str, object] = {}
    for name in dir(settings):
        if name.isupper() and settings.is_overridden(name):
            with suppress(ImproperlyConfigured):  # an empty SECRET_KEY, as Django itself says
                given[name] = getattr(settings, name)
    return Settings(given=given)


def _message(finding: Finding, *, todo: str = "Write") -> checks.CheckMessage:
    hint = f"{todo}:\n{finding.corrected}" if finding.corrected else None
    return _MESSAGES[finding.severity](f"{finding.what} {finding.happens}", hint=hint, id=finding.id)
