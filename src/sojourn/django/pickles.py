"""Pickles that Django's cache engines wrote, read as data: nothing in them is ever called."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, Final

from django.utils.translation import gettext, pgettext

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

__all__ = ["UnexpectedClassError", "unpickled"]

_PLAIN: Final = frozenset(
    {
        "builtins.bytearray",
        "builtins.complex",
        "builtins.frozenset",
        "builtins.set",
        "builtins.str",
        "collections.OrderedDict",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "django.utils.safestring.SafeString",
        "django.utils.translation.gettext",
        "django.utils.translation.pgettext",
        "uuid.UUID",
        "zoneinfo.ZoneInfo._unpickle",
    }
)

#: What Django pickles a lazy value by: a function, to be called with what the pickle says.
_LAZY: Final = "django.utils.functional._lazy_proxy_unpickle"
_TRANSLATIONS: Final = (gettext, pgettext)


class UnexpectedClassError(pickle.UnpicklingError):
    """A pickle names a class that is neither plain data nor allowed."""


class _Unpickler(pickle.Unpickler):
    """Reads plain data and instances of the classes in ``allowed``."""

    def __init__(self, pickled: bytes, allowed: Collection[str]) -> None:
        super().__init__(io.BytesIO(pickled))
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class; raises ``UnexpectedClassError`` naming any other."""
        path = f"{module}.{name}"
        if path == _LAZY:
            return _translated
        if path in _PLAIN or path in self._allowed:
            return super().find_class(module, name)
        raise UnexpectedClassError(path)


def _translated(
    function: Callable[..., str], args: Sequence[str], kwargs: Mapping[str, str], *_: type
) -> str:
    """Return what a lazy translation says, as text.  Any other lazy value is refused."""
    if function not in _TRANSLATIONS:
        raise UnexpectedClassError(_LAZY)
    return function(*args, **kwargs)


def unpickled(pickled: bytes, allowed: Collection[str]) -> Any:
    """Return what ``pickled`` holds: plain data, and instances of the classes ``allowed`` by dotted path.

    A lazy translation is the text it says, in the language of the moment.
    Raises ``UnexpectedClassError`` naming the first other class, and whatever a damaged pickle makes of it.
    """
    return _Unpickler(pickled, allowed).load()
