"""What a load needs on each engine: memory, disk, operations, bandwidth, nodes, each with its formula."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from sojourn.frozen import frozen
from sojourn.operations.plan import footprint
from sojourn.operations.plan.footprint import FOOTPRINTS, Part, Shape, total
from sojourn.operations.plan.load import few, within
from sojourn.sealing import OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sojourn.operations.plan.load import Load

__all__ = ["ENGINES", "Budget", "Figure", "Needs", "Node", "needs_of"]

#: What of a session's life goes to the store more than once, in round trips: docs/reference/budget.md.
_LEASE: Final = 30
#: Seconds that a copy lies in the cache: stores/cached/copies.py, twice the lease and five.
_COPY_LIVES: Final = 65
_COPY_HEAD: Final = 54
#: Octets on the wire beside the session, of an operation and its answer: two packets' TCP and IP headers with
#: Ethernet's (2 × 66), the key, the command and the head.
_ON_THE_WIRE: Final = 300
#: Octets of a cookie beside its value, in a request and in Set-Cookie with its attributes.
_COOKIE_NAME: Final = len("sessionid=; ")
_SET_COOKIE: Final = 100
_COOKIE_HEAD: Final = 57
_COOKIE_ROOM: Final = 3_900
#: Expired sessions that lie in a table until they are purged: every tenth new one looks at a hundred.
_UNPURGED: Final = 0.1
#: Rows that updates leave behind until vacuum takes them (autovacuum_vacuum_scale_factor, 0.05), and a page
#: in ten that is half empty.
_BLOAT: Final = 0.15
_RECORD_OF_REVOCATIONS: Final = 45


@frozen()
class Node:
    """One server, in octets of memory and operations a second."""

    memory: int = 32 << 30
    #: Of the memory, what sessions may fill: the rest is for the system, for connections, and in Redis for
    #: the pages that change while a child writes an RDB file.
    share_filled: float = 0.75
    #: ``None``: what one of its kind is taken to carry (``OPERATIONS``).
    operations: float | None = None

    def __post_init__(self) -> None:
        """Raise ``ConfigurationError`` for numbers that no server has."""
        within("the memory of a node", self.memory, 1 << 20, 1 << 50)
        if self.operations is not None:
            within("the number of operations of a node", self.operations, 1, 1_000_000_000_000)


@frozen(kw_only=False)
class Figure:
    """A number and how it comes about."""

    value: float
    formula: str


@frozen()
class Needs:
    """What one engine needs."""

    engine: str
    #: Octets, over all nodes.
    memory: Figure
    #: Octets, over all nodes; of the sessions alone.
    disk: Figure
    #: Round trips a second between application and stores.
    operations: Figure
    #: Octets a second between application and stores; for cookies between browsers and application.
    bandwidth: Figure
    #: Without those that stand by.
    nodes: Figure
    #: Whether so many nodes carry it: an engine that cannot be spread may be asked too much.
    is_carried: bool = True
    #: What one session takes, part by part.
    parts: tuple[Part, ...]
    #: What else to know.
    notes: tuple[str, ...]


@frozen(kw_only=False)
class Budget:
    """Round trips: docs/reference/budget.md, which is counted on the wire."""

    read: int
    modified: int
    login: int
    logout: int

    def of(self, load: Load) -> Figure:
        """Return the round trips a second."""
        reads = load.requests - load.modifying
        value = reads * self.read + load.modifying * self.modified + load.logins * (self.login + self.logout)
        return Figure(
            value,
            f"{reads:,.0f} reads × {self.read} + {load.modifying:,.0f} saves × {self.modified} + "
            f"{few(load.logins)} sign-ins × {self.login} + as many sign-outs × {self.logout}",
        )


SINGLE: Final = Budget(1, 2, 3, 2)
SEVERAL_NODES: Final = Budget(1, 2, 4, 2)
CACHED: Final = Budget(1, 3, 6, 3)
REVOCATIONS: Final = Budget(1, 1, 3, 2)

#: What one server is taken to carry a second, of 2 KB each.  On two busy cores shared with the client
#: redis-benchmark measured 55,000 (Redis runs commands on one core), pgbench 27,000 prepared reads but 1,300
#: writes that each wait for the disk; the embedded engine's saves take 80 µs one after the other
#: (docs/reference/speed.md); memcached runs on all cores.  Measure yours, and give ``Node.operations``.
OPERATIONS: Final[Mapping[str, float]] = {
    "memory": 100_000,
    "embedded": 10_000,
    "memcached": 200_000,
    "redis": 50_000,
    "postgresql": 10_000,
    "mariadb": 10_000,
    "cached_db": 10_000,
    "cookies": 50_000,
}

_NOTHING: Final = Figure(0, "none")


def needs_of(engine: str, load: Load, node: Node) -> Needs:
    """Return what ``load`` needs on ``engine``, one of ``ENGINES``, with servers such as ``node``."""
    return ENGINES[engine](engine, load, node)


def _each(engine: str, load: Load) -> tuple[tuple[Part, ...], float]:
    parts = tuple(FOOTPRINTS[engine](load.shape, load.sessions))
    return parts, total(parts)


def _times(load: Load, size: float) -> str:
    return f"{load.sessions:,} sessions × {size:,.0f} B"


def _bandwidth(operations: float, load: Load) -> Figure:
    size = load.shape.content + _ON_THE_WIRE
    return Figure(
        operations * size,
        f"{operations:,.0f} operations × ({load.shape.content:,} B of session + {_ON_THE_WIRE} B around it)",
    )


def _nodes(engine: str, node: Node, *, memory: float, operations: float) -> Figure:
    room, carried = node.memory * node.share_filled, node.operations or OPERATIONS[engine]
    value = max(1, math.ceil(memory / room), math.ceil(operations / carried))
    return Figure(
        value,
        f"the larger of {_gib(memory)} ÷ ({_gib(node.memory)} × {node.share_filled:g}) and "
        f"{operations:,.0f} ÷ {carried:,.0f} operations",
    )


def _too_much(engine: str, node: Node, *, memory: float, operations: float) -> tuple[str, ...]:
    """Return what is more than the one server has that such an engine runs on."""
    room, carried = node.memory * node.share_filled, node.operations or OPERATIONS[engine]
    found = []
    if memory > room:
        found.append(
            f"{_gib(memory)} of memory are more than the {_gib(room)} that one server has for sessions "
            "(--node-memory)"
        )
    if operations > carried:
        found.append(
            f"{operations:,.0f} operations a second are more than the {carried:,.0f} that one server is "
            "taken to carry (--node-operations)"
        )
    return tuple(f"Too much: {what}. Redis, memcached and cookies spread over servers." for what in found)


def _too_large(content: int) -> tuple[str, ...]:
    """Return that memcached refuses such a session, if it does."""
    item = content + footprint.MEMCACHED_AROUND
    if item <= footprint.MEMCACHED_LARGEST:
        return ()
    needed = -(-item // footprint.MEMCACHED_LARGEST)
    what = f"A session of {content:,} B does not fit into an item, which has 1 MiB at most: start memcached"
    return (f"{what} with -I {needed}m, or keep less in sessions.",)


def _gib(size: float) -> str:
    return f"{size / (1 << 30):,.1f} GiB"


def _memory(engine: str, load: Load, node: Node) -> Needs:
    parts, each = _each(engine, load)
    memory = Figure(load.sessions * each, _times(load, each))
    operations = SINGLE.of(load)
    excess = _too_much(engine, node, memory=memory.value, operations=operations.value)
    return Needs(
        engine=engine,
        memory=memory,
        disk=_NOTHING,
        operations=operations,
        bandwidth=_NOTHING,
        nodes=Figure(1, "one process: no other sees its sessions"),
        parts=parts,
        is_carried=not excess,
        notes=excess,
    )


def _on_servers(engine: str, load: Load, node: Node) -> Needs:
    parts, each = _each(engine, load)
    memory = Figure(load.sessions * each, _times(load, each))
    operations = SINGLE.of(load)
    nodes = _nodes(engine, node, memory=memory.value, operations=operations.value)
    if nodes.value > 1:
        operations = SEVERAL_NODES.of(load)
        nodes = _nodes(engine, node, memory=memory.value, operations=operations.value)
    disk = _NOTHING
    notes = ("One copy: a node that restarts has forgotten its share.", *_too_large(load.shape.content))
    if engine == "redis":
        on_disk = footprint.redis_on_disk(load.shape)
        disk = Figure(
            3 * load.sessions * on_disk,
            f"3 × {_times(load, on_disk)}: an append-only file at twice its size, and its successor",
        )
        notes = (
            *(("Several nodes are a Cluster.",) if nodes.value > 1 else ()),
            "A replica for each node takes as much again.",
        )
    return Needs(
        engine=engine,
        memory=memory,
        disk=disk,
        operations=operations,
        bandwidth=_bandwidth(operations.value, load),
        nodes=nodes,
        parts=parts,
        notes=notes,
    )


def _indexes(parts: tuple[Part, ...]) -> float:
    return sum(part.size for part in parts if part.name.startswith("index"))


def _on_disk(engine: str, load: Load, node: Node) -> Needs:
    parts, each = _each(engine, load)
    beside = _UNPURGED + (0 if engine == "embedded" else _BLOAT)
    disk = Figure(
        load.sessions * each * (1 + beside),
        f"{_times(load, each)} × {1 + beside:g} for what is not yet purged"
        + ("" if engine == "embedded" else " or vacuumed"),
    )
    indexes = _indexes(parts)
    memory = Figure(
        load.sessions * indexes,
        f"{_times(load, indexes)} of indexes, so that an operation reads one page from disk at most",
    )
    operations = SINGLE.of(load)
    bandwidth = _bandwidth(operations.value, load)
    excess = _too_much(engine, node, memory=memory.value, operations=operations.value)
    if engine == "embedded":
        nodes, bandwidth = Figure(1, "one machine: all its workers share the file"), _NOTHING
    else:
        nodes = Figure(1, "one primary, which alone takes writes")
    return Needs(
        engine=engine,
        memory=memory,
        disk=disk,
        operations=operations,
        bandwidth=bandwidth,
        nodes=nodes,
        parts=parts,
        is_carried=not excess,
        notes=excess if engine == "embedded" else ("A standby takes as much again.", *excess),
    )


def _cached(engine: str, load: Load, node: Node) -> Needs:
    table = _on_disk("postgresql", load, node)
    copies = min(load.sessions, math.ceil(load.requests * _COPY_LIVES))
    copy = Shape(payload=load.shape.content + _COPY_HEAD, info=0, subject=0)
    each = total(footprint.memcached(copy, copies))
    lapsed = math.exp(-_LEASE * load.requests / load.sessions)
    reads = load.requests - load.modifying
    all_ = CACHED.of(load)
    operations = Figure(
        all_.value + 2 * lapsed * load.requests,
        f"{all_.formula} + 2 for the {lapsed:.0%} of requests that find no copy younger than {_LEASE} s "
        "(if they came at random; visits make it fewer)",
    )
    on_database = (
        lapsed * reads + load.modifying * (1 + lapsed) + load.logins * (SINGLE.login + SINGLE.logout)
    )
    excess = _too_much(engine, node, memory=0, operations=on_database)
    share = (
        f"Of the operations {on_database:,.0f} a second are the database's, which without a cache would have "
        f"{table.operations.value:,.0f}. It pays where one session is read several times within {_LEASE} s."
    )
    memory = Figure(
        table.memory.value + copies * each,
        f"{table.memory.formula}; and {copies:,} copies × {each:,.0f} B: those of the last {_COPY_LIVES} s",
    )
    return Needs(
        engine=engine,
        memory=memory,
        disk=table.disk,
        operations=operations,
        bandwidth=_bandwidth(operations.value, load),
        nodes=Figure(2, "one primary of the database and one cache"),
        parts=table.parts,
        is_carried=not excess,
        notes=(share, *_too_large(copy.content), *excess),
    )


def _in_cookies(engine: str, load: Load, node: Node) -> Needs:
    sealed = load.session_size + _COOKIE_HEAD + load.shape.subject + OVERHEAD
    cookie = math.ceil(sealed * 4 / 3) + _COOKIE_NAME
    sent = load.requests * cookie + load.modifying * (cookie + _SET_COOKIE)
    ended = load.logins * load.idle_timeout
    each = total(
        footprint.postgresql(Shape(payload=_RECORD_OF_REVOCATIONS, info=0, subject=0), int(ended) or 1)
    )
    operations = REVOCATIONS.of(load)
    notes = ["Of the sessions none is stored; disk and operations are those of the revocation list."]
    if cookie > _COOKIE_ROOM:
        notes.append(
            f"{cookie:,} B do not fit into a cookie, unless they compress: then the session spills "
            "to a store."
        )
    return Needs(
        engine=engine,
        memory=_NOTHING,
        disk=Figure(
            ended * each,
            f"{few(load.logins)} sign-outs a second × {load.idle_timeout:,} s that their cookies live × "
            f"{each:,.0f} B",
        ),
        operations=operations,
        bandwidth=Figure(
            sent,
            f"{load.requests:,.0f} requests × {cookie:,} B of cookie + "
            f"{load.modifying:,.0f} saves × {cookie + _SET_COOKIE:,} B of Set-Cookie, to and from browsers",
        ),
        nodes=_nodes(engine, node, memory=0, operations=operations.value),
        parts=(
            Part("session", load.session_size, "as given"),
            Part("head and digest of the user", _COOKIE_HEAD + load.shape.subject, "carriers/sealed.py"),
            Part("seal", OVERHEAD, "sealing.py"),
            Part("base64, name", cookie - sealed, "4 octets for 3"),
        ),
        notes=tuple(notes),
    )


#: By name, in the order of the table.
ENGINES: Final[Mapping[str, Callable[[str, Load, Node], Needs]]] = {
    "memory": _memory,
    "embedded": _on_disk,
    "memcached": _on_servers,
    "redis": _on_servers,
    "postgresql": _on_disk,
    "mariadb": _on_disk,
    "cached_db": _cached,
    "cookies": _in_cookies,
}
