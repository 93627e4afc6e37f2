"""The settings of a project, as the checks ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sojourn.carriers.chunks import MOST_COOKIES
from sojourn.operations.check.secrets import assignment
from sojourn.project import DATABASE_CACHE, DJANGOS, ENGINES, JSON, LOCMEM, OURS, PYMEMCACHE

__all__ = ["DJANGO", "HORIZON", "SESSION_MIDDLEWARE", "Settings"]

SESSION_MIDDLEWARE: Final = "django.contrib.sessions.middleware.SessionMiddleware"

#: What Django takes for a setting that a project does not have.
DJANGO: Final[Mapping[str, Any]] = {
    "CACHES": {"default": {"BACKEND": LOCMEM}},
    "DATABASES": {},
    "INSTALLED_APPS": [],
    "MIDDLEWARE": [],
    "SECRET_KEY": "",
    "SECRET_KEY_FALLBACKS": [],
    "SESSION_CACHE_ALIAS": "default",
    "SESSION_COOKIE_AGE": 14 * 24 * 3600,
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SESSION_COOKIE_SECURE": False,
    "SESSION_ENGINE": f"{DJANGOS}db",
    "SESSION_SERIALIZER": JSON,
    "SILENCED_SYSTEM_CHECKS": [],
}

#: What Horizon takes for a setting of sessions that is not in its ``local_settings.py``:
#: ``openstack_dashboard/settings.py`` of horizon 27.0.0.
HORIZON: Final[Mapping[str, Any]] = {
    **DJANGO,
    "CACHES": {"default": {"BACKEND": PYMEMCACHE, "LOCATION": "127.0.0.1:11211"}},
    "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.sessions", "horizon", "openstack_auth"],
    "MIDDLEWARE": [SESSION_MIDDLEWARE, "horizon.middleware.HorizonMiddleware"],
    "SESSION_ENGINE": f"{DJANGOS}cache",
    "SESSION_SERIALIZER": "openstack_auth.serializers.HorizonSerializer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a project sets, where, and what holds for the rest.

    Values are as the project wrote them, so they may be of any type; what a check asks for by a property has
    the type it says, and is empty where the project's has not.
    """

    #: By name of the setting.  Not in the repr: there are secrets among them.
    given: Mapping[str, Any] = field(repr=False)
    #: ``file:line`` at which each was set last, where that is known.
    places: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: What holds for settings the project does not have.
    defaults: Mapping[str, Any] = field(default_factory=lambda: DJANGO, repr=False)

    def __getitem__(self, name: str) -> Any:
        """Return the value that holds, or ``None`` if neither the project nor Django has such a setting."""
        return self.given.get(name, self.defaults.get(name))

    def __contains__(self, name: str) -> bool:
        """Whether the project sets it."""
        return name in self.given

    def where(self, *names: str) -> str:
        """Return where the project sets the first of these settings that it has; else the last.

        The name alone if the place is not known.
        """
        name = next((name for name in names if name in self), names[-1])
        return self.places.get(name, name)

    def listed(self, name: str) -> list[Any]:
        """Return the items of a setting that is a list."""
        value = self[name]
        return list(value) if isinstance(value, list | tuple) else []

    @property
    def is_horizons(self) -> bool:
        """Whether this is OpenStack Horizon."""
        return "horizon" in self.apps

    @property
    def engine(self) -> str:
        """``SESSION_ENGINE``."""
        return str(self["SESSION_ENGINE"])

    @property
    def is_ours(self) -> bool:
        """Whether the engine is one of Sojourn's."""
        return self.engine.startswith(OURS) and bool(self.kind)

    @property
    def kind(self) -> str:
        """The engine's name without its prefix, whether Django's or ours; empty for any other engine."""
        prefix = next((prefix for prefix in (OURS, DJANGOS) if self.engine.startswith(prefix)), None)
        name = self.engine.removeprefix(prefix) if prefix is not None else ""
        known = name in ENGINES and not (prefix == DJANGOS and name == "embedded")
        return name if known else ""

    @property
    def options(self) -> Mapping[str, Any]:
        """``SOJOURN``."""
        return self._mapping("SOJOURN")

    @property
    def most_cookies(self) -> int:
        """``SOJOURN["MAX_COOKIES"]``."""
        given = self.options.get("MAX_COOKIES")
        return given if isinstance(given, int) and 0 < given <= MOST_COOKIES else 1

    @property
    def caches(self) -> Mapping[str, Any]:
        """``CACHES``."""
        return self._mapping("CACHES")

    @property
    def cache_alias(self) -> str | None:
        """The alias of the cache that has sessions or their copies; ``None`` if no alias has."""
        elsewhere = self.is_ours and self.options.get("STORE") is not None
        if self.kind not in ("cache", "cached_db") or elsewhere:
            return None
        return str(self["SESSION_CACHE_ALIAS"])

    @property
    def cache(self) -> Mapping[str, Any]:
        """The entry of that alias."""
        entry = self.caches.get(str(self.cache_alias))
        return entry if isinstance(entry, Mapping) else {}

    @property
    def database_alias(self) -> str | None:
        """The alias of the database that has sessions, if no router says otherwise; ``None``: none has."""
        in_cache = self.is_ours and self.kind == "cache" and self.cache.get("BACKEND") == DATABASE_CACHE
        if self.kind not in ("db", "cached_db") and not in_cache:
            return None
        return str((self.options.get("DATABASE") if self.is_ours else None) or "default")

    @property
    def database(self) -> Mapping[str, Any]:
        """The entry of that alias."""
        entry = self._mapping("DATABASES").get(str(self.database_alias))
        return entry if isinstance(entry, Mapping) else {}

    @property
    def apps(self) -> list[str]:
        """``INSTALLED_APPS``, and Horizon's ``ADD_INSTALLED_APPS``."""
        return [*self._names("INSTALLED_APPS"), *self._names("ADD_INSTALLED_APPS")]

    @property
    def middleware(self) -> list[str]:
        """``MIDDLEWARE``."""
        return self._names("MIDDLEWARE")

    def adding_app(self, name: str) -> str:
        """Return the line that adds an app."""
        if self.is_horizons:
            return assignment("ADD_INSTALLED_APPS", [*self._names("ADD_INSTALLED_APPS"), name])
        return f'INSTALLED_APPS = [*INSTALLED_APPS, "{name}"]'

    def example_file(self, name: str) -> str:
        """Return the path of a file where this project might keep it."""
        return f"/var/lib/{'openstack-dashboard' if self.is_horizons else 'mysite'}/{name}"

    def choosing_embedded(self) -> str:
        """Return the lines that choose the embedded engine, with its file where none would be assumed."""
        lines = [assignment("SESSION_ENGINE", f"{OURS}embedded")]
        if self["BASE_DIR"] is None and self.options.get("PATH") is None:
            lines.append(self.setting_option("PATH", self.example_file("sessions.sqlite3")))
        return "\n".join(lines)

    def setting_option(self, name: str, value: object) -> str:
        """Return the line that sets a key of ``SOJOURN``."""
        if "SOJOURN" in self:
            return assignment(f'SOJOURN["{name}"]', value)
        return assignment("SOJOURN", {name: value})

    def _mapping(self, name: str) -> Mapping[str, Any]:
        value = self[name]
        return value if isinstance(value, Mapping) else {}

    def _names(self, name: str) -> list[str]:
        return [str(item) for item in self.listed(name)]
