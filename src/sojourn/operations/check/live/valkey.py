"""What Redis or Valkey servers with sessions tell of themselves."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError, RedisError

from sojourn.operations.check.finding import Kind, Severity
from sojourn.operations.check.live.common import FULL, NEARLY_FULL, Clocks, latency, old, silent, skewed
from sojourn.operations.check.live.places import NotAskedError
from sojourn.stores.valkey.connections import Deadline, maker
from sojourn.stores.valkey.faults import translated
from sojourn.stores.valkey.nodes import Access, Node, Primary, nodes_of
from sojourn.stores.valkey.routing import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sojourn.clock import Clock
    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.live.places import Servers
    from sojourn.stores.valkey.nodes import Place

__all__ = ["Valkey", "places_of", "session_sizes", "valkey_findings"]

_OLDEST: Final = "6.2"
#: Seconds, as of the store.
TIMEOUT: Final = 2.0
_MOST_SAMPLED: Final = 500

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
            with closing(Valkey(place, servers.arguments, clock)) as asked:
                yield from _findings(name, servers, clock, asked)
        except NoPermissionError as error:
            raise NotAskedError(
                f"{name} does not let this user ask INFO and CONFIG GET; run the check as one who may"
            ) from error
        except (RedisError, OSError, EOFError) as error:
            timeout = servers.arguments.get("timeout", TIMEOUT)
            yield silent(name, servers.where, str(translated(error, place, timeout, is_sent=True)))


def places_of(arguments: Mapping[str, Any]) -> list[Place]:
    """Return what to ask: each server that is named, or whom the Sentinels name."""
    if arguments.get("sentinel") is not None:
        return [Primary(arguments["sentinel"])]
    return list(nodes_of(arguments.get("servers", "127.0.0.1:6379"), default_port=6379))


class Valkey:
    """A connection that asks one server about itself.  Raises as redis-py, ``OSError`` and ``EOFError``."""

    def __init__(self, place: Place, arguments: Mapping[str, Any], clock: Clock) -> None:
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
        self._place = place
        self._timeout = arguments.get("timeout", TIMEOUT)
        self._monotonic = clock.monotonic
        connected = maker(place, access, Deadline(clock.monotonic))
        self._connection = connected(self._monotonic() + self._timeout)

    def ask(self, *words: bytes | str | int) -> Any:
        """Return the reply to a command."""
        return self._connection.ask(Request(self._place, words), self._monotonic() + self._timeout)

    def info(self) -> dict[str, str]:
        """Return what ``INFO`` tells, by name."""
        lines = self.ask("INFO").decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def time(self) -> int:
        """Return the server's time in milliseconds."""
        seconds, micros = map(int, self.ask("TIME"))
        return seconds * 1_000 + micros // 1_000

    def setting(self, name: str) -> str:
        """Return what ``CONFIG GET`` tells."""
        [_, value] = self.ask("CONFIG", "GET", name)
        text: str = value.decode()
        return text

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def _findings(name: str, servers: Servers, clock: Clock, asked: Valkey) -> Iterator[Finding]:
    where = servers.where
    clocks = Clocks(clock)
    yield from skewed(name, where, clocks.skew(asked.time()))
    told = asked.info()
    yield from old(name, where, told.get("valkey_version", told["redis_version"]), _OLDEST)
    yield from latency(name, where, clock, lambda: asked.ask("PING"))
    if servers.holds == "copies":
        return
    yield from _memory(name, where, told)
    yield from _persistence(name, where, told, asked)


def _memory(name: str, where: str, told: Mapping[str, str]) -> Iterator[Finding]:
    limit, used, policy = int(told["maxmemory"]), int(told["used_memory"]), told["maxmemory_policy"]
    if not limit:
        return
    if policy != "noeviction":
        yield EVICTS.found(
            f"maxmemory-policy of {name} is {policy}; {int(told['evicted_keys']):,} keys were thrown out so "
            "far. Every session has a time to live, so the volatile policies throw it out, too.",
            where=where,
            corrected="maxmemory-policy noeviction  # in redis.conf\n"
            "CONFIG SET maxmemory-policy noeviction  # at once, in redis-cli",
        )
    if used > FULL * limit:
        yield NEARLY_FULL.found(
            f"{name} uses {used / limit:.0%} of its maxmemory, {limit:,} B.",
            where=where,
            corrected=f"maxmemory {2 * limit}  # in redis.conf\nCONFIG SET maxmemory {2 * limit}  # at once",
        )


def _persistence(name: str, where: str, told: Mapping[str, str], asked: Valkey) -> Iterator[Finding]:
    if told["aof_enabled"] == "1":
        return
    corrected = "appendonly yes  # in redis.conf\nCONFIG SET appendonly yes  # at once, in redis-cli"
    try:
        saves = asked.setting("save")
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


def session_sizes(asked: Valkey, key_prefix: str) -> list[int]:
    """Return the octets of some sessions' values; keys are in no order, so the first ones will do."""
    pattern, cursor = f"{key_prefix}{'[0-9a-f]' * 8}*", "0"
    keys: list[bytes] = []
    while len(keys) < _MOST_SAMPLED:
        told, found = asked.ask("SCAN", cursor, "MATCH", pattern, "COUNT", _MOST_SAMPLED)
        keys += found
        cursor = told.decode()
        if cursor == "0":
            break
    return [int(asked.ask("STRLEN", key)) for key in keys[:_MOST_SAMPLED]]
