"""A project's settings, read from a file or a module."""

from __future__ import annotations

import ast
import re
import sys
import traceback
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from sojourn.errors import ConfigurationError
from sojourn.operations.check.finding import Finding, Kind, Severity
from sojourn.operations.check.secrets import names_secret, without_secrets
from sojourn.operations.check.settings import DJANGO, HORIZON, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Reading", "read"]

SYNTAX: Final = Kind(
    id="sojourn.E002",
    severity=Severity.ERROR,
    title="The settings file is not Python",
    happens="Nothing starts: every page is an error 500.",
)
IGNORED: Final = Kind(
    id="sojourn.E014",
    severity=Severity.ERROR,
    title="Horizon cannot import its local_settings.py",
    happens="Horizon starts without a line of the file, and sessions are where its own defaults have them; "
    "all it says is 'No local_settings file found.' in the log.",
)
_A_FOLDER: Final = "{} is a folder; name the settings file in it, or the module"
#: What may be left of a line after its code: a comment, if it cannot be a part of a text.
_END: Final = re.compile(r"\s*(#[^'\"]*)?$")
#: Lines above the one a syntax error is told of that a comma may be missing from.
_ABOVE: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read, and what could not be."""

    #: What the settings are called in what is printed.
    source: str
    #: ``None`` if there is nothing to check.
    settings: Settings | None
    #: What keeps the file from being read.
    findings: tuple[Finding, ...] = ()
    #: What could not be looked at, and why.
    unread: tuple[str, ...] = ()


def read(source: str) -> Reading:
    """Read the settings at a path, or in a module such as ``mysite.settings``.

    A file is executed, statement by statement; a statement that fails is told of, and the rest is executed.
    What a ``local_settings.py`` of OpenStack Horizon leaves out is as Horizon has it.  A module is imported.
    Either may import what is in the working directory.  Raises ``ConfigurationError`` if there is no such
    file or module.
    """
    path = Path(source)
    sys.path.insert(0, str(Path.cwd()))  # as manage.py does, and for what settings name, too
    with redirect_stdout(sys.stderr):  # what settings print is no finding
        if path.is_file():
            return _read_file(path)
        if path.suffix == ".py" or not all(part.isidentifier() for part in source.split(".")):
            raise ConfigurationError(
                _A_FOLDER.format(source) if path.is_dir() else f"there is no file {source}"
            )
        return _read_module(source)


def _read_module(name: str) -> Reading:
    try:
        module = import_module(name)
    except SyntaxError as error:
        path = Path(error.filename or name)
        return _unreadable(name, path, error)
    except (Exception, SystemExit) as error:  # whatever a project's settings raise
        raise ConfigurationError(f"the settings {name} cannot be imported: {_reason(error)}") from error
    if module.__file__ is None:  # a namespace package, which has no code
        raise ConfigurationError(_A_FOLDER.format(name))
    path = Path(module.__file__)
    return Reading(source=name, settings=_settings(vars(module), _places(path), DJANGO))


def _read_file(path: Path) -> Reading:
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        return _unreadable(str(path), path, error)
    except (OSError, ValueError, MemoryError, RecursionError) as error:  # the last two: nested too deeply
        raise ConfigurationError(f"{path} cannot be read: {_reason(error)}") from error
    values: dict[str, Any] = {"__file__": str(path.resolve()), "__name__": path.stem, "__package__": ""}
    failed = list(_executed(tree, path, values))
    horizons = _is_horizons(path, values)
    # Where Horizon is not installed, what it brings is not there either, and proves nothing.
    told = horizons and find_spec("openstack_dashboard") is not None
    return Reading(
        source=str(path),
        settings=_settings(values, _places(path), HORIZON if horizons else DJANGO),
        findings=tuple(
            _ignored(path, line, error) for line, error in failed if told and _lacks_a_module(error)
        ),
        unread=tuple(f"{path}:{line}: {_reason(error)}" for line, error in failed),
    )


def _executed(tree: ast.Module, path: Path, values: dict[str, Any]) -> Iterator[tuple[int, BaseException]]:
    """Execute each statement; yield the line and the error of those that fail."""
    for statement in tree.body:
        code = compile(ast.Module([statement], []), str(path), "exec", dont_inherit=True)
        try:
            exec(code, values)  # noqa: S102 - a settings file is a program, and Django executes it
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a project's settings raise
            yield statement.lineno, error


def _ignored(path: Path, line: int, error: BaseException) -> Finding:
    return IGNORED.found(
        f"Line {line} {_reason(error).partition(';')[0]}.",
        where=f"{path}:{line}",
        corrected="# Install it, or take the line out.",
    )


def _reason(error: BaseException) -> str:
    """Return what went wrong, without texts that may hold a secret."""
    if _lacks_a_module(error):
        return f"cannot import {error.name or 'a module'}; run the check where the project runs"
    if isinstance(error, ImportError):
        return "a file by itself has no package to import from; check the module, such as mysite.settings"
    if isinstance(error, NameError):
        line = traceback.extract_tb(error.__traceback__)[-1].line or ""
        return "a name there is unknown" if names_secret(line) else f"there is no {error.name}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__


def _lacks_a_module(error: BaseException) -> TypeGuard[ImportError]:
    """Whether a module is missing; a relative import proves nothing, for here the file is in no package."""
    return isinstance(error, ImportError) and "relative import" not in str(error)


def _is_horizons(path: Path, values: Mapping[str, Any]) -> bool:
    """Whether the file is the part of Horizon's settings that deployments write."""
    if "ROOT_URLCONF" in values or "INSTALLED_APPS" in values:
        return False
    return path.stem == "local_settings" or any(
        name.startswith(("OPENSTACK_", "HORIZON_")) for name in values
    )


