"""What all tests share."""

from collections import Counter
from pathlib import Path

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
    """Say how many orders of requests were played (``tests/model/test_interleavings.py``)."""
    played: Counter[tuple[str, str]] = Counter()
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "schedules":
                store, crews, schedules = value
                played[store, crews] += schedules
    if played:
        terminalreporter.section("orders in which requests reach a store, without a violation")
        for (store, crews), schedules in played.items():
            terminalreporter.write_line(f"{store}: {schedules:,} schedules of {crews}")
