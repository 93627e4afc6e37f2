"""The servers that a project's settings name, to be asked: ``sojourn check --live``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

from sojourn.clock import SystemClock
from sojourn.django.caches import cache_entry, store_at, store_in
from sojourn.django.conf import sojourn_settings
from sojourn.django.starting import configure
from sojourn.errors import SessionError, StoreUnavailableError
from sojourn.operations.check.live import Database, NotAskedError, Servers, live_findings
from sojourn.operations.check.live.addresses import place_at
from sojourn.project import DATABASE_CACHE
from sojourn.stores.sql.statements import DIALECTS, TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sojourn.clock import Clock
    from sojourn.operations.check import Finding, Settings
    from sojourn.operations.check.live import Place
    from sojourn.operations.check.live.places import Ask, Held

__all__ = ["ask_servers"]

#: Where sessions in cookies keep more: the setting, and what lies there.
_BESIDE_COOKIES: Final[tuple[tuple[str, Held], ...]] = (
    ("COOKIE_REVOCATIONS", "ended sessions"),
    ("COOKIE_SPILL", "sessions"),
)


def ask_servers(project: Settings, *, clock: Clock | None = None) -> tuple[list[Finding], list[str]]:
    """Ask every server the settings name; return what is wrong, and what could not be asked.

    Configures Django with the settings, unless somebody has done so.
    """
    with suppress(Exception):  # whatever Django does not take: who needs it says so below
        configure(project)
    silenced = project.listed("SILENCED_SYSTEM_CHECKS")
    found: list[Finding] = []
    unasked: list[str] = []
    for making in (_servers, _database, _beside_cookies):
        try:
            for place in making(project):
                found += live_findings(place, SystemClock() if clock is None else clock)
        except (NotAskedError, SessionError, ImproperlyConfigured, ImportError) as error:
            unasked.append(" ".join(str(error).split()))
    return [finding for finding in found if finding.id not in silenced], unasked


def _servers(project: Settings) -> Iterator[Place]:
    """Yield the servers of the ``cache`` and ``cached_db`` engines, Django's or ours."""
    if project.kind not in ("cache", "cached_db"):
        return
    alias, given = project.cache_alias, sojourn_settings()
    if alias is None:
        kind, arguments = store_at(str(given.STORE), given)
    else:
        entry = cache_entry(alias)
        if entry.backend == DATABASE_CACHE:
            return  # a table: below
        kind, arguments = store_in(entry, given)
    if kind != "memory":
        yield Servers(
            kind=cast("Literal['memcached', 'valkey']", kind),
            arguments=arguments,
            where="SOJOURN['STORE']" if alias is None else f"CACHES[{alias!r}]",
            holds="copies" if project.kind == "cached_db" else "sessions",
        )


def _database(project: Settings) -> Iterator[Place]:
    alias = project.database_alias
    if alias is None or not project.database:  # which is found without asking
        return
    where = f"DATABASES[{alias!r}]"
    vendor = connections[alias].vendor
    for dialect in DIALECTS:
        if dialect == vendor:
            yield Database(dialect=dialect, ask=_on(alias), where=where, table=TABLE, is_ours=project.is_ours)


def _on(alias: str) -> Ask:
    def ask(statement: str) -> Sequence[Sequence[Any]]:
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute(statement)
                return cast("Sequence[Sequence[Any]]", cursor.fetchall())
        except DatabaseError as error:
            raise StoreUnavailableError(str(error).partition("\n")[0]) from error

    return ask


def _beside_cookies(project: Settings) -> Iterator[Place]:
    if project.kind != "signed_cookies" or not project.is_ours:
        return
    for name, holds in _BESIDE_COOKIES:
        address = project.options.get(name)
        if address:
            place = place_at(str(address), where=f"SOJOURN[{name!r}]", holds=holds)
            if place is not None:
                yield place
