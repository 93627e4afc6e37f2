"""What Redis or Valkey servers with sessions tell of themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from sojourn.operations.check.finding import Kind, Severity
from sojourn.operations.check.live.common import Clocks, latency, old, silent, skewed
from sojourn.operations.check.live.memcached import NEARLY_FULL
from sojourn.operations.check.live.places import NotAskedError
from sojourn.stores.valkey.connections import Deadline, pool_to
from sojourn.stores.valkey.nodes import Access, Node, Primary, nodes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sojourn.clock import Clock
    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.live.places import Servers
    from sojourn.stores.valkey.nodes import Place

__all__ = ["client_to", "places_of", "session_sizes", "valkey_findings"]

_OLDEST: Final = "6.2"
_FULL: Final = 0.9
_MOST_SAMPLED: Final = 1_000

EVICTS: Final = Kind(
    id="sojourn.W108",
    severity=Severity.WARNING,
    title="Redis throws out sessions when its memory is full",
    happens="Users are signed out long before their sessions would end, without a word in any log.",
)
FORGETS: Final = Kind(
    id="sojourn.W109",
    severity=Severity.WARNING,
    title="Redis keeps nothing on disk",
    happens="When the server restarts, everybody is signed out.",
)
FORGETS_SOME: Final = Kind(
    id="sojourn.I101",
    severity=Severity.INFO,
    title="Redis writes to disk from time to time",
    happens="When the server crashes, the sign-ins and saves of the last minutes are lost, and who signed "
    "out in them is signed in again.",
)


def valkey_findings(servers: Servers, clock: Clock) -> Iterator[Finding]:
    """Ask each server.  Raises ``NotAskedError``."""
    for place in places_of(servers.arguments):
        name = f"Redis at {place}" if isinstance(place, Node) else f"Redis, {place},"
        try:
            with client_to(place, servers.arguments, clock) as client:
                yield from _findings(name, servers, clock, client)
        except NoPermissionError as error:
            raise NotAskedError(
                f"{name} does not let this user ask INFO and CONFIG GET; run the check as one who may"
            ) from error
        except (RedisError, OSError) as error:
            yield silent(name, servers.where, _why(error))


def _why(error: Exception) -> str:
    """Return the kind of failure: its text may have an address with a password."""
    words = re.sub("([a-z])([A-Z])", r"\1 \2", type(error).__name__.removesuffix("Error")).lower()
    return f"{words} error" if words else "an error"


def places_of(arguments: Mapping[str, Any]) -> list[Place]:
    """Return what to ask: each server that is named, or whom the Sentinels name."""
    if arguments.get("sentinel") is not None:
        return [Primary(arguments["sentinel"])]
    return list(nodes_of(arguments.get("servers", "127.0.0.1:6379"), default_port=6379))


def client_to(place: Place, arguments: Mapping[str, Any], clock: Clock) -> Redis:
    """Return a client of one server."""
    sentinels: tuple[Node, ...] = ()
    if arguments.get("sentinel") is not None:
        sentinels = nodes_of(arguments["servers"], default_port=26379)
    access = Access(
        username=arguments.get("username"),
        password=arguments.get("password"),
        database=arguments.get("database", 0),
        sentinels=sentinels,
        sentinel_username=arguments.get("sentinel_username"),
        sentinel_password=arguments.get("sentinel_password"),
        tls=arguments.get("tls"),
    )
    deadline = Deadline(clock.monotonic)
    deadline.at = clock.monotonic() + 5 * arguments.get("timeout", 2.0)
    return Redis.from_pool(pool_to(place, access, deadline))


def _findings(name: str, servers: Servers, clock: Clock, client: Redis) -> Iterator[Finding]:
    where = servers.where
    client.ping()
    clocks = Clocks(clock)
    seconds, micros = client.time()
    yield from skewed(name, where, clocks.skew(seconds * 1_000 + micros // 1_000))
    told: dict[str, Any] = client.info()
    yield from old(name, where, str(told.get("valkey_version", told["redis_version"])), _OLDEST)
    yield from latency(name, where, clock, client.ping)
    if servers.holds == "copies":
        return
    yield from _memory(name, where, told)
    yield from _persistence(name, where, told, client)


def _memory(name: str, where: str, told: Mapping[str, Any]) -> Iterator[Finding]:
    limit, used, policy = told.get("maxmemory", 0), told["used_memory"], str(told.get("maxmemory_policy"))
    if not limit:
        return
    if policy != "noeviction":
        yield EVICTS.found(
            f"maxmemory-policy of {name} is {policy}; {told['evicted_keys']:,} keys were thrown out so far. "
            "Every session has a time to live, so the volatile policies throw it out, too.",
            where=where,
            corrected="maxmemory-policy noeviction  # in redis.conf\n"
            "CONFIG SET maxmemory-policy noeviction  # at once, in redis-cli",
        )
    if used > _FULL * limit:
        yield NEARLY_FULL.found(
            f"{name} uses {used / limit:.0%} of its maxmemory, {limit:,} B.",
            where=where,
            corrected=f"maxmemory {2 * limit}  # in redis.conf\nCONFIG SET maxmemory {2 * limit}  # at once",
        )


def _persistence(name: str, where: str, told: Mapping[str, Any], client: Redis) -> Iterator[Finding]:
    if told.get("aof_enabled"):
        return
    corrected = "appendonly yes  # in redis.conf\nCONFIG SET appendonly yes  # at once, in redis-cli"
    try:
        saves = str(client.config_get("save").get("save", ""))
    except NoPermissionError:  # a user made for sessions may not ask
        saves = "unknown"
    if saves:
        yield FORGETS_SOME.found(
            f"{name} has no append-only file; its snapshots are minutes apart.",
            where=where,
            corrected=corrected,
        )
    else:
        yield FORGETS.found(
            f"{name} has neither snapshots nor an append-only file.", where=where, corrected=corrected
        )


def session_sizes(client: Redis, key_prefix: str) -> list[int]:
    """Return the octets of some sessions' values, at most a thousand, in no order of their own."""
    lengths: list[int] = []
    for key in client.scan_iter(match=f"{key_prefix}{'[0-9a-f]' * 8}*", count=_MOST_SAMPLED):
        lengths.append(int(client.strlen(key)))
        if len(lengths) == _MOST_SAMPLED:
            break
    return lengths
