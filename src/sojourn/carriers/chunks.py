"""One value in several cookies, where one is not enough.

The first cookie has the name, and says how many there are: ``3.…``.  The others have a number behind the
name: ``session-2``, ``session-3``.  A value that needs one cookie is written as it is.  Pure, never raises.
"""

from __future__ import annotations

import re
from typing import Final

from sojourn.cookie import parse_cookies

__all__ = ["MOST_COOKIES", "OVERHEAD", "chunk_name", "join_chunks", "split_value", "stale_chunks"]

#: Cookies one value may be split into.  Browsers keep 50 of a site's at least (RFC 6265 6.1).
MOST_COOKIES: Final = 20
#: Octets of each cookie that go to the number behind the name, or the count before the value.
OVERHEAD: Final = 3

_FIRST: Final = re.compile(r"([2-9]|1[0-9]|20)\.([A-Za-z0-9_-]+)", re.ASCII)


def chunk_name(name: str, number: int) -> str:
    """Return what the cookie with chunk ``number`` (from 1) of the cookie ``name`` is called."""
    return name if number == 1 else f"{name}-{number}"


def split_value(value: str, *, room: int) -> list[str]:
    """Return the values of the cookies that carry ``value``, in order; each has at most ``room`` octets."""
    if len(value) <= room:
        return [value]
    size = room - OVERHEAD
    chunks = [value[at : at + size] for at in range(0, len(value), size)]
    return [f"{len(chunks)}.{chunks[0]}", *chunks[1:]]


def join_chunks(header: str | bytes, name: str) -> list[str]:
    """Return the values of the cookies called ``name`` in a Cookie header, those that were split joined.

    ``header``: see :func:`sojourn.cookie.parse_cookies`.  A first cookie whose others are missing is returned
    as it is, which is no value.  If there are several of a name, those that come first belong together.
    """
    values = parse_cookies(header, name)
    split = [found for value in values if (found := _FIRST.fullmatch(value)) is not None]
    if not split:
        return values
    most = max(int(first[1]) for first in split)
    others = {number: parse_cookies(header, chunk_name(name, number)) for number in range(2, most + 1)}
    whole: list[str] = []
    position = 0
    for value in values:
        first = _FIRST.fullmatch(value)
        if first is None:
            whole.append(value)
            continue
        rest = [others[number][position : position + 1] for number in range(2, int(first[1]) + 1)]
        position += 1
        whole.append(first[2] + "".join(chunk for found in rest for chunk in found) if all(rest) else value)
    return whole


def stale_chunks(header: str | bytes, name: str, *, kept: int) -> list[str]:
    """Return the names of the cookies in the header that were chunks and are none, now that ``kept`` are."""
    text = header.decode("latin-1") if isinstance(header, bytes) else header
    if f"{name}-" not in text:
        return []
    return [
        other
        for number in range(max(kept, 1) + 1, MOST_COOKIES + 1)
        if parse_cookies(header, other := chunk_name(name, number))
    ]
