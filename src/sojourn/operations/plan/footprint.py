"""What one session takes in each store, part by part, each with where the number comes from.

Nothing here is measured at run time: these are the layouts of the servers, and of the records this release
puts into them.  ``make scale`` weighs a million real sessions in each store, and a test holds these formulas
to it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from sojourn.frozen import frozen
from sojourn.listing import Info
from sojourn.sealing import OVERHEAD
from sojourn.stores.memory import RECORD_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "FOOTPRINTS",
    "MEMCACHED_AROUND",
    "MEMCACHED_LARGEST",
    "REDIS_AROUND",
    "Part",
    "Shape",
    "memcached",
    "total",
]

#: Octets of what is sealed beside a payload: a user and a browser label as long as they usually are.
_USUAL_INFO: Final = OVERHEAD + len(
    Info(
        session_id=bytes(16),
        subject="some.user@example.org",
        label="Firefox on Linux",
        idle_timeout=14 * 24 * 3_600_000,
        written_at=1_800_000_000_000,
    ).encode()
)
_SUBJECT: Final = 32
_KEY: Final = 64


@frozen()
class Shape:
    """The parts of a stored record whose lengths differ from session to session, in octets."""

    #: Sealed.
    payload: int
    #: Sealed; 0: none.
    info: int
    #: 32, or 0 for nobody's session.
    subject: int

    @classmethod
    def of_session(cls, size: int) -> Shape:
        """Return the shape of a signed-in session whose values are ``size`` octets, encoded."""
        return cls(payload=size + OVERHEAD, info=_USUAL_INFO, subject=_SUBJECT)

    @property
    def content(self) -> int:
        """What every store keeps of it."""
        return self.payload + self.info + self.subject


@frozen(kw_only=False)
class Part:
    """A share of what a session takes."""

    name: str
    #: Octets for each session.
    size: float
    #: Where the number comes from.
    source: str


def total(parts: Sequence[Part]) -> float:
    """Return the octets one session takes."""
    return sum(part.size for part in parts)


# --- memory ------------------------------------------------------------------------------------------


def memory(shape: Shape, sessions: int) -> list[Part]:  # noqa: ARG001 - as all of them
    """Return what a session takes in process memory, as ``max_bytes`` counts it."""
    return [
        Part("payload and info", shape.payload + shape.info, "kept as they are"),
        Part("objects and indexes", RECORD_OVERHEAD, "stores/memory.py, measured with tracemalloc"),
    ]


# --- memcached ---------------------------------------------------------------------------------------

_MEMCACHED_KEY: Final = len("sojourn:") + _KEY + 1
_MEMCACHED_HEAD: Final = 46
_ITEM_HEADER: Final = 48 + 8
#: Octets of an item beside the content.
MEMCACHED_AROUND: Final = _MEMCACHED_KEY + _MEMCACHED_HEAD + 2 + _ITEM_HEADER
_PAGE: Final = 1 << 20
#: Octets of the largest item, unless memcached is started with -I.
MEMCACHED_LARGEST: Final = _PAGE
_SMALLEST_CHUNK: Final = 96
_LARGEST_CHUNK: Final = _PAGE // 2
_FEWEST_BUCKETS: Final = 1 << 16


def memcached(shape: Shape, sessions: int) -> list[Part]:
    """Return what a session takes in memcached's memory, with its default slab classes."""
    head = _MEMCACHED_KEY + _MEMCACHED_HEAD + 2
    item = head + shape.content + _ITEM_HEADER
    chunk = _memcached_chunk(item)
    in_page = _PAGE // chunk
    return [
        Part("sealed session", shape.content, "payload, info, subject"),
        Part("key, head and line end", head, "stores/memcached/item.py"),
        Part("item header with CAS", _ITEM_HEADER, "memcached: sizeof(item) + 8"),
        Part(
            "rounding up to the slab class",
            chunk - item,
            "memcached: classes from 96 octets, each 1.25 times the one before",
        ),
        Part("end of the slab page", _PAGE / in_page - chunk if in_page else 0, "memcached: pages of 1 MiB"),
        Part(
            "hash table",
            8 * _memcached_buckets(sessions) / max(1, sessions),
            "memcached: 2^n pointers, doubled when there are 1.5 items to one",
        ),
    ]


