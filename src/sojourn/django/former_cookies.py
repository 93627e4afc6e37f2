"""Cookies of Django's ``signed_cookies`` engine, which hold sessions to take over."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signing import TimestampSigner, b62_decode
from django.utils.module_loading import import_string

from sojourn.django.conf import SAME_NAME
from sojourn.project import DJANGOS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.django.conf import SojournSettings

__all__ = ["DjangoCookies", "cookies_to_adopt"]

#: Django's engine, and the salt of its signatures.
_ENGINE: Final = f"{DJANGOS}signed_cookies"
#: The data (with a dot: compressed), when it was signed, the signature.  Sojourn's cookies have no colon.
_VALUE: Final = re.compile(r"\.?[A-Za-z0-9_-]*:[A-Za-z0-9]{1,12}:[A-Za-z0-9_-]{43}", re.ASCII)


class DjangoCookies:
    """A :class:`sojourn.carriers.CookieFormer`."""

    def __init__(self) -> None:
        self._serializer: Any = import_string(settings.SESSION_SERIALIZER)
        self._max_age: int = settings.SESSION_COOKIE_AGE

    def accepts(self, value: str) -> bool:
        """See :meth:`sojourn.carriers.CookieFormer.accepts`."""
        return _VALUE.fullmatch(value) is not None

    def read(self, value: str) -> tuple[Mapping[str, Any], int] | None:
        """See :meth:`sojourn.carriers.CookieFormer.read`.  Judges signature and age as Django does."""
        signer = TimestampSigner(salt=_ENGINE)
        with suppress(Exception):  # as Django: whatever is wrong with it, it is no session
            data = signer.unsign_object(value, serializer=self._serializer, max_age=self._max_age)
            if isinstance(data, dict):
                return data, b62_decode(value.rsplit(":", 2)[1]) * 1000
        return None


def cookies_to_adopt(given: SojournSettings) -> DjangoCookies | None:
    """Return the cookies ``SOJOURN["ADOPT"]`` names; by default those of Django's engine of this name."""
    if given.ADOPT is None:
        return None
    named = [given.ADOPT] if isinstance(given.ADOPT, str) else list(given.ADOPT)
    if named not in ([SAME_NAME], [_ENGINE]):
        raise ImproperlyConfigured(
            f"sojourn.django.backends.signed_cookies takes over sessions from {_ENGINE!r} only: name it in "
            "SOJOURN['ADOPT'], or None"
        )
    return DjangoCookies()
