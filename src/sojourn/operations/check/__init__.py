"""The doctor: what is wrong with a project's settings for sessions, before users notice.

``STATIC`` is all there is to registering a check: a tuple of functions from settings to findings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from sojourn.operations.check import caches, cookies, databases, drivers, engines, files, lifetimes, options
from sojourn.operations.check.finding import Finding, Kind, Severity
from sojourn.operations.check.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Check: TypeAlias = Callable[[Settings], Iterable[Finding]]

__all__ = ["STATIC", "Finding", "Kind", "Settings", "Severity", "findings"]

#: The checks that ask nobody: they read settings and nothing else.
STATIC: Final[tuple[Check, ...]] = (
    engines.engine_is_a_cache,
    engines.engine_is_unknown,
    engines.app_is_missing,
    caches.caches_lack_the_alias_level,
    caches.alias_is_missing,
    caches.backend_is_gone,
    caches.redis_address_is_none,
    caches.cache_keeps_nothing,
    databases.database_is_missing,
    options.options_are_wrong,
    drivers.driver_is_missing,
    files.file_is_missing,
    lifetimes.pickles,
    lifetimes.secret_is_weak,
    lifetimes.former_secret_is_weak,
    caches.process_memory,
    caches.nothing_is_copied,
    cookies.cookie_is_unsafe,
    cookies.cookie_is_readable,
    cookies.cookie_is_sent_anywhere,
    cookies.cookies_cannot_be_revoked,
    lifetimes.cookie_outlives_browsers,
    engines.middleware_blocks,
    databases.connections_are_not_kept,
    databases.database_has_unknown_keys,
    lifetimes.no_absolute_timeout,
    lifetimes.anonymous_sessions_are_kept,
    engines.djangos_engine,
)


def findings(settings: Settings, checks: Iterable[Check] = STATIC) -> list[Finding]:
    """Return what ``checks`` find, the gravest first; without what SILENCED_SYSTEM_CHECKS names."""
    silenced = settings.listed("SILENCED_SYSTEM_CHECKS")
    found = [finding for check in checks for finding in check(settings) if finding.id not in silenced]
    return sorted(found, key=lambda finding: -finding.severity)
