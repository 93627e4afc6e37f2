"""What all tests share."""

from pathlib import Path

from hypothesis import settings

import sojourn

pytest_plugins = ["tests.servers.fixtures"]

# How long an example takes says more about the machine than about the code.
settings.register_profile("sojourn", deadline=None)
settings.load_profile("sojourn")


def pytest_report_header() -> str:
    """Say what is tested: the wheel's files (``make test``) or the checkout's."""
    return f"sojourn: {Path(sojourn.__file__).parent}"
