"""What memcacheds with sessions tell of themselves."""

from __future__ import annotations

import errno
import re
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from sojourn.operations.check.finding import Kind, Severity
from sojourn.operations.check.live.common import FULL, NEARLY_FULL, Clocks, latency, old, silent, skewed
from sojourn.stores.memcached.nodes import nodes_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from sojourn.clock import Clock
    from sojourn.operations.check.finding import Finding
    from sojourn.operations.check.live.places import Servers
    from sojourn.stores.memcached.nodes import Node

__all__ = ["Memcached", "item_sizes", "memcached_findings"]

_OLDEST: Final = "1.6.18"
_MEBIBYTE: Final = 1 << 20
_STAT: Final = re.compile(r"STAT (\S+) ?(.*)")
_ITEM: Final = re.compile(r"key=(\S+) .*\bsize=(\d+)\s*")
#: Octets of a line that are read; what says more is no memcached.
_LONGEST: Final = 1 << 20

TOO_SMALL: Final = Kind(
    id="sojourn.W105",
    severity=Severity.WARNING,
    title="memcached's item limit is too small for the sessions",
    happens="A page that makes a session larger than that is an error, and what it was to save is not saved.",
)
EVICTS: Final = Kind(
    id="sojourn.W106",
    severity=Severity.WARNING,
    title="memcached has thrown out sessions to make room",
    happens="Users are signed out long before their sessions would end; first who has been idle longest.",
)


class Memcached:
    """A connection that asks for statistics; stores have others.  Raises ``OSError``."""

    def __init__(self, node: Node, *, tls: ssl.SSLContext | None, timeout: float) -> None:
        self._socket = _connected(node, timeout)
        try:
            if tls is not None and node.path is None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=node.host)
        except BaseException:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rb")

    def stats(self, what: str = "") -> dict[str, str]:
        """Return what ``stats`` tells, by name."""
        self._socket.sendall(f"stats {what}".rstrip().encode() + b"\r\n")
        told: dict[str, str] = {}
        while True:
            line = self._file.readline(_LONGEST).decode("ascii", "replace").rstrip("\r\n")
            if line == "END":
                return told
            found = _STAT.fullmatch(line)
            if found is None:
                raise OSError("it does not speak as memcached does" if line else "it hung up")
            told[found[1]] = found[2]

    def items(self) -> Iterator[tuple[str, int]]:
        """Yield key and octets of the items, in the order of their hashes: that is, in none."""
        self._socket.sendall(b"lru_crawler metadump hash\r\n")
        while (line := self._file.readline(_LONGEST).decode("ascii", "replace").rstrip("\r\n")) != "END":
            found = _ITEM.fullmatch(line)
            if found is None:
                raise OSError(errno.EPROTO, line or "it hung up")
            yield unquote(found[1]), int(found[2])

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()


def _connected(node: Node, timeout: float) -> socket.socket:
    if node.path is None:
        return socket.create_connection((node.host, node.port), timeout=timeout)
    made = socket.socket(socket.AF_UNIX)
    try:
        made.settimeout(timeout)
        made.connect(node.path)
    except BaseException:
        made.close()
        raise
    return made


def memcached_findings(servers: Servers, clock: Clock) -> Iterator[Finding]:
    """Ask each server."""
    arguments = servers.arguments
    for node in nodes_of(arguments["servers"]):
        name = f"memcached at {node}"
        try:
            asked = Memcached(node, tls=arguments.get("tls"), timeout=arguments.get("timeout", 2.0))
            with closing(asked):
                yield from _findings(name, servers, clock, asked)
        except OSError as error:
            yield silent(name, servers.where, _why(error))


def _why(error: OSError) -> str:
    return "it took too long" if isinstance(error, TimeoutError) else error.strerror or str(error)


def _findings(name: str, servers: Servers, clock: Clock, asked: Memcached) -> Iterator[Finding]:
    clocks = Clocks(clock)
    told = asked.stats()
    # Whole seconds: the second has begun, and half of it is over on average.
    yield from skewed(name, servers.where, clocks.skew(int(told["time"]) * 1_000 + 500))
    yield from old(name, servers.where, told["version"], _OLDEST)
    yield from latency(name, servers.where, clock, asked.stats)
    limit = int(asked.stats("settings")["item_size_max"])
    sizes = item_sizes(asked)
    yield from _too_small(name, servers.where, limit, int(told.get("store_too_large", 0)), sizes)
    if servers.holds != "copies":
        yield from _evictions(name, servers.where, told)


def _too_small(
    name: str, where: str, limit: int, refused: int, sizes: list[tuple[int, int]]
) -> Iterator[Finding]:
    usual = quantile(sizes, 0.99)
    if refused or 2 * usual > limit:
        said = (
            f"{refused} items were refused as too large"
            if refused
            else f"99 of 100 items have up to {usual:,} B"
        )
        needed = max(_MEBIBYTE, 2 * limit if refused else 4 * usual)
        yield TOO_SMALL.found(
            f"{name} takes items of up to {limit:,} B (-I), and {said}.",
            where=where,
            corrected=f"-I {-(-needed // _MEBIBYTE)}m  # in /etc/memcached.conf; then restart it",
        )


def _evictions(name: str, where: str, told: dict[str, str]) -> Iterator[Finding]:
    evicted, limit, used = (int(told[key]) for key in ("evictions", "limit_maxbytes", "bytes"))
    corrected = f"-m {max(64, 2 * limit // _MEBIBYTE)}  # MiB, in /etc/memcached.conf; then restart it"
    if evicted:
        yield EVICTS.found(
            f"{name} has thrown out {evicted:,} items that had not expired, in {int(told['uptime']):,} s.",
            where=where,
            corrected=corrected,
        )
    elif used > FULL * limit:
        yield NEARLY_FULL.found(
            f"{name} uses {used / limit:.0%} of its {limit // _MEBIBYTE:,} MiB.",
            where=where,
            corrected=corrected,
        )


def item_sizes(asked: Memcached) -> list[tuple[int, int]]:
    """Return octets and number of the items, by slab class: a size is at most a quarter too large."""
    chunks, items = asked.stats("slabs"), asked.stats("items")
    found = []
    for name, number in items.items():
        match = re.fullmatch(r"items:(\d+):number", name)
        if match is not None and int(number):
            requested = items.get(f"items:{match[1]}:mem_requested")
            each = (
                int(chunks[f"{match[1]}:chunk_size"]) if requested is None else int(requested) // int(number)
            )
            found.append((each, int(number)))
    return sorted(found)


def quantile(sizes: list[tuple[int, int]], share: float) -> int:
    """Return the size that ``share`` of all do not exceed; 0 if there are none."""
    left = share * sum(number for _, number in sizes)
    for size, number in sizes:
        left -= number
        if left <= 0:
            return size
    return 0
