"""The protocol of the cached store in small, and a search through everything that can happen to it.

One session, some clients, a clock that ticks at any moment, and mishaps: the cache drops what it holds, a
write to it gets lost, a client dies.  Every client is a little machine that does one thing at a time, so all
others, and any length of time, may come between any two of its steps.  Times are kept as what is left or has
passed, up to where more makes no difference, so time has no end and the states have.  :func:`search` goes
through all of them and raises :class:`Found` where a load answers with what it must not:

* *stale*: a state that was past a lease before the load began, or longer.  Whatever happens.
* *revived*: any state, if the session's end was acknowledged before the load began.  Unless the tombstone
  was dropped by the cache or never got there.
* *outdated*: a state older than one acknowledged before the load began.  Unless there was a mishap.

It shares no code with the store.  ``broken`` names a rule that is left out, to see that it is missed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BROKEN", "Found", "search"]

#: In ticks of the clock.
LEASE = 2
KEPT = 2 * LEASE

ENDED = 9

BROKEN = (
    "who loses a compare-and-set deletes",
    "the lease counts from after the read",
    "a refill is put there without looking",
    "the tombstone is shorter than the lease",
    "the tombstone comes before the origin",
    "a delete only deletes the copy",
    "a delete that loses does not look again",
    "a save that loses does not look again",
    "a save that loses overwrites what is newer",
)

Kind = Literal["copy", "outdated", "tombstone"]


class Entry(NamedTuple):
    """What lies in the cache."""

    kind: Kind
    version: int
    lease_left: int
    #: Until the cache forgets it.
    left: int
    token: int


class Shared(NamedTuple):
    """What all clients see, and what the judge remembers."""

    #: The version in the origin; 0: the session has ended.
    origin: int = 1
    #: How long ago each version was followed by another, or by the end; -1: not yet.
    past_for: tuple[int, ...] = (-1,)
    cache: Entry | None = None
    tokens: int = 0
    mishaps: int = 0
    #: Whether a mishap excuses what is outdated, and whether one excuses what is revived.
    excused: bool = False
    excused_end: bool = False
    #: The oldest version with which a load that begins now may answer; ``ENDED``: none.
    settled: int = 1


class Client(NamedTuple):
    """One client on its way."""

    #: What it does: "load", "save" or "delete".
    does: str
    at: str = "begin"
    #: When it began: what was settled, and the last version that was past for a lease or longer.
    settled: int = 0
    stale: int = 0
    #: What it has found in the cache; token 0: nothing.
    kind: str = ""
    token: int = 0
    #: Ticks since it was about to ask the origin.
    asked_for: int = 0
    version: int = 0
    tries: int = 0


class Found(Exception):  # noqa: N818 - it is what was searched for
    """A load answers with what it must not.  The message tells the way there."""


class State(NamedTuple):
    shared: Shared
    clients: tuple[Client, ...]


Next = tuple[str, Shared, Client]

#: What a client still needs to know at each step, beside what its answer will be judged by.
_NEEDED = {
    "begin": (),
    "look": ("tries",),
    "ask": ("kind", "token", "tries"),
    "read": ("kind", "token", "tries", "asked_for"),
    "refill": ("token", "tries", "asked_for", "version"),
    "bury_found": ("token",),
    "save": ("token", "version"),
    "update": ("token", "version", "asked_for"),
    "outdate": ("token",),
    "copy": ("token", "version", "asked_for"),
    "settle": ("version", "asked_for"),
    "outdate_absent": ("version", "asked_for"),
    "delete": ("token",),
    "bury": ("token",),
    "look_to_bury": (),
    "acknowledge": (),
}


class Protocol:
    """What each client does next.  Each method is one rule, or one step that others cannot divide."""

    def __init__(self, broken: str | None) -> None:
        assert broken is None or broken in BROKEN
        self._broken = broken
        self._kept = LEASE - 1 if broken == "the tombstone is shorter than the lease" else KEPT

    def steps(self, s: Shared, c: Client) -> Iterator[Next]:
        yield from getattr(self, c.at)(s, c)

    # Loading: what a load does, and what a save does first

    def begin(self, s: Shared, c: Client) -> Iterator[Next]:
        stale = sum(past == LEASE for past in s.past_for)
        c = c._replace(settled=s.settled, stale=stale)
        if c.does == "delete" and self._broken == "the tombstone comes before the origin":
            yield from self.look_to_bury(s, c)
        else:
            yield from self.look(s, c)

    def look(self, s: Shared, c: Client) -> Iterator[Next]:
        entry = s.cache
        if entry is None:
            c = c._replace(kind="", token=0)
        else:
            c = c._replace(kind=entry.kind, token=entry.token)
            if entry.kind == "copy" and entry.lease_left:
                yield from self.loaded(s, c._replace(version=entry.version))
                return
        if c.does == "delete":
            yield "looks", s, c._replace(at="delete")
        else:
            yield "looks", s, c._replace(at="ask")

    def ask(self, s: Shared, c: Client) -> Iterator[Next]:
        yield "looks at its clock", s, c._replace(at="read", asked_for=0)

    def read(self, s: Shared, c: Client) -> Iterator[Next]:
        c = c._replace(version=s.origin)
        if s.origin == 0:
            yield "reads nothing", s, c._replace(at="bury_found" if c.kind == "copy" else "end")
        elif c.kind == "tombstone":
            yield from self.loaded(s, c._replace(token=0))
        else:
            yield f"reads version {s.origin}", s, c._replace(at="refill")

    def refill(self, s: Shared, c: Client) -> Iterator[Next]:
        if self._broken == "the lease counts from after the read":
            c = c._replace(asked_for=0)
        if self._broken == "a refill is put there without looking":
            c = c._replace(token=0 if s.cache is None else s.cache.token)
        for said, after, token in self.write(s, c.token, self._copy_of(c)):
            if token is not None:
                for _, later, client in self.loaded(after, c._replace(token=token)):
                    yield f"refills: {said}", later, client
            elif self._broken == "who loses a compare-and-set deletes":
                yield "deletes what is there", after._replace(cache=None), c._replace(at="end")
            elif c.tries:
                yield from self.loaded(after, c)
            else:
                yield f"refills: {said}", after, c._replace(at="look", version=0, tries=1)

    def bury_found(self, s: Shared, c: Client) -> Iterator[Next]:
        for said, after, token in self.write(s, c.token, ("tombstone", 0, 0, self._kept)):
            yield f"buries: {said}", after, c._replace(at="end" if token is not None else "look_to_bury")

    def loaded(self, s: Shared, c: Client) -> Iterator[Next]:
        """A load has its answer: judge it."""
        if c.does != "load":
            yield f"has loaded version {c.version}", s, c._replace(at=c.does)
            return
        if c.version <= c.stale:
            raise Found("stale")
        if c.settled == ENDED and not s.excused_end:
            raise Found("revived")
        if c.version < c.settled < ENDED and not s.excused:
            raise Found("outdated")
        yield f"answers with version {c.version}", s, c._replace(at="end")

    # Saving

    def save(self, s: Shared, c: Client) -> Iterator[Next]:
        yield "looks at its clock", s, c._replace(at="update", asked_for=0)

    def update(self, s: Shared, c: Client) -> Iterator[Next]:
        if s.origin == 0:
            yield "is told it is gone", s, c._replace(at="bury_found" if c.token else "end")
        elif s.origin != c.version:
            yield "is told of a conflict", s, c._replace(at="outdate" if c.token else "end")
        else:
            version = s.origin + 1
            past = (*s.past_for[:-1], 0, -1)
            yield (
                f"saves version {version}",
                s._replace(origin=version, past_for=past),
                c._replace(at="copy", version=version),
            )

    def outdate(self, s: Shared, c: Client) -> Iterator[Next]:
        for said, after, _ in self.write(s, c.token, ("outdated", 0, 0, KEPT)):
            yield f"outdates: {said}", after, c._replace(at="end")

    def copy(self, s: Shared, c: Client) -> Iterator[Next]:
        for said, after, token in self.write(s, c.token, self._copy_of(c)):
            if token is not None or self._broken == "a save that loses does not look again":
                yield f"copies: {said}", self._acknowledged(after, c), c._replace(at="end")
            elif self._broken == "who loses a compare-and-set deletes":
                gone = after._replace(cache=None)
                yield "deletes what is there", self._acknowledged(gone, c), c._replace(at="end")
            else:
                yield f"copies: {said}", after, c._replace(at="settle")

    def settle(self, s: Shared, c: Client) -> Iterator[Next]:
        """Look again after a lost race: a tombstone stays, and what is newer."""
        entry = s.cache
        if entry is None:
            yield "finds nothing", s, c._replace(at="outdate_absent")
        elif entry.kind == "copy" and (
            entry.version < c.version or self._broken == "a save that loses overwrites what is newer"
        ):
            yield "finds an older copy", s, c._replace(at="copy", token=entry.token)
        else:
            yield f"finds what stays: {entry.kind}", self._acknowledged(s, c), c._replace(at="end")

    def outdate_absent(self, s: Shared, c: Client) -> Iterator[Next]:
        for said, after, token in self.write(s, 0, ("outdated", 0, 0, KEPT)):
            if token is not None:
                yield f"outdates: {said}", self._acknowledged(after, c), c._replace(at="end")
            else:
                yield f"outdates: {said}", after, c._replace(at="settle")

    def _acknowledged(self, s: Shared, c: Client) -> Shared:
        return s._replace(settled=max(s.settled, c.version))

    # Deleting

    def delete(self, s: Shared, c: Client) -> Iterator[Next]:
        at = "bury"
        if self._broken == "the tombstone comes before the origin":
            at = "acknowledge"
        if s.origin == 0:
            yield "is told it is gone", s, c._replace(at="end")
        else:
            past = (*s.past_for[:-1], 0)
            yield "deletes", s._replace(origin=0, past_for=past), c._replace(at=at)

    def bury(self, s: Shared, c: Client) -> Iterator[Next]:
        if self._broken == "a delete only deletes the copy":
            yield "deletes the copy", s._replace(cache=None, settled=ENDED), c._replace(at="end")
            return
        at = "delete" if self._broken == "the tombstone comes before the origin" else "acknowledge"
        for said, after, token in self.write(s, c.token, ("tombstone", 0, 0, self._kept)):
            if token is not None or self._broken == "a delete that loses does not look again":
                yield f"buries: {said}", after, c._replace(at=at)
            else:
                yield f"buries: {said}", after, c._replace(at="look_to_bury")

    def look_to_bury(self, s: Shared, c: Client) -> Iterator[Next]:
        yield "looks", s, c._replace(at="bury", token=0 if s.cache is None else s.cache.token)

    def acknowledge(self, s: Shared, c: Client) -> Iterator[Next]:
        if c.does == "delete":
            s = s._replace(settled=ENDED)
        yield "is answered", s, c._replace(at="end")

    # The cache

    def _copy_of(self, c: Client) -> tuple[Kind, int, int, int]:
        return ("copy", c.version, max(0, LEASE - c.asked_for), KEPT)

    def write(
        self, s: Shared, token: int, entry: tuple[Kind, int, int, int]
    ) -> Iterator[tuple[str, Shared, int | None]]:
        """Write where nothing is (token 0), or over ``token``; yield the new token, ``None``: lost."""
        if (0 if s.cache is None else s.cache.token) == token:
            new = s.tokens + 1
            there = Entry(*entry, new) if entry[3] > 0 else None
            yield "done", s._replace(cache=there, tokens=new), new
        else:
            yield "somebody was faster", s, None
        if s.mishaps:
            excused_end = s.excused_end or entry[0] == "tombstone"
            yield (
                "no answer, nothing written",
                s._replace(mishaps=s.mishaps - 1, excused=True, excused_end=excused_end),
                0,
            )


def search(*clients: str, mishaps: int = 0, broken: str | None = None) -> int:
    """Go through every state that ``clients`` can get into; return how many there are.  Raises ``Found``."""
    protocol = Protocol(broken)
    start = State(Shared(mishaps=mishaps), tuple(Client(does) for does in clients))
    before: dict[State, tuple[State, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        for said, following in _following(protocol, state, before):
            normal = _normal(following)
            if normal not in before:
                before[normal] = (state, said)
                waiting.append(normal)
    return len(before)


def _following(
    protocol: Protocol, state: State, before: dict[State, tuple[State, str] | None]
) -> Iterator[tuple[str, State]]:
    shared, clients = state
    if all(client.at == "end" for client in clients):
        return
    yield "time passes", State(_later(shared), tuple(map(_older, clients)))
    if shared.mishaps and shared.cache is not None:
        dropped = shared._replace(
            cache=None,
            mishaps=shared.mishaps - 1,
            excused=True,
            excused_end=shared.excused_end or shared.cache.kind == "tombstone",
        )
        yield "the cache drops it", State(dropped, clients)
    for number, client in enumerate(clients):
        if client.at == "end":
            continue
        if shared.mishaps and client.at != "begin":
            dead = (*clients[:number], client._replace(at="end"), *clients[number + 1 :])
            yield f"a {client.does} dies", State(shared._replace(mishaps=shared.mishaps - 1), dead)
        try:
            for said, after, changed in protocol.steps(shared, client):
                following = (*clients[:number], changed, *clients[number + 1 :])
                yield f"a {client.does} {said}", State(after, following)
        except Found as found:
            raise Found(_story(found, state, before, f"a {client.does} answers")) from found


def _later(s: Shared) -> Shared:
    cache = s.cache
    if cache is not None:
        cache = cache._replace(lease_left=max(0, cache.lease_left - 1), left=cache.left - 1)
        if not cache.left:
            cache = None
    past_for = tuple(past if past < 0 else min(past + 1, LEASE) for past in s.past_for)
    return s._replace(cache=cache, past_for=past_for)


def _older(c: Client) -> Client:
    return c._replace(asked_for=min(c.asked_for + 1, LEASE))


def _normal(state: State) -> State:
    """Return ``state`` without what makes no difference: which token is which, who is who, what is over."""
    shared, clients = state
    used = {c.token for c in clients if c.at != "end" and "token" in _NEEDED[c.at]} | {0}
    if shared.cache is not None:
        used.add(shared.cache.token)
    number = {token: place for place, token in enumerate(sorted(used))}
    cache = shared.cache
    if cache is not None:
        cache = cache._replace(token=number[cache.token])
    return State(
        shared._replace(tokens=len(used), cache=cache),
        tuple(sorted(_without_past(client, number) for client in clients)),
    )


def _without_past(c: Client, number: dict[int, int]) -> Client:
    if c.at == "end":
        return Client(c.does, "end")
    needed = {name: getattr(c, name) for name in _NEEDED[c.at]}
    if "token" in needed:
        needed["token"] = number[c.token]
    if c.does == "load":
        needed |= {"settled": c.settled, "stale": c.stale}
    return Client(c.does, c.at, **needed)


def _story(found: Found, state: State, before: dict[State, tuple[State, str] | None], last: str) -> str:
    lines = [last]
    at = before[state]
    while at is not None:
        state, said = at
        lines.append(said)
        at = before[state]
    return "\n".join([str(found), *reversed(lines)])
