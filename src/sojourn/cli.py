"""``sojourn``: the command line."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sojourn.errors import ConfigurationError, SessionError
from sojourn.operations.check import Severity, findings
from sojourn.operations.check.drivers import require
from sojourn.operations.check.files import file_cannot_be_made
from sojourn.operations.check.live.site import site_findings
from sojourn.operations.check.reading import read
from sojourn.operations.check.rendering import as_json, as_text
from sojourn.operations.plan import ENGINES, Load, Node, needs_of, report
from sojourn.operations.plan.quantities import count, octets, rate
from sojourn.operations.plan.sample import sampled
from sojourn.operations.purge import RATE_HELP, purge, store_purging
from sojourn.operations.purge import rate as purge_rate
from sojourn.purging import PURGE_RATE
from sojourn.store import Purge
from sojourn.stores.from_url import open_store, parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.operations.check import Finding, Settings

__all__ = ["main"]

#: Exit codes; argparse, too, answers a wrong command line with 2.
_NOTHING: Final = 0
_FOUND: Final = 1
_NOT_CHECKED: Final = 2
#: That of a program which SIGPIPE ended.
_CUT_OFF: Final = 128 + 13

#: Octets of a session as JSON, if nobody says otherwise.
_SESSION_SIZE: Final = 2_000

_LEVELS: Final = [str(severity) for severity in Severity]
_FORMATS: Final = {"text": as_text, "json": as_json}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` name, by default those of the process; return its exit code."""
    given = _parser().parse_args(arguments)
    try:
        code = int(given.run(given))
        sys.stdout.flush()
    except SessionError as error:
        print(f"sojourn: {error}", file=sys.stderr)  # noqa: T201 - a command line talks
        return _NOT_CHECKED
    except BrokenPipeError:  # who reads, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at the end
        return _CUT_OFF
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sojourn", description="Look after a project's web sessions.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = commands.add_parser(
        "check",
        help="say what is wrong with the settings for sessions, and what to write instead",
        description="Say what is wrong with a project's settings for sessions, what will happen to users, "
        "and what to write instead. Exit code: 0 nothing found, 1 something at or above --fail-level, 2 not "
        "everything could be checked.",
    )
    check.add_argument(
        "settings",
        nargs="?",
        default=os.environ.get("DJANGO_SETTINGS_MODULE"),
        help="path of a settings file, such as Horizon's local_settings.py, or a module, such as "
        "mysite.settings; by default $DJANGO_SETTINGS_MODULE. Either is executed",
    )
    check.add_argument("--format", choices=_FORMATS, default="text", help="text (default) or json")
    check.add_argument(
        "--fail-level",
        choices=_LEVELS,
        default=str(Severity.WARNING),
        help="the least severity that is a failure: info, warning (default) or error",
    )
    check.add_argument(
        "--live", action="store_true", help="ask the servers that the settings name, too; needs Django"
    )
    check.add_argument(
        "--site",
        metavar="URL",
        help="ask the site, too, whether it takes cookies as large as sessions in cookies may be",
    )
    check.set_defaults(run=_check)
    purging = commands.add_parser(
        "purge",
        help="remove expired sessions from a store",
        description="Remove expired sessions from a store, in batches with pauses, and say how many. Ctrl-C "
        "ends it at any time. In a Django project use manage.py sojourn_purge.",
    )
    purging.add_argument(
        "store",
        nargs="?",
        metavar="URL",
        default=os.environ.get("SOJOURN_STORE"),
        help="address of the store, such as postgresql://shop@10.0.0.5/shop or "
        "sqlite:///var/lib/shop/sessions.db; by default $SOJOURN_STORE, which other users of the "
        "machine do not see",
    )
    purging.add_argument("--rate", type=purge_rate, default=PURGE_RATE, help=RATE_HELP)
    purging.set_defaults(run=_purge)
    _add_plan(
        commands.add_parser(
            "plan",
            help="say what so many sessions need on each engine: memory, disk, operations, bandwidth, nodes",
            description="Say what a site of a given size needs on each engine. It asks nobody but the "
            "store it is to sample; its "
            "formulas are held to a million measured sessions.",
        )
    )
    return parser


