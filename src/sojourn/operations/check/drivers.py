"""What is not installed of the modules that a store needs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from sojourn.errors import ConfigurationError
from sojourn.operations.check.finding import Kind, Severity
from sojourn.project import DJANGO_REDIS, REDIS
from sojourn.stores.from_url import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.settings import Settings

__all__ = ["driver_is_missing", "installing", "missing_modules", "require"]

#: By kind of store, the modules it imports.  Of the others each has what it needs.
_MODULES: Final[Mapping[str, tuple[str, ...]]] = {"valkey": ("redis", "hiredis"), "sql": ("sqlalchemy",)}
#: What brings them, however Sojourn itself was installed.
_PACKAGES: Final = {"valkey": "redis[hiredis]>=6", "sql": "SQLAlchemy[asyncio]>=2.0.43"}
#: The settings that hold the address of a store, by engine.
_ADDRESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "cache": ("STORE",),
    "cached_db": ("STORE",),
    "signed_cookies": ("COOKIE_REVOCATIONS", "COOKIE_SPILL"),
}

DRIVER_IS_MISSING: Final = Kind(
    id="sojourn.E015",
    severity=Severity.ERROR,
    title="A module that the store needs is not installed",
    happens="Every page that has a session is an error 500: an ImportError in the log.",
)


def driver_is_missing(settings: Settings) -> Iterator[Finding]:
    """Find a store, of one of our engines, whose driver is not in this environment."""
    if not settings.is_ours:
        return
    for where, kind in _stores(settings):
        lacking = missing_modules(kind)
        if lacking:
            yield DRIVER_IS_MISSING.found(
                f"{where} needs {' and '.join(lacking)}, which cannot be imported here. Install it.",
                where=settings.where(where.partition("[")[0]),
                corrected=f"# {installing(kind)}",
            )


def missing_modules(kind: str) -> list[str]:
    """Return the modules that a store of this kind needs and that cannot be found."""
    return [name for name in _MODULES.get(kind, ()) if not _is_there(name)]


def installing(kind: str) -> str:
    """Return the command that brings them."""
    return f"pip install '{_PACKAGES[kind]}'"


def require(kind: str) -> None:
    """Raise ``ConfigurationError`` if a store of this kind lacks a module it needs."""
    lacking = missing_modules(kind)
    if lacking:
        raise ConfigurationError(f"{' and '.join(lacking)} cannot be imported: {installing(kind)}")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # a module that somebody has put in place by hand
        return True


def _stores(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the settings that name a store, and of what kind it is."""
    if settings.cache.get("BACKEND") in (REDIS, DJANGO_REDIS):
        yield f'CACHES["{settings.cache_alias}"]', "valkey"
    for name in _ADDRESSES.get(settings.kind, ()):
        kind = SCHEMES.get(str(settings.options.get(name)).partition("://")[0].lower())
        if kind is not None:
            yield f'SOJOURN["{name}"]', kind
