"""Cookies opened lately, so that the next request with one of them need not decrypt it again.

A browser sends the same cookie until a save replaces it.  What is kept is what is in the cookie, which never
changes; whether it is still a session, by its deadlines and the revocation list, is asked at each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.carriers.lineage import Lineage
    from sojourn.record import Record

__all__ = ["Opened", "Recent"]

#: Octets of cookies and of what is in them, for each half.
_OCTETS: Final = 1 << 20


class Opened(NamedTuple):
    """What is in a cookie."""

    lineage: Lineage
    record: Record
    encodings: Mapping[str, bytes]
    #: The instant from which it is no session, by its own deadlines and the policy's.
    until: int

    def __repr__(self) -> str:
        """Show no data."""
        return f"<Opened {self.record.public_id}>"


class Recent:
    """What was in the cookies opened lately, by their values.  Safe for use by many threads at once.

    Two halves of at most ``octets`` each: when the younger is full, the older is forgotten and the younger
    takes its place, so that what is in use stays, without any account of when each was used.
    """

    __slots__ = ("_octets", "_old", "_size", "_young")

    def __init__(self, *, octets: int = _OCTETS) -> None:
        self._octets = octets
        self._young: dict[str, Opened] = {}
        self._old: dict[str, Opened] = {}
        self._size = 0

    def get(self, value: str) -> Opened | None:
        """Return what is in the cookie ``value``; ``None`` if it has to be opened."""
        opened = self._young.get(value)
        if opened is None:
            opened = self._old.get(value)
            if opened is not None:
                self.put(value, opened)
        return opened

    def put(self, value: str, opened: Opened) -> None:
        """Keep what a genuine cookie was opened to."""
        size = len(value) + len(opened.record.payload)
        if size > self._octets:
            return
        if self._size + size > self._octets:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[value] = opened
        self._size += size