def _settings(values: Mapping[str, Any], places: Mapping[str, str], below: Mapping[str, Any]) -> Settings:
    given = {name: value for name, value in values.items() if name.isupper()}
    return Settings(given=given, places=places, defaults=below)


def _places(path: Path) -> dict[str, str]:
    """Return where the file, or one that it imports everything from, sets each name."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    places: dict[str, str] = {}
    for node in sorted(ast.walk(tree), key=lambda node: getattr(node, "lineno", 0)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id.isupper():
            places[node.id] = f"{path}:{node.lineno}"
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            file = getattr(sys.modules.get(node.module or ""), "__file__", None)
            places |= _places(Path(file)) if file is not None and Path(file) != path else {}
    return places


# --- A file that is not Python ------------------------------------------------------------------------


def _unreadable(source: str, path: Path, error: SyntaxError) -> Reading:
    return Reading(
        source=source,
        settings=None,
        findings=(_syntax_error(path, error),),
        unread=(f"{path}: the settings, before it is Python",),
    )


def _syntax_error(path: Path, error: SyntaxError) -> Finding:
    number = error.lineno or 1
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    comma = _missing_comma(lines, number, max(number, error.end_lineno or number))
    number = number if comma is None else comma
    line = without_secrets(lines[number - 1].rstrip()) if number <= len(lines) else ""
    if comma is not None:
        what = f"Line {number} lacks a comma at its end: {line.strip()}"
        corrected = _with_comma(line)
    else:
        what = f"Line {number} is not Python ({error.msg}): {line.strip()}"
        corrected = "# Correct this line, and check again."
    return SYNTAX.found(what, where=f"{path}:{number}", corrected=corrected)


def _missing_comma(lines: list[str], first: int, last: int) -> int | None:
    """Return the line, of those told of or just above, that only lacks a comma at its end, if one does."""
    if _error_line("\n".join(lines)) == float("inf"):
        return None  # it is the file's encoding that is wrong
    for candidate in range(min(last, len(lines)), max(first - _ABOVE - 1, 0), -1):
        mended = [*lines]
        mended[candidate - 1] = _with_comma(lines[candidate - 1])
        if _error_line("\n".join(mended)) > first:
            return candidate
    return None


def _with_comma(line: str) -> str:
    """Return the line with a comma at its end, or before the comment there."""
    return _END.sub(r",\g<0>", line, count=1)


def _error_line(source: str) -> float:
    """Return the line of the first syntax error; infinity if there is none."""
    try:
        ast.parse(source)
    except SyntaxError as error:
        return error.lineno or 1
    return float("inf")
