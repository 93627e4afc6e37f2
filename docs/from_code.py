"""What the reference says about settings, errors, stores, engines and commands, read from the code.

Each function returns MyST Markdown; ``conf.py`` puts it where a page asks for it by name::

    ```{from-code} settings
    ```

Whatever lacks an explanation in the code is an error here, so nothing goes undocumented.
"""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import runpy
import tempfile
import textwrap
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sojourn.django.checks
import sojourn.django.starting
import sojourn.errors
import sojourn.operations.check
import sojourn.stores
from sojourn import policy
from sojourn.django import backends
from sojourn.errors import SessionError
from sojourn.operations.check import Finding, Kind, Settings, findings
from sojourn.operations.check.reading import read
from sojourn.operations.plan.footprint import FOOTPRINTS, Shape, total
from sojourn.options import SAME_NAME, SojournSettings
from sojourn.store import Purge, Scan, Store, SubjectIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

_CAPABILITIES = (SubjectIndex, Purge, Scan)
_MEBIBYTE = 1024 * 1024
_MEASURED = Path(__file__).parent.parent / "bench" / "reference.json"
_WEIGHED = Path(__file__).parent.parent / "bench" / "scale" / "reference.json"


class UndocumentedError(Exception):
    """Something users meet has no explanation in the code."""


# --- settings ----------------------------------------------------------------------------------------


def settings() -> str:
    """Return every key of ``SOJOURN``: type, default and the comment above it."""
    explained = setting_comments(SojournSettings)
    defaults = {field.name: field.default for field in fields(SojournSettings)}
    types = {field.name: str(field.type) for field in fields(SojournSettings)}
    parts = []
    for name, comment in explained.items():
        options = f":type: `{types[name]}`\n:default: {_default(defaults[name])}\n"
        parts.append(f"````{{confval}} {name}\n{options}\n{_markdown(comment)}\n````\n")
    return "\n".join(parts)


