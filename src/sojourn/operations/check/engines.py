"""What is wrong with ``SESSION_ENGINE``, with the app it needs and the middleware it works under."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from sojourn.operations.check.drivers import installing, missing_modules
from sojourn.operations.check.finding import Kind, Severity
from sojourn.operations.check.secrets import assignment, shown
from sojourn.operations.check.settings import SESSION_MIDDLEWARE
from sojourn.project import (
    DATABASE_CACHE,
    DJANGO_REDIS,
    DJANGOS,
    DUMMY,
    ELSEWHERE,
    ENGINES,
    GONE,
    KNOWN,
    LOCMEM,
    OURS,
    REDIS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.settings import Settings

__all__ = ["app_is_missing", "djangos_engine", "engine_is_a_cache", "engine_is_unknown", "middleware_blocks"]

_MIDDLEWARE: Final = "sojourn.django.middleware.SessionMiddleware"

#: Every engine there is.
_KNOWN: Final = tuple(f"{OURS}{name}" for name in ENGINES) + tuple(
    f"{DJANGOS}{name}" for name in ENGINES if name != "embedded"
)
#: What Horizon's sessions hold besides plain data, pickled by Django's cache engine.
_HORIZONS_CLASSES: Final = [
    "openstack_auth.user.Token",
    "keystoneauth1.access.access.AccessInfoV3",
    "keystoneauth1.access.service_catalog.ServiceCatalogV3",
    "keystoneauth1.access.service_providers.ServiceProviders",
]
#: How alike two names are of which one is the other misspelt; a project's own engine is less like ours.
_ALIKE: Final = 0.75

ENGINE_IS_A_CACHE: Final = Kind(
    id="sojourn.E003",
    severity=Severity.ERROR,
    title="SESSION_ENGINE names a cache backend",
    happens="No page is served: workers do not start, or answer each request with an error 500.",
)
ENGINE_IS_UNKNOWN: Final = Kind(
    id="sojourn.E004",
    severity=Severity.ERROR,
    title="SESSION_ENGINE names a module that does not exist",
    happens="No page is served: workers do not start, or answer each request with an error 500, and all that "
    "the log has is a ModuleNotFoundError that names no setting.",
)
APP_IS_MISSING: Final = Kind(
    id="sojourn.E010",
    severity=Severity.ERROR,
    title="The app that has the table of sessions is not installed",
    happens="Every page that has a session is an error 500: migrate makes no table for an unknown app.",
)
MIDDLEWARE_BLOCKS: Final = Kind(
    id="sojourn.W008",
    severity=Severity.WARNING,
    title="Django's session middleware runs under ASGI",
    happens="Every page makes two detours through a thread for its session, and waits for the store there.",
)
DJANGOS_ENGINE: Final = Kind(
    id="sojourn.I002",
    severity=Severity.INFO,
    title="Sessions are kept by Django's own engine",
    happens="Of two requests at once one loses the other's change, a page under way can undo a sign-out, and "
    "whoever reads the store can read, or take over, every session.",
)


def engine_is_a_cache(settings: Settings) -> Iterator[Finding]:
    """Find a cache backend as the engine: Horizon's guide of 2012 asked for one."""
    if not _names_a_cache(settings.engine):
        return
    in_database = "DatabaseCache" in settings.engine
    lines = [assignment("SESSION_ENGINE", f"{OURS}{'db' if in_database else 'cache'}")]
    if in_database and "sojourn.django" not in settings.apps:
        lines.append(settings.adding_app("sojourn.django"))
    if not in_database and "CACHES" not in settings:
        lines.append(assignment("CACHES", {"default": {"BACKEND": settings.engine}}))
    yield ENGINE_IS_A_CACHE.found(
        f"SESSION_ENGINE = {shown(settings.engine)} names a cache, not a session engine."
        + (" Write the lines below, then run manage.py migrate." if in_database else ""),
        where=settings.where("SESSION_ENGINE"),
        corrected="\n".join(lines),
    )