def _add_plan(plan: argparse.ArgumentParser) -> None:
    plan.add_argument(
        "--users", type=count, required=True, help="who are signed in at a time, such as 100_000 or 100k"
    )
    plan.add_argument("--sessions-per-user", type=rate, default=1.0, help="default: 1")
    size = plan.add_mutually_exclusive_group()
    size.add_argument("--session-size", type=octets, help="bytes of one as JSON, such as 2KB; default: 2000")
    size.add_argument(
        "--sample", metavar="URL", help="take the size from living sessions in the store at this address"
    )
    plan.add_argument(
        "--requests", type=rate, required=True, help="that use a session, a second, at the busiest time"
    )
    plan.add_argument("--saves", type=rate, default=0.1, help="share of requests that save; default: 0.1")
    plan.add_argument(
        "--idle-timeout", type=count, default=14 * 24 * 3_600, help="seconds; default: two weeks"
    )
    plan.add_argument(
        "--sign-ins", type=rate, help="a second; default: as many as keep the number of sessions as it is"
    )
    plan.add_argument("--node-memory", type=rate, default=32.0, help="GiB of one server; default: 32")
    plan.add_argument("--node-operations", type=rate, help="that one server carries, a second")
    plan.add_argument("--engine", choices=ENGINES, action="append", help="this one alone; may be repeated")
    plan.add_argument("--formulas", action="store_true", help="show how each number comes about")
    plan.add_argument("--format", choices=("text", "json"), default="text", help="text (default) or json")
    plan.set_defaults(run=_plan)


def _plan(given: argparse.Namespace) -> int:
    sample = None if given.sample is None else sampled(given.sample)
    given_size = _SESSION_SIZE if given.session_size is None else given.session_size
    load = Load(
        users=given.users,
        sessions_per_user=given.sessions_per_user,
        session_size=given_size if sample is None else sample.mean,
        requests=given.requests,
        saves=given.saves,
        idle_timeout=given.idle_timeout,
        sign_ins=given.sign_ins,
    )
    node = Node(memory=round(given.node_memory * (1 << 30)), operations=given.node_operations)
    needs = [needs_of(engine, load, node) for engine in given.engine or ENGINES]
    if given.format == "json":
        print(report.as_json(load, node, needs, sample))  # noqa: T201 - a command line talks
    else:
        print(report.as_text(load, node, needs, sample, formulas=given.formulas))  # noqa: T201 - a command line talks
    return _NOTHING


def _check(given: argparse.Namespace) -> int:
    if not given.settings:
        raise ConfigurationError("which settings? Name their file or module, or set DJANGO_SETTINGS_MODULE")
    reading = read(given.settings)
    found, unread = list(reading.findings), list(reading.unread)
    project = reading.settings
    if project is not None:
        found += findings(project)
        if project.is_ours and not unread and not _has_errors(found):
            found += _cannot_start(project) or file_cannot_be_made(project)
        if given.live:
            answered, unasked = _ask_servers(project)
            found += answered
            unread += unasked
        if given.site is not None and project.kind == "signed_cookies":
            found += site_findings(given.site, cookies=project.most_cookies)
        elif given.site is not None:
            unread.append(
                f"--site: {project.engine} keeps no sessions in cookies, so there is nothing to ask"
            )
    found.sort(key=lambda finding: -finding.severity)
    print(_FORMATS[given.format](reading.source, found, unread))  # noqa: T201 - a command line talks
    if any(finding.severity >= Severity[given.fail_level.upper()] for finding in found):
        return _FOUND
    return _NOT_CHECKED if unread else _NOTHING


def _has_errors(found: Sequence[Finding]) -> bool:
    return any(finding.severity is Severity.ERROR for finding in found)


def _cannot_start(project: Settings) -> list[Finding]:
    try:
        from sojourn.django.starting import start_findings  # noqa: PLC0415 - the rest needs no Django
    except ImportError:
        return []
    return start_findings(project)


def _ask_servers(project: Settings) -> tuple[list[Finding], list[str]]:
    try:
        from sojourn.django.live import ask_servers  # noqa: PLC0415 - only this needs Django
    except ImportError as error:
        raise ConfigurationError(f"--live needs {error.name}; run it where the project runs") from error
    return ask_servers(project)


def _purge(given: argparse.Namespace) -> int:
    if not given.store:
        raise ConfigurationError("which store? Give its address, or set SOJOURN_STORE")
    kind, arguments = parsed(given.store)
    if kind == "sqlite" and not Path(arguments["path"]).exists():
        raise ConfigurationError(f"there is no file {arguments['path']}; check the address")
    require(kind)
    with closing(open_store(kind, arguments)) as store:
        if not isinstance(store, Purge):
            store.load("0" * 64)  # so that it was there, at least
            print(f"{type(store).__name__} has no need of it: expired sessions go by themselves")  # noqa: T201 - a command line talks
            return _NOTHING
        try:
            return purge(store_purging(store), rate=given.rate, out=sys.stdout)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{error}. In a Django project, manage.py sojourn_purge knows where sessions are"
            ) from error


if __name__ == "__main__":
    sys.exit(main())