def setting_comments(settings_class: type[Any]) -> dict[str, str]:
    """Return the ``#:`` comment above each field; an error if one has none."""
    source = textwrap.dedent(inspect.getsource(settings_class))
    lines = source.splitlines()
    [body] = [node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    comments: dict[str, str] = {}
    for node in body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above: list[str] = []
        for line in reversed(lines[: node.lineno - 1]):
            if not line.strip().startswith("#:"):
                break
            above.insert(0, line.strip().removeprefix("#:").strip())
        if not above:
            raise UndocumentedError(f"the setting {node.target.id} has no #: comment above it")
        comments[node.target.id] = " ".join(above)
    return comments


def _default(value: object) -> str:
    if value == SAME_NAME:
        return SAME_NAME
    if isinstance(value, int) and value and value % _MEBIBYTE == 0:
        return f"`{value}` ({value // _MEBIBYTE} MiB)"
    return f"`{value!r}`"


# --- errors ------------------------------------------------------------------------------------------


def errors() -> str:
    """Return the tree, and each class with its docstring."""
    names = [error.__name__ for error, _ in error_tree()]
    if missing := set(sojourn.errors.__all__) - set(names):
        raise UndocumentedError(f"in sojourn.errors, but no {SessionError.__name__}: {sorted(missing)}")
    drawn = "\n".join("    " * depth + error.__name__ for error, depth in error_tree())
    described = "\n".join(
        f"````{{py:exception}} {error.__module__}.{error.__name__}\n\n{_markdown(_docstring(error))}\n````\n"
        for error, _ in error_tree()
    )
    return f"```text\n{drawn}\n```\n\n{described}"


def error_tree(base: type[SessionError] = SessionError, depth: int = 0) -> Iterator[tuple[type, int]]:
    """Go through ``base`` and the errors derived from it in ``sojourn.errors``, with their depth."""
    yield base, depth
    for derived in base.__subclasses__():
        if derived.__module__ == sojourn.errors.__name__:
            yield from error_tree(derived, depth + 1)


# --- stores and engines ------------------------------------------------------------------------------


def stores() -> str:
    """Return every store and which capabilities it has."""
    head = ["store", "for", *(capability.__name__ for capability in _CAPABILITIES)]
    rows = [
        [
            f"`{store.__module__.removesuffix('.store').removesuffix('.aio')}.{store.__name__}`",
            "asyncio" if inspect.iscoroutinefunction(store.load) else "plain code",
            *(_has(store, capability) for capability in _CAPABILITIES),
        ]
        for store in store_classes(sojourn.stores)
    ]
    return _table(head, rows)


def _has(store: type[Any], capability: type[Any]) -> str:
    if "origin" in inspect.signature(store).parameters:
        return "as its origin"
    return "yes" if issubclass(store, capability) else "no"


def store_classes(package: ModuleType) -> list[Any]:
    """Return the public classes of ``package`` that have every method of ``Store``."""
    methods = {name for name in vars(Store) if not name.startswith("_")}
    found = {
        member
        for module in _modules(package)
        for name, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__.startswith(package.__name__)
        and not name.startswith("_")
        and methods <= set(dir(member))
    }
    return sorted(found, key=lambda store: (store.__module__.split(".")[2], store.__name__))


def engines() -> str:
    """Return every module that ``SESSION_ENGINE`` may name, and what it says of itself."""
    rows = []
    for module in _modules(backends):
        if hasattr(module, "SessionStore"):
            _, _, said = _docstring(module).partition("\n\n")[0].partition("``: ")
            if not said:
                raise UndocumentedError(f'{module.__name__} does not say SESSION_ENGINE = "…": what it is')
            rows.append([f"`{module.__name__}`", _markdown(said)])
    return _table(["`SESSION_ENGINE`", "keeps sessions in"], rows)


def commands() -> str:
    """Return every management command of Sojourn's."""
    try:
        package = import_module("sojourn.django.management.commands")
    except ModuleNotFoundError:
        return "Sojourn has no management command of its own yet."
    return _table(
        ["command", "does"], [[f"`manage.py {name}`", text] for name, text in command_helps(package).items()]
    )


def command_helps(package: ModuleType) -> dict[str, str]:
    """Return the help text of each command in ``package``; an error if one has none."""
    helps = {
        module.__name__.rpartition(".")[2]: str(module.Command.help)
        for module in _modules(package)
        if hasattr(module, "Command")
    }
    for name, text in helps.items():
        if not text:
            raise UndocumentedError(f"the command {name} has no help text")
    return helps


# --- findings ----------------------------------------------------------------------------------------


def checks() -> str:
    """Return every finding there can be: what is wrong, what happens, and an example with its correction."""
    examples = runpy.run_path(str(Path(__file__).with_name("faulty.py")))
    faulty, remedies = examples["FAULTY"], examples["REMEDIES"]
    parts = []
    for kind in finding_kinds():
        parts.append(f"### {kind.id}\n\n**{kind.title}** ({kind.severity}). {kind.happens}\n")
        if kind.id in faulty:
            corrected = textwrap.dedent(_example(kind, faulty[kind.id]).corrected)
            parts.append(f"```text\n{faulty[kind.id]}```\n\nWrite instead:\n\n```text\n{corrected}\n```\n")
        elif kind.id in remedies:
            parts.append(f"{remedies[kind.id]}\n")
        else:
            raise UndocumentedError(f"{kind.id} has neither an example nor a remedy in docs/faulty.py")
    return "\n".join(parts)


def finding_kinds() -> list[Kind]:
    """Return the kinds of finding in the order of their ids: errors, warnings, information."""
    kinds = {
        member
        for module in (*_modules(sojourn.operations.check), sojourn.django.checks, sojourn.django.starting)
        for member in vars(module).values()
        if isinstance(member, Kind)
    }
    return sorted(kinds, key=lambda kind: (-kind.severity, kind.id))


def _example(kind: Kind, source: str) -> Finding:
    """Return what is found in a faulty example."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.py"
        path.write_text(source, "utf-8")
        reading = read(str(path))
        found = [*reading.findings, *findings(reading.settings or Settings(given={}))]
    return next(finding for finding in found if finding.id == kind.id)


def presets() -> str:
    """Return the timeouts by authenticator assurance level."""
    rows = []
    for name in ("AAL1", "AAL2", "AAL3"):
        preset: policy.Policy = getattr(policy, name)
        rows.append(
            [
                f"`sojourn.{name}`",
                f"`{preset.idle_timeout}` ({_duration(preset.idle_timeout)})",
                f"`{preset.absolute_timeout}` ({_duration(preset.absolute_timeout or 0)})",
                f"`{preset.sliding}`",
            ]
        )
    return _table(["", "`SESSION_COOKIE_AGE`", "`ABSOLUTE_TIMEOUT`", "`SLIDING`"], rows)


def speed() -> str:
    """Return the figures of one run of the benchmark, for sessions of 2 KB."""
    run = json.loads(_MEASURED.read_text("utf-8"))
    operations = {name: sizes["2000"] for name, sizes in run["microseconds"].items() if "2000" in sizes}
    contenders = list(next(iter(operations.values())))
    rows = [
        [name, *(_microseconds(figures.get(name)) for figures in operations.values())] for name in contenders
    ]
    machine = (
        f"CPython {run['python']}, Django {run['django']}, SQLite {run['sqlite']}, "
        f"{run['cpus']} cores ({run['machine']})."
    )
    return f"{_table(['', *operations], rows)}\n\n{machine}"


def _beside(both: list[float | None]) -> str:
    return " / ".join(map(_microseconds, both))


#: The engines of the deployment guide: what the benchmark calls them, and Django's of the same place.
_COMPARED = {
    "local file": ("Sojourn embedded", "Django file"),
    "memcached": ("Sojourn memcached", "Django cache (PyMemcache)"),
    "Redis": ("Sojourn Redis", "Django cache (Redis)"),
    "database, PostgreSQL": ("Sojourn db (PostgreSQL)", "Django db (PostgreSQL)"),
    "database, SQLite": ("Sojourn db (SQLite WAL)", "Django db (SQLite WAL)"),
    "database behind a cache": ("Sojourn cached_db", "Django cached_db"),
    "cookies": ("Sojourn signed_cookies", "Django signed_cookies"),
    "process memory": ("Sojourn memory", "Django cache (LocMem)"),
}
_ASKED = {
    "read": "read",
    "modify": "read and save",
    "new": "first save",
    "login": "sign in",
    "logout": "sign out",
}


def costs() -> str:
    """Return what operations on sessions of 2 KB took in that run on each engine, beside Django's."""
    run = json.loads(_MEASURED.read_text("utf-8"))["microseconds"]
    rows = []
    for place, pair in _COMPARED.items():
        figures = [[run[operation]["2000"].get(name) for name in pair] for operation in _ASKED]
        missing = ["not in this run", *[""] * (len(_ASKED) - 1)]
        rows.append([place, *missing] if figures[0][0] is None else [place, *map(_beside, figures)])
    return _table(["Sojourn / Django, µs", *_ASKED.values()], rows)


def sizing() -> str:
    """Return what a session was measured to take in each store, beside what ``sojourn plan`` says."""
    rows = []
    for engine, sizes in json.loads(_WEIGHED.read_text("utf-8"))["sizes"].items():
        for size, weighed in sizes.items():
            shape = Shape(payload=weighed["payload"], info=weighed["info"], subject=weighed["subject"])
            planned = total(FOOTPRINTS[engine](shape, weighed["sessions"]))
            measured = weighed["per_session"]
            cells = [weighed["sessions"], int(size), round(measured), round(planned)]
            difference = f"{planned / measured - 1:+.1%}".replace("%", " %")
            rows.append([engine, *(f"{cell:,}" for cell in cells), difference, weighed["counts"]])
    head = ["store", "sessions", "JSON of each, bytes", "measured", "planned", "difference", "counts"]
    return _table(head, rows)


def purges() -> str:
    """Return what others felt of a purge, as a run of ``make scale`` measured it."""
    rows = []
    for store, purge in json.loads(_WEIGHED.read_text("utf-8"))["purges"].items():
        before, during = purge["before"], purge["during"]
        rows.append(
            [
                store,
                purge["said"].partition(" expired")[0],
                f"{purge['seconds']:.0f} s",
                *(
                    f"{felt[figure] / 1000:.1f} ms"
                    for figure in ("reads_p50", "reads_p99")
                    for felt in (before, during)
                ),
                *(f"{felt['worst'] / 1000:.0f} ms" for felt in (before, during)),
            ]
        )
    moments = ("before", "during")
    figures = ("read, median", "read, p99", "slowest operation")
    return _table(["", "removed", "in", *(f"{what}, {when}" for what in figures for when in moments)], rows)


def reads() -> str:
    """Return what a read takes among many sessions and among few, as that run measured it."""
    rows = []
    for store, medians in json.loads(_WEIGHED.read_text("utf-8"))["reads"].items():
        (few, of_few), (many, of_many) = medians.items()
        cells = [f"{of_few:.0f} µs of {int(few):,}", f"{of_many:.0f} µs of {int(many):,}"]
        rows.append([store, *cells, f"{of_many / of_few:.2f} ×"])
    return _table(["", "few", "many", ""], rows)


def scale_targets() -> str:
    """Return what that run was meant to reach, and what it reached."""
    return _targets_of(_WEIGHED)


def targets() -> str:
    """Return what a run of the benchmark was meant to reach, and what it reached."""
    return _targets_of(_MEASURED)


def _targets_of(run: Path) -> str:
    rows = []
    for target in json.loads(run.read_text("utf-8"))["targets"]:
        sign, limit = ("≥", target["at least"]) if "at least" in target else ("≤", target["at most"])
        verdict = "" if target["reached"] else "missed"
        rows.append([target["target"], f"{sign} {limit:g}", f"{target['ratio']:.2f}", verdict])
    return _table(["", "target", "measured", ""], rows)


def profile() -> str:
    """Return where the engines spend their time, as that run measured it."""
    run = json.loads(_MEASURED.read_text("utf-8"))
    # Runs before there were several have one, of the embedded engine.
    profiles: dict[str, Any] = run.get("profiles") or {"Sojourn embedded": run["profile"]}
    return "\n\n".join(f"**{engine}**\n\n{_profile(by_size)}" for engine, by_size in profiles.items())


def _profile(by_size: dict[str, Any]) -> str:
    header = [f"{operation}, {size} B" for size in by_size for operation in ("read", "modify")]
    stages = list(next(iter(by_size.values())))
    rows = [
        [stage, *(_microseconds(taken) for size in by_size for taken in by_size[size][stage].values())]
        for stage in stages
    ]
    return _table(["", *header], rows)


#: What a page may ask for.
PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part
    for part in (
        checks,
        settings,
        errors,
        stores,
        engines,
        commands,
        presets,
        profile,
        speed,
        targets,
        sizing,
        purges,
        reads,
        scale_targets,
        costs,
    )
}


# --- text --------------------------------------------------------------------------------------------


def _docstring(thing: object) -> str:
    text = inspect.getdoc(thing)
    if not text:
        raise UndocumentedError(f"{thing} has no docstring")
    return text


def _markdown(text: str) -> str:
    """Return what a docstring says, in Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _microseconds(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"{figure:.1f}" if figure < 10 else f"{figure:.0f}"  # noqa: PLR2004 - three digits at most


def _duration(seconds: int) -> str:
    if seconds % 3_600:
        return f"{seconds // 60} min"
    hours = seconds // 3_600
    return f"{hours} h" if hours <= 24 else f"{hours // 24} days"  # noqa: PLR2004 - a day


def _modules(package: ModuleType) -> list[ModuleType]:
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [import_module(name) for name in sorted(names)]