def _memcached_chunk(item: int) -> int:
    size: float = _SMALLEST_CHUNK
    while size <= _LARGEST_CHUNK / 1.25:
        chunk = -(-int(size) // 8) * 8
        if item <= chunk:
            return chunk
        size = chunk * 1.25
    return -(-item // _LARGEST_CHUNK) * _LARGEST_CHUNK


def _memcached_buckets(sessions: int) -> int:
    buckets = _FEWEST_BUCKETS
    while sessions > 1.5 * buckets:
        buckets *= 2
    return buckets


# --- Redis and Valkey --------------------------------------------------------------------------------

_REDIS_KEY: Final = len("sojourn:") + _KEY
_REDIS_INDEX_KEY: Final = len("sojourn:of:") + _KEY
_REDIS_HEAD: Final = 54
#: Octets of a value beside the content.
REDIS_AROUND: Final = _REDIS_HEAD
_OBJECT: Final = 16
#: 24 octets, which jemalloc rounds up.
_ENTRY: Final = 32
#: Header, member of 64, score, ends: 84 octets.
_INDEX: Final = 84


def redis(shape: Shape, sessions: int) -> list[Part]:
    """Return what a session takes in ``used_memory`` of Redis 7 or Valkey, with the index of users."""
    value = shape.content + _REDIS_HEAD
    parts = [
        Part("sealed session", shape.content, "payload, info, subject"),
        Part("head", _REDIS_HEAD, "stores/valkey/item.py"),
        Part("rounding up", _allocated_string(value) - value, "Redis: sds; jemalloc's size classes"),
        Part("key", _allocated_string(_REDIS_KEY), "Redis: sds"),
        Part("object and two entries", _OBJECT + 2 * _ENTRY, "Redis: robj, dictEntry here and in expires"),
    ]
    keys = sessions
    if shape.subject:
        index = _allocated_string(_REDIS_INDEX_KEY) + _OBJECT + 2 * _ENTRY + _allocated(_INDEX)
        parts.append(Part("index of the user", index, "Redis: a listpack of one, its key and entries"))
        keys *= 2
    buckets = 1 << max(2, math.ceil(math.log2(max(1, keys))))
    parts.append(Part("hash tables", 2 * 8 * buckets / max(1, sessions), "Redis: 2^n pointers, two tables"))
    return parts


def redis_on_disk(shape: Shape) -> float:
    """Return what a session takes in an RDB file."""
    return (
        shape.content
        + _REDIS_HEAD
        + _REDIS_KEY
        + 14
        + (_REDIS_INDEX_KEY + _INDEX + 14 if shape.subject else 0)
    )


def _allocated_string(length: int) -> int:
    """Return what an sds of ``length`` takes: a header, the text, a NUL."""
    header = 3 if length < 1 << 8 else 5 if length < 1 << 16 else 9
    return _allocated(header + length + 1)


def _allocated(size: int) -> int:
    """Return what jemalloc takes for ``size``: four classes to each doubling, none below 16 octets."""
    if size <= 16:  # noqa: PLR2004 - the smallest class
        return 16
    step = max(16, 1 << (size - 1).bit_length() - 3)
    return -(-size // step) * step


# --- PostgreSQL --------------------------------------------------------------------------------------

_BLOCK: Final = 8_192
_BLOCK_HEADER: Final = 24
_LINE_POINTER: Final = 4
_FILL_FACTOR: Final = 0.8
_LARGEST_ROW: Final = 2_032
_TOAST_POINTER: Final = 18
_TOAST_CHUNK: Final = 1_996
#: How many payloads are put into pages, to see how they lie.
_TOASTED: Final = 60
#: How full a B-tree's pages are whose keys come in no order: ln 2.
_RANDOM_FILL: Final = 0.69
_ORDERED_FILL: Final = 0.9
_SHORT: Final = 126


def postgresql(shape: Shape, sessions: int) -> list[Part]:  # noqa: ARG001 - as all of them
    """Return what a session takes on disk in PostgreSQL, freshly written or vacuumed."""
    beside = _postgresql_row(shape, payload=0)
    row = _aligned(beside + 4 + shape.payload, 8)
    is_out_of_line = row > _LARGEST_ROW
    if is_out_of_line:
        row = _aligned(beside + _TOAST_POINTER, 8)
    usable = _BLOCK * _FILL_FACTOR - _BLOCK_HEADER
    rows = max(1, int(usable // (row + _LINE_POINTER)))
    parts = [
        Part("row", row + _LINE_POINTER, "PostgreSQL: 32 octets of header, columns aligned, a line pointer"),
        Part(
            "room in the page",
            _BLOCK / rows - row - _LINE_POINTER,
            "fillfactor 80 (stores/sql/statements.py) in pages of 8 KiB",
        ),
    ]
    if is_out_of_line:
        chunks = -(-shape.payload // _TOAST_CHUNK)
        parts += [
            Part(
                "payload in TOAST",
                _toasted(shape.payload),
                "PostgreSQL: chunks of 1,996 octets, 4 to a page of 8 KiB",
            ),
            Part("index of TOAST", chunks * 20 / _ORDERED_FILL, "PostgreSQL: B-tree, 20 octets, 90 % full"),
        ]
    keys = {"lookup_key": 52, "purge_at": 20, "subject": 52 if shape.subject else 6}
    for column, size in keys.items():
        source = f"PostgreSQL: B-tree, {size} octets, 69 % full (keys in no order)"
        parts.append(Part(f"index on {column}", size / _RANDOM_FILL, source))
    return parts


def _postgresql_row(shape: Shape, payload: int) -> int:
    """Return the octets of a row up to its payload: header, lookup key, five big integers, subject, info."""
    size = 32 + _aligned(33, 8) + 5 * 8 + (1 + shape.subject if shape.subject else 0)
    if shape.info > _SHORT:
        size = _aligned(size, 4) + 4 + shape.info
    elif shape.info:
        size += 1 + shape.info
    return _aligned(size, 4) + payload


def _toasted(payload: int) -> float:
    """Return what the chunks of one payload take when those of many lie in pages.

    Each goes where the one before went, else to the first page with room, as PostgreSQL looks for it.
    """
    full, rest = divmod(payload, _TOAST_CHUNK)
    sizes = [36 + _TOAST_CHUNK] * full
    if rest:
        sizes.append(_aligned(28 + (1 + rest if rest <= _SHORT else 4 + rest), 8) + _LINE_POINTER)
    payloads = _TOASTED if full < _TOASTED else 1  # of large ones a page more or less is nothing
    room = [_BLOCK - _BLOCK_HEADER]
    at = 0
    for size in sizes * payloads:
        if room[at] < size:
            at = next((page for page, left in enumerate(room) if left >= size), len(room))
            if at == len(room):
                room.append(_BLOCK - _BLOCK_HEADER)
        room[at] -= size
    return len(room) * _BLOCK / payloads


def _aligned(size: int, to: int) -> int:
    return -(-size // to) * to


# --- MariaDB and MySQL -------------------------------------------------------------------------------

_INNODB_PAGE: Final = 16_384
_INNODB_USABLE: Final = _INNODB_PAGE - 128
_INNODB_LARGEST_ROW: Final = 8_126
_INNODB_BLOB: Final = 16_330
_INNODB_SEGMENT: Final = 7 / 8


def mariadb(shape: Shape, sessions: int) -> list[Part]:  # noqa: ARG001 - as all of them
    """Return what a session takes on disk in InnoDB."""
    beside = 11 + 32 + 13 + 5 * 8 + shape.subject + shape.info
    row = beside + shape.payload
    pages_beside = 0
    if row > _INNODB_LARGEST_ROW:
        row = beside + 20
        pages_beside = -(-shape.payload // _INNODB_BLOB)
    in_page = (_INNODB_USABLE // row) * _RANDOM_FILL
    leaf = _INNODB_PAGE / in_page
    parts = [
        Part("row", row, "InnoDB: record header, transaction and roll pointers, columns"),
        Part(
            "room in the page",
            leaf - row,
            "InnoDB: whole rows in pages of 16 KiB, 69 % full (keys in no order)",
        ),
    ]
    if pages_beside:
        pages = pages_beside * _INNODB_PAGE
        parts.append(
            Part("payload in pages of its own", pages, "InnoDB: rows of at most 8,126 octets in a page")
        )
    for column, size in {"purge_at": 46, "subject": 39 + shape.subject}.items():
        source = f"InnoDB: {size} octets with the primary key, 69 % full"
        parts.append(Part(f"index on {column}", size / _RANDOM_FILL, source))
    kept_free = total(parts) * (1 / _INNODB_SEGMENT - 1)
    return [*parts, Part("kept free in the segments", kept_free, "InnoDB: an eighth of the pages")]


# --- embedded ----------------------------------------------------------------------------------------

_SQLITE_PAGE: Final = 4_096
_SQLITE_LEAST_LOCAL: Final = (_SQLITE_PAGE - 12) * 32 // 255 - 23
_SQLITE_MOST_LOCAL: Final = _SQLITE_PAGE - 35
_SQLITE_OVERFLOW: Final = _SQLITE_PAGE - 4
_SQLITE_FILL: Final = 0.8


def embedded(shape: Shape, sessions: int) -> list[Part]:  # noqa: ARG001 - as all of them
    """Return what a session takes in the embedded store's file."""
    row = 15 + _KEY + 6 + 6 + 8 + shape.content
    local = row
    if row > _SQLITE_MOST_LOCAL:
        local = _SQLITE_LEAST_LOCAL + (row - _SQLITE_LEAST_LOCAL) % _SQLITE_OVERFLOW
        local = local if local <= _SQLITE_MOST_LOCAL else _SQLITE_LEAST_LOCAL
    overflow = -(-(row - local) // _SQLITE_OVERFLOW) * _SQLITE_PAGE
    cell = local + 7 + (4 if overflow else 0)
    leaf = _SQLITE_PAGE / ((_SQLITE_PAGE - 8) // cell)
    parts = [
        Part("row", row, "SQLite: record header and columns"),
        Part(
            "rounding up to pages",
            leaf + overflow - row,
            "SQLite: pages of 4 KiB, overflow pages beyond 4,061 octets",
        ),
        Part("index on key", 74 / _SQLITE_FILL, "SQLite: 74 octets, 80 % full (keys in no order)"),
    ]
    if shape.subject:
        parts.append(Part("index on subject", 41 / _SQLITE_FILL, "SQLite: 41 octets, 80 % full"))
    return parts


#: What a session takes in each store, by its name: in memory for the first three, on disk for the others.
FOOTPRINTS: Final[Mapping[str, Callable[[Shape, int], list[Part]]]] = {
    "memory": memory,
    "memcached": memcached,
    "redis": redis,
    "embedded": embedded,
    "postgresql": postgresql,
    "mariadb": mariadb,
}
