"""``SOJOURN`` in the project's settings."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from sojourn.errors import ConfigurationError
from sojourn.options import SAME_NAME, SojournSettings, parsed_options

__all__ = ["SAME_NAME", "SojournSettings", "sojourn_settings"]

_NONE: Final[dict[str, object]] = {}
_checked: tuple[object, SojournSettings] | None = None


def sojourn_settings() -> SojournSettings:
    """Return ``settings.SOJOURN``, checked; every default if there is none.

    Raises ``ImproperlyConfigured`` naming an unknown key and the nearest valid one, or a wrong value.
    """
    global _checked  # noqa: PLW0603 - one dictionary is checked once, not at each request
    given: Any = getattr(settings, "SOJOURN", _NONE)
    if _checked is None or _checked[0] is not given:
        try:
            _checked = (given, parsed_options(given))
        except ConfigurationError as error:
            raise ImproperlyConfigured(str(error)) from error
    return _checked[1]
