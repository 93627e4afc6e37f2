"""How large sessions are, by a sample of living ones in a store.  Sizes alone: no content is looked at."""

from __future__ import annotations

import re
import secrets
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sojourn.clock import SystemClock
from sojourn.errors import ConfigurationError, StoreUnavailableError
from sojourn.frozen import frozen
from sojourn.operations.check.drivers import require
from sojourn.operations.check.live.memcached import Memcached, quantile
from sojourn.operations.plan.footprint import MEMCACHED_AROUND, REDIS_AROUND, Shape
from sojourn.sealing import OVERHEAD
from sojourn.store import Scan
from sojourn.stores.from_url import open_store, parsed
from sojourn.stores.memcached.nodes import nodes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Sample", "sampled"]

#: Looks into the store, and sessions taken at each.
_LOOKS: Final = 20
_EACH: Final = 25
#: Octets of a record beside the payload, where only the sum of all is known: those of a signed-in session.
_BESIDE: Final = Shape.of_session(0).content


@frozen()
class Sample:
    """Octets of sessions' values, encoded and before they are sealed."""

    sessions: int
    mean: int
    #: What 99 of 100 do not exceed.
    largest: int


def sampled(address: str) -> Sample:
    """Return the sizes of sessions in the store at ``address``.

    At most 500 of them, from each server.  Raises ``ConfigurationError`` if there are none, and
    ``StoreUnavailableError``.
    """
    kind, arguments = parsed(address)
    if kind == "sqlite" and not Path(arguments["path"]).exists():
        raise ConfigurationError(f"there is no file {arguments['path']}; check the address")
    require(kind)
    ways = {"memcached": _on_memcached, "valkey": _on_valkey}
    sizes = sorted(ways.get(kind, _by_scanning)(kind, arguments))
    count = sum(number for _, number in sizes)
    if not count:
        raise ConfigurationError(
            "there are no sessions of Sojourn's to take a sample of, and those of Django's engines are "
            "stored otherwise: take the sample once some have begun with Sojourn, or give --session-size"
        )
    mean = sum(size * number for size, number in sizes) / count
    return Sample(sessions=count, mean=max(1, round(mean)), largest=max(1, quantile(sizes, 0.99)))


def _by_scanning(kind: str, arguments: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    with closing(open_store(kind, dict(arguments))) as store:
        if not isinstance(store, Scan):
            raise ConfigurationError(f"{type(store).__name__} cannot be sampled; give --session-size")
        for _ in range(_LOOKS):  # keys are digests, so those after a random one are a random sample
            for record in store.scan(after=secrets.token_hex(32), limit=_EACH):
                yield len(record.payload) - OVERHEAD, 1
        for record in store.scan(limit=_EACH):  # however few there are
            yield len(record.payload) - OVERHEAD, 1


def _on_memcached(_: str, arguments: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    for node in nodes_of(arguments["servers"]):
        try:
            asked = Memcached(node, tls=arguments.get("tls"), timeout=arguments.get("timeout", 2.0))
            with closing(asked):
                key = re.compile(re.escape(arguments.get("key_prefix", "sojourn:")) + "[0-9a-f]{64}")
                found = (size for name, size in asked.items() if key.fullmatch(name))
                for size in islice(found, _LOOKS * _EACH):
                    yield size - MEMCACHED_AROUND - _BESIDE, 1
        except OSError as error:
            raise StoreUnavailableError(f"memcached at {node} does not answer: {error.strerror}") from error


def _on_valkey(_: str, arguments: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    from redis.exceptions import RedisError  # noqa: PLC0415 - an extra

    from sojourn.operations.check.live import valkey  # noqa: PLC0415 - likewise
    from sojourn.stores.valkey.faults import translated  # noqa: PLC0415 - likewise

    for place in valkey.places_of(arguments):
        try:
            with closing(valkey.Valkey(place, arguments, SystemClock())) as asked:
                for size in valkey.session_sizes(asked, arguments.get("key_prefix", "sojourn:")):
                    yield size - REDIS_AROUND - _BESIDE, 1
        except (RedisError, OSError, EOFError) as error:
            timeout = arguments.get("timeout", valkey.TIMEOUT)
            raise translated(error, place, timeout, is_sent=True) from error
