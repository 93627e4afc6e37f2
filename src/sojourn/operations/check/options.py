"""What is wrong with ``SOJOURN`` itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sojourn.errors import ConfigurationError
from sojourn.operations.check.finding import Kind, Severity, sentence
from sojourn.options import nearest_option, parsed_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.settings import Settings

__all__ = ["options_are_wrong"]

WRONG_OPTION: Final = Kind(
    id="sojourn.E013",
    severity=Severity.ERROR,
    title="SOJOURN has a setting that there is not, or a wrong value",
    happens="Every page that has a session is an error 500: Sojourn does not guess what was meant.",
)


def options_are_wrong(settings: Settings) -> Iterator[Finding]:
    """Find unknown settings of Sojourn's, and values that cannot be meant."""
    if "SOJOURN" not in settings:
        return
    if not isinstance(settings["SOJOURN"], Mapping):
        yield from _found(settings, settings["SOJOURN"], corrected="SOJOURN = {}")
    for name, value in settings.options.items():
        near = nearest_option(name)
        if near == name:
            corrected = f"del SOJOURN[{name!r}]  # or give it such a value"
        elif near is None or near in settings.options:
            corrected = f"del SOJOURN[{name!r}]"
        else:
            corrected = f"SOJOURN[{near!r}] = SOJOURN.pop({name!r})"
        yield from _found(settings, {name: value}, corrected=corrected)


def _found(settings: Settings, given: object, *, corrected: str) -> Iterator[Finding]:
    try:
        parsed_options(given)
    except ConfigurationError as error:
        yield WRONG_OPTION.found(sentence(str(error)), where=settings.where("SOJOURN"), corrected=corrected)