def engine_is_unknown(settings: Settings) -> Iterator[Finding]:
    """Find an engine that there is not, and the one that was meant."""
    engine = settings.engine
    if settings.kind or _names_a_cache(engine):
        return
    near = get_close_matches(engine, _KNOWN, n=1, cutoff=_ALIKE)
    package = engine.partition(".")[0]
    if not near and package not in ("django", "sojourn") and _is_there(package):
        return  # an engine of the project's own
    said = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(ENGINES)} in {OURS.rstrip('.')}."
    yield ENGINE_IS_UNKNOWN.found(
        f"SESSION_ENGINE = {shown(engine)} names no module there is: {said}",
        where=settings.where("SESSION_ENGINE"),
        corrected=assignment("SESSION_ENGINE", near[0]) if near else settings.choosing_embedded(),
    )


def _names_a_cache(engine: str) -> bool:
    return "cache.backends." in engine or engine.endswith("Cache")


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def app_is_missing(settings: Settings) -> Iterator[Finding]:
    """Find an engine that needs a table, without the app the table is of."""
    if settings.database_alias is None or not ("INSTALLED_APPS" in settings or settings.is_horizons):
        return
    package = "sojourn.django" if settings.is_ours else "django.contrib.sessions"
    if any(app == package or app.startswith(f"{package}.apps.") for app in settings.apps):
        return
    yield APP_IS_MISSING.found(
        f'SESSION_ENGINE = "{settings.engine}" keeps sessions in a table, but "{package}", whose it is, is '
        "not in INSTALLED_APPS. Add it, then run manage.py migrate.",
        where=settings.where("INSTALLED_APPS"),
        corrected=settings.adding_app(package),
    )


def middleware_blocks(settings: Settings) -> Iterator[Finding]:
    """Find Django's session middleware in a project that says it is served by ASGI."""
    served = "ASGI_APPLICATION" in settings or {"daphne", "channels"} & set(settings.apps)
    if not settings.is_ours or not served or SESSION_MIDDLEWARE not in settings.middleware:
        return
    corrected = [_MIDDLEWARE if name == SESSION_MIDDLEWARE else name for name in settings.middleware]
    yield MIDDLEWARE_BLOCKS.found(
        "The project is served by ASGI, and its session middleware is Django's, which waits in threads.",
        where=settings.where("MIDDLEWARE"),
        corrected=assignment("MIDDLEWARE", corrected),
    )


def djangos_engine(settings: Settings) -> Iterator[Finding]:
    """Find an engine of Django's that one of ours could take the place of."""
    if not settings.kind or settings.is_ours:
        return
    backend = str(settings.cache.get("BACKEND", "")) if settings.kind == "cache" else ""
    if backend and backend not in {*KNOWN, *ELSEWHERE, *GONE}:
        return  # what a cache of the project's own promises is not known
    if settings.kind == "signed_cookies" or backend in (LOCMEM, DUMMY):
        return  # W010, W003 and E008 name another engine
    is_elsewhere = backend in ELSEWHERE
    in_a_table = settings.kind in ("db", "cached_db") or backend == DATABASE_CACHE
    ours = assignment("SESSION_ENGINE", f"{OURS}{settings.kind}")
    lines = [settings.choosing_embedded() if is_elsewhere else ours]
    if in_a_table and "sojourn.django" not in settings.apps:
        lines.append(settings.adding_app("sojourn.django"))
    if is_elsewhere:
        after = "; its sessions are not taken over, so everybody signs in again"
    else:
        after = ", and takes its sessions over, so nobody is signed out"
        if settings.is_horizons and settings.kind == "cache":
            lines.append(settings.setting_option("ADOPT_CLASSES", _HORIZONS_CLASSES))
    if backend in (REDIS, DJANGO_REDIS) and missing_modules("valkey"):
        lines.insert(0, f"# {installing('valkey')}")
    yield DJANGOS_ENGINE.found(
        f"Sessions are kept by Django's {settings.engine}. The engine below keeps them where they are kept "
        f"now{after}." + (" Run manage.py migrate." if in_a_table else ""),
        where=settings.where("SESSION_ENGINE"),
        corrected="\n".join(lines),
    )
