"""Sessions taken over from a former engine, in every order of requests that race."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Keyring, Manager, Policy
from sojourn.errors import SessionGoneError, StoreUnavailableError
from sojourn.steps import Pause, Steps
from sojourn.stores.memory import MemoryStore
from sojourn.testing import Fail, FakeClock, FaultyStore
from tests.core.sites import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sojourn.session import Session

TOKEN = "0123456789abcdef0123456789abcdef"
ANNA = {"_subject": "anna", "basket": [1]}


class FormerEngine:
    """A dictionary under the tokens themselves, as Django's engines are."""

    def __init__(self, sessions: dict[str, dict[str, Any]]) -> None:
        self.sessions = sessions
        self.answers = True

    def accepts(self, token: str) -> bool:
        return len(token) == len(TOKEN)

    def load(self, token: str) -> Mapping[str, Any] | None:
        self._answer()
        return self.sessions.get(token)

    def delete(self, token: str) -> None:
        self._answer()
        self.sessions.pop(token, None)

    def _answer(self) -> None:
        if not self.answers:
            raise StoreUnavailableError("the former engine did not answer")


class Site:
    """A manager on a fresh store, and the engine used before with one session in it."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.former = FormerEngine({TOKEN: dict(ANNA)})
        self.store = FaultyStore(MemoryStore(clock=self.clock))
        self.manager = Manager(
            self.store, Keyring([SECRET]), clock=self.clock, former=self.former, **settings
        )
        #: What has been acknowledged.
        self.ended = False
        self.renewed: list[str] = []
        self.read: list[bool] = []

    # What a request does

    def visit(self) -> Steps[None]:
        ended = self.ended
        session = yield from self.manager.open_steps(TOKEN)
        assert not (ended and session.token), "a session that was ended came back"
        self.read.append(session.token is not None)

    def save(self) -> Steps[None]:
        session: Session = yield from self.manager.open_steps(TOKEN)
        if session.token is None:
            return
        session["saved"] = True
        try:
            yield from self.manager.commit_steps(session, self.manager.plan(session))
        except SessionGoneError:
            return

    def renew(self) -> Steps[None]:
        session: Session = yield from self.manager.open_steps(TOKEN)
        if session.token is None:
            return
        session.renew()
        try:
            yield from self.manager.commit_steps(session, self.manager.plan(session))
        except SessionGoneError:
            return
        self.renewed.append(str(session.token))

    def log_out(self) -> Steps[None]:
        yield from self.manager.delete_steps(TOKEN)
        self.ended = True

    def revoke(self) -> Steps[None]:
        yield from self.manager.revoke_subject_steps("anna", None)
        self.ended = True


CLIENTS: dict[str, Callable[[Site], Steps[None]]] = {
    "visit": Site.visit,
    "save": Site.save,
    "renew": Site.renew,
    "log out": Site.log_out,
    "revoke": Site.revoke,
}


def play(names: tuple[str, ...], turns: list[int]) -> tuple[Site, list[tuple[int, list[int]]]]:
    """Play one order of the clients' operations; return each turn with those who could have come."""
    site = Site()
    clients = [CLIENTS[name](site) for name in names]
    waiting: dict[int, Any] = {}
    polling: set[int] = set()  # who waits for somebody else to get on
    for number, client in enumerate(clients):
        _advance(number, client, None, waiting)
    taken: list[tuple[int, list[int]]] = []
    while waiting:
        ready = [number for number in waiting if number not in polling]
        if not ready:  # nobody else is coming any more: time goes by
            site.clock.advance(1)
            ready = list(waiting)[:1]
        turn = turns[len(taken)] if len(taken) < len(turns) else ready[0]
        taken.append((turn, ready))
        step = waiting.pop(turn)
        if isinstance(step, Pause):
            _advance(turn, clients[turn], None, waiting)
            polling.add(turn)
        else:
            _advance(turn, clients[turn], step, waiting)
    return site, taken


def _advance(number: int, client: Steps[None], step: Any, waiting: dict[int, Any]) -> None:
    try:
        answer = None if step is None else step[0](*step[1:])
        waiting[number] = client.send(answer)
    except StopIteration:
        return
    except Exception as error:  # noqa: BLE001 - the client decides
        try:
            waiting[number] = client.throw(error)
        except StopIteration:
            return


def orders(names: tuple[str, ...]) -> Iterator[Site]:
    """Play every order, depth first."""
    turns: list[int] = []
    while True:
        site, taken = play(names, turns)
        yield site
        while taken and taken[-1][0] == taken[-1][1][-1]:
            taken.pop()
        if not taken:
            return
        last, ready = taken.pop()
        turns = [turn for turn, _ in taken] + [ready[ready.index(last) + 1]]


@pytest.mark.parametrize(
    "names",
    [
        *itertools.combinations_with_replacement(CLIENTS, 2),
    ],
    ids="+".join,
)
def test_C1_in_every_order_what_ended_stays_ended_and_what_lives_is_found(names: tuple[str, ...]) -> None:
    count = 0
    for site in orders(names):
        count += 1
        site.clock.advance(3)  # nobody is taking it over any more
        lives = site.manager.exists(TOKEN)
        assert not (site.ended and lives)
        assert len(site.renewed) <= 1
        assert not (site.renewed and lives)
        if not site.ended and "renew" not in names:
            assert lives
            assert all(site.read)
            session = site.manager.open(TOKEN)
            assert session["basket"] == [1]
            assert ("save" in names) == ("saved" in session)
    print(f"{' + '.join(names)}: {count} orders")  # noqa: T201 - for the record
    assert count > 1


def test_a_former_session_that_cannot_be_stored_stays_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    site.former.sessions[TOKEN]["odd"] = object()
    assert not site.manager.exists(TOKEN)
    assert "odd" in caplog.text
    assert TOKEN not in caplog.text
    del site.former.sessions[TOKEN]["odd"]
    assert site.manager.exists(TOKEN)


@pytest.mark.parametrize("fails", ["create", "load"])
def test_F1_a_takeover_that_failed_can_be_made_again(fails: Any) -> None:
    site = Site()
    site.store.plan(Fail(fails, skip=1))
    with pytest.raises(StoreUnavailableError):
        site.manager.open(TOKEN)
    assert site.manager.open(TOKEN)["basket"] == [1]


def test_F1_a_former_engine_that_does_not_answer_is_unavailable() -> None:
    site = Site()
    site.former.answers = False
    with pytest.raises(StoreUnavailableError):
        site.manager.open(TOKEN)
    site.former.answers = True
    session = site.manager.open(TOKEN)
    session.renew()
    site.former.answers = False
    with pytest.raises(StoreUnavailableError):
        site.manager.commit(session)
    assert site.manager.exists(TOKEN)


def test_C1_a_session_that_is_nobodys_and_ends_sooner_here_is_not_taken_over_again() -> None:
    week = 7 * 86_400
    site = Site(policy=Policy(idle_timeout=week, anonymous_timeout=60))
    site.former.sessions[TOKEN] = {"basket": [1]}
    assert site.manager.exists(TOKEN)
    site.clock.advance(60)
    for _ in range(8):  # as long as the former engine may have it
        assert not site.manager.exists(TOKEN)
        site.clock.advance(86_400 - 10)
