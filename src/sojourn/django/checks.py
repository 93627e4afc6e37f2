"""What ``manage.py check`` says of the settings; registered with the import of ``sojourn.django``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

from sojourn.errors import ConfigurationError
from sojourn.keyring import Keyring
from sojourn.stores.sql.statements import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_secrets", "check_settings", "check_table"]

_IN_A_TABLE: Final = ("sojourn.django.backends.db", "sojourn.django.backends.cached_db")


@checks.register(checks.Tags.security)
def check_secrets(**_: object) -> list[checks.CheckMessage]:
    """Warn of secrets too weak to seal sessions with.  Django takes them, so Sojourn does (checklist S9)."""
    if not settings.SESSION_ENGINE.startswith("sojourn."):
        return []
    try:
        secrets = {"SECRET_KEY": settings.SECRET_KEY}
    except ImproperlyConfigured:
        return []  # there is none, as Django itself says
    secrets |= {f"SECRET_KEY_FALLBACKS[{n}]": key for n, key in enumerate(settings.SECRET_KEY_FALLBACKS)}
    found: list[checks.CheckMessage] = []
    for name, secret in secrets.items():
        try:
            Keyring([secret])
        except ConfigurationError:
            found.append(
                checks.Warning(
                    f"{name} is too weak to seal sessions with: it has fewer than 32 octets, hardly any "
                    "variety, or comes from a sample such as the one startproject writes.",
                    hint="Set SECRET_KEY to the output of: python -c 'import secrets; "
                    "print(secrets.token_urlsafe(48))', and keep the former one in SECRET_KEY_FALLBACKS "
                    "until its sessions have moved.",
                    id="sojourn.W001",
                )
            )
    return found


@checks.register
def check_settings(**_: object) -> list[checks.CheckMessage]:
    """Report what would keep the engine from starting: an unknown setting, a wrong one, a wrong cache."""
    if not settings.SESSION_ENGINE.startswith("sojourn."):
        return []
    try:
        import_module(settings.SESSION_ENGINE).SessionStore.get_engine()
    except (ImportError, AttributeError, ImproperlyConfigured) as error:
        return [checks.Error(f"SESSION_ENGINE cannot start: {error}", id="sojourn.E001")]
    return []


@checks.register(checks.Tags.database)
def check_table(databases: Sequence[str] | None = None, **_: object) -> list[checks.CheckMessage]:
    """Warn that ``db`` or ``cached_db`` has no table yet; for ``manage.py check --database default``."""
    if settings.SESSION_ENGINE not in _IN_A_TABLE or check_settings():
        return []
    store = import_module(settings.SESSION_ENGINE).SessionStore.get_engine().manager.store
    alias = getattr(store, "origin", store).alias
    if alias not in (databases or ()):
        return []
    try:
        is_there = TABLE in connections[alias].introspection.table_names()
    except DatabaseError:
        return []  # as others will say
    if is_there:
        return []
    hint = "Run manage.py migrate" + ("." if alias == "default" else f" --database {alias}.")
    return [
        checks.Warning(f"The database {alias!r} has no table for sessions.", hint=hint, id="sojourn.W002")
    ]
