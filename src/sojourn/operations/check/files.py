"""What is wrong with the file that has the sessions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sojourn.operations.check.finding import Kind, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.settings import Settings

__all__ = ["file_cannot_be_made", "file_is_missing"]

FILE_IS_MISSING: Final = Kind(
    id="sojourn.E016",
    severity=Severity.ERROR,
    title="The embedded engine has no file",
    happens="Every page that has a session is an error 500: without BASE_DIR in the settings there is no "
    "place to assume.",
)
CANNOT_BE_MADE: Final = Kind(
    id="sojourn.W013",
    severity=Severity.WARNING,
    title="The file for sessions cannot be made",
    happens="Every page that has a session is an error 503 or 500, if the application may not write there "
    "either.",
)


def file_is_missing(settings: Settings) -> Iterator[Finding]:
    """Find the embedded engine without ``PATH``, or with a relative one, where there is no ``BASE_DIR``."""
    path = settings.options.get("PATH")
    if not _is_embedded(settings) or settings["BASE_DIR"] is not None or _is_absolute(path):
        return
    what = "SOJOURN['PATH'] is not set" if path is None else "SOJOURN['PATH'] is relative"
    yield FILE_IS_MISSING.found(
        f"{what}, and the settings have no BASE_DIR to keep the file in.",
        where=settings.where("SOJOURN", "SESSION_ENGINE"),
        corrected=settings.setting_option("PATH", settings.example_file("sessions.sqlite3")),
    )


def file_cannot_be_made(settings: Settings) -> Iterator[Finding]:
    """Find a folder that whoever runs the check may not make.  Not static: it looks at the disk."""
    path: Any = settings.options.get("PATH")
    if not _is_embedded(settings) or not _is_absolute(path):
        return
    folder = Path(path).parent
    there = next(above for above in (folder, *folder.parents) if above.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield CANNOT_BE_MADE.found(
            f"SOJOURN['PATH'] is to be in {folder}, and whoever runs this check may not write in {there}. "
            "Make the folder for the user the application runs as, and check as that user.",
            where=settings.where("SOJOURN"),
            corrected=f"# install -d -m 0700 -o USER {folder}",
        )


def _is_embedded(settings: Settings) -> bool:
    return settings.is_ours and settings.kind == "embedded"


def _is_absolute(path: Any) -> bool:
    return isinstance(path, str | os.PathLike) and "\0" not in str(path) and Path(path).is_absolute()
