"""What the clients of :mod:`sojourn.testing.interleaving` do: one request each, as steps.

Each opens the session that the browser had when all of them set out.  ``CLIENTS`` may be added to: a client
is a function of a :class:`Visit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sojourn.steps import Pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.steps import Steps
    from sojourn.testing.world import Request, World

__all__ = ["CLIENTS", "STARTS", "Client", "Visit"]


@dataclass(frozen=True, slots=True)
class Visit:
    """What one client needs to know."""

    world: World
    #: Tells it from the others.
    number: int
    #: The browser's cookie when it set out.
    token: str
    #: When its session dies if nobody uses it.
    deadline: int

    def open(self) -> Steps[Request]:
        """Open the session, then work for a while, during which the clock may move."""
        request = yield from self.world.open(self.token)
        self.world.remarks.append("a session" if request.found else "no session")
        yield Pause(0)
        return request


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who comes once."""

    act: Callable[[Visit], Steps[Any]]
    #: Whether it moves the clock.
    moves_clock: bool = False


def _save(visit: Visit) -> Steps[None]:
    request = yield from visit.open()
    request[f"key {visit.number}"] = visit.number
    yield from request.commit()


def _nested_save(visit: Visit) -> Steps[None]:
    request = yield from visit.open()
    if "basket" in request.values:
        request.append("basket", visit.number)
    else:
        request["basket"] = [visit.number]
    yield from request.commit()


def _replace(visit: Visit) -> Steps[None]:
    request = yield from visit.open()
    request.clear()
    request["only"] = visit.number
    yield from request.commit()


def _read(visit: Visit) -> Steps[None]:
    yield from visit.open()


def _touch(visit: Visit) -> Steps[None]:
    request = yield from visit.open()
    if request.found:
        yield from request.commit(saves=True)


def _renew(visit: Visit) -> Steps[None]:
    request = yield from visit.open()
    if request.found:
        request.renew()
        yield from request.commit()


def _login(visit: Visit) -> Steps[None]:
    request = yield from visit.open()
    request.sign_in("alice")
    yield from request.commit()


def _login_as_another(visit: Visit) -> Steps[None]:
    request = yield from visit.open()
    request.sign_in("carol")
    yield from request.commit()


def _logout(visit: Visit) -> Steps[None]:
    request = yield from visit.open()
    request.end()
    yield from request.commit()


def _revoke(visit: Visit) -> Steps[None]:
    yield from visit.world.revoke_subject("alice")


def _revoke_one(visit: Visit) -> Steps[None]:
    for key in (yield from visit.world.sessions_of("alice"))[:1]:
        yield from visit.world.revoke(key)


def _expiry(visit: Visit) -> Steps[None]:
    """Let time pass until the session is dead unless somebody has used it."""
    yield Pause(0)
    clock = visit.world.clock
    if clock.now() < visit.deadline:
        clock.advance_to(visit.deadline)


def _purge(visit: Visit) -> Steps[None]:
    yield from visit.world.purge()


CLIENTS: Final[dict[str, Client]] = {
    "save": Client(_save),
    "nested save": Client(_nested_save),
    "replace": Client(_replace),
    "read": Client(_read),
    "touch": Client(_touch),
    "renew": Client(_renew),
    "login": Client(_login),
    "login as another": Client(_login_as_another),
    "logout": Client(_logout),
    "revoke": Client(_revoke),
    "revoke one": Client(_revoke_one),
    "expiry": Client(_expiry, moves_clock=True),
    "purge": Client(_purge),
}


def _signed_in(world: World) -> Steps[str]:
    return (yield from world.new_session(user="alice", basket=[]))


def _anonymous(world: World) -> Steps[str]:
    return (yield from world.new_session(basket=[]))


#: What there is before the clients come: how the browser's session is made.
STARTS: Final[dict[str, Callable[[World], Steps[str]]]] = {"signed in": _signed_in, "anonymous": _anonymous}
