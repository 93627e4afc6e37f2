"""What all tests share."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import sojourn

pytest_plugins = ["tests.servers.fixtures"]

# How long an example takes says more about the machine than about the code.
settings.register_profile("sojourn", deadline=None)
settings.load_profile("sojourn")


def pytest_report_header() -> str:
    """Say what is tested: the wheel's files (``make test``) or the checkout's."""
    return f"sojourn: {Path(sojourn.__file__).parent}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was counted: orders of requests, states of a protocol, how often what had ended was served."""
    counted: defaultdict[str, list[Any]] = defaultdict(list)
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            counted[name].append(value)
    played: Counter[tuple[str, str]] = Counter()
    for store, crews, schedules in counted["schedules"]:
        played[store, crews] += schedules
    lines = [f"{store}: {schedules:,} schedules of {crews}" for (store, crews), schedules in played.items()]
    _show(terminalreporter, "orders in which requests reach a store, without a violation", lines)
    states = [f"{sum(counted['states']):,} states"] if counted["states"] else []
    _show(terminalreporter, "what can happen to the cached store's protocol, without a violation", states)
    lines = [
        f"{race}, {stores}: {times} times, for {seconds:,.10g} s at most"
        for stores, race, times, seconds in counted["served"]
    ]
    _show(terminalreporter, "how often a session that had ended was served", sorted(lines))


def _show(terminalreporter: pytest.TerminalReporter, title: str, lines: list[str]) -> None:
    if lines:
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
