"""What is asked of every server: whether it answers, how soon, how old it is, and what time it has."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING, Final

from sojourn.operations.check.finding import Kind, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sojourn.clock import Clock
    from sojourn.operations.check.finding import Finding

__all__ = ["FULL", "NEARLY_FULL", "Clocks", "Version", "latency", "old", "silent", "skewed"]

#: Milliseconds of a round trip that a page's users begin to feel: it takes up to three of them.
SLOW: Final = 10.0
_TRIES: Final = 5
#: Milliseconds.  memcached tells whole seconds.
_SKEW: Final = 3_000
#: The share of a server's memory that is nearly all of it.
FULL: Final = 0.9

SILENT: Final = Kind(
    id="sojourn.E101",
    severity=Severity.ERROR,
    title="A server with sessions does not answer",
    happens="Every page that has a session is an error: 503 with Sojourn's middleware, 500 with Django's. "
    "Django's own engine on memcached signs everybody out instead.",
)
OLD: Final = Kind(
    id="sojourn.E102",
    severity=Severity.ERROR,
    title="A server with sessions is too old",
    happens="Pages that have a session are an error 500, for the server does not know what it is asked.",
)
DISTANT: Final = Kind(
    id="sojourn.W103",
    severity=Severity.WARNING,
    title="A server with sessions is slow to answer",
    happens="Every page waits for one round trip before it knows who asks, and for another if it saves.",
)
OTHER_TIME: Final = Kind(
    id="sojourn.W104",
    severity=Severity.WARNING,
    title="A server with sessions has another time than this machine",
    happens="Sessions end earlier or later than they should, by as much; and those that machines with such "
    "different times have written may not be read for as long.",
)
NEARLY_FULL: Final = Kind(
    id="sojourn.W107",
    severity=Severity.WARNING,
    title="A server's memory for sessions is nearly full",
    happens="Soon memcached signs out who has been idle longest, and Redis refuses to save.",
)

Version = tuple[int, ...]


def silent(server: str, where: str, why: str) -> Finding:
    """Return the finding that a server does not answer."""
    return SILENT.found(
        f"{server} does not answer: {why}.",
        where=where,
        corrected=f"# Start the server, open the way to it, or correct its address in {where}",
    )


def old(server: str, where: str, version: str, least: str) -> Iterator[Finding]:
    """Find a version below ``least``."""
    if numbers(version) < numbers(least):
        yield OLD.found(
            f"{server} is of version {version}; Sojourn needs {least}.",
            where=where,
            corrected=f"# Install version {least} or later",
        )


def numbers(version: str) -> Version:
    """Return the numbers a version begins with."""
    found: list[int] = []
    for part in version.split(".")[:3]:
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        found.append(int(digits[0]))
    return tuple(found)


def latency(server: str, where: str, clock: Clock, ping: Callable[[], object]) -> Iterator[Finding]:
    """Find a server that takes long, by the median of some round trips after the first."""
    taken = []
    for _ in range(_TRIES):
        began = clock.monotonic()
        ping()
        taken.append((clock.monotonic() - began) * 1_000)
    median = statistics.median(taken)
    if median > SLOW:
        yield DISTANT.found(
            f"A round trip to {server} takes {median:.0f} ms.",
            where=where,
            corrected="# Run the server nearer to the application: same machine, rack or zone",
        )


class Clocks:
    """The server's clock beside ours, which is read before and after it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before = clock.now()

    def skew(self, server: int) -> int:
        """Return by how many milliseconds the server is ahead of us, at least; negative: behind."""
        after = self._clock.now()
        if server > after:
            return server - after
        return min(0, server - self._before)


def skewed(server: str, where: str, skew: int) -> Iterator[Finding]:
    """Find a clock that is wrong; whose it is, nobody here knows."""
    if abs(skew) > _SKEW:
        direction = "ahead of" if skew > 0 else "behind"
        yield OTHER_TIME.found(
            f"The clock of {server} is {abs(skew) / 1_000:.0f} s {direction} this machine's.",
            where=where,
            corrected="timedatectl set-ntp true  # on both machines",
        )
