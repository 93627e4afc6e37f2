"""What servers say when they are asked: ``sojourn check --live``.

``places`` is where sessions are; ``common`` what is asked of every server, the others what of each kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sojourn.operations.check.drivers import require
from sojourn.operations.check.live.database import database_findings
from sojourn.operations.check.live.memcached import memcached_findings
from sojourn.operations.check.live.places import Database, NotAskedError, Place, Servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.clock import Clock
    from sojourn.operations.check.finding import Finding

__all__ = ["Database", "NotAskedError", "Place", "Servers", "live_findings"]


def live_findings(place: Place, clock: Clock) -> Iterator[Finding]:
    """Ask the servers there; yield what is wrong with them.

    Raises ``NotAskedError``, and ``ConfigurationError`` if a driver is missing.
    """
    if isinstance(place, Database):
        try:
            yield from database_findings(place, clock)
        finally:
            place.close()
        return
    if place.kind == "memcached":
        yield from memcached_findings(place, clock)
        return
    require("valkey")
    from sojourn.operations.check.live.valkey import valkey_findings  # noqa: PLC0415 - redis-py is an extra

    yield from valkey_findings(place, clock)
