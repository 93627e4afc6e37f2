"""Two browsers, a clock and a store that fails, in whatever order Hypothesis thinks of.

:class:`SessionMachine` (and :class:`AsyncSessionMachine`) plays any store through the manager and holds every
answer against :mod:`sojourn.testing.model` (checklist C4).  In a test module::

    from sojourn.testing.machine import SessionMachine

    class MyStoreMachine(SessionMachine):
        def make_store(self, clock):
            return MyStore(clock=clock)

    TestMyStore = MyStoreMachine.TestCase

Beside what :mod:`sojourn.testing.interleaving` plays exhaustively there are several sessions of a user,
requests that go on after a commit or try again, a wall clock that steps, and operations that fail before or
after they were applied.  Requests overlap, but a commit is never interrupted by another.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, TypeVar

try:
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
except ImportError as error:  # pragma: no cover - the extra is installed where tests run
    raise ImportError("sojourn.testing.machine needs Hypothesis: pip install hypothesis") from error

from sojourn.errors import StoreUnavailableError
from sojourn.steps import run, run_async
from sojourn.store import AsyncStore, AsyncSubjectIndex, Store, SubjectIndex
from sojourn.testing.boundaries import in_no_time
from sojourn.testing.clock import FakeClock
from sojourn.testing.faulty import AsyncFaultyStore, Fail, FaultyStore
from sojourn.testing.world import IDLE_TIMEOUT, World

if TYPE_CHECKING:
    from sojourn.steps import Steps
    from sojourn.testing.faulty import Operation
    from sojourn.testing.world import Request

__all__ = ["AsyncSessionMachine", "SessionMachine"]

T = TypeVar("T")

#: What an application does to a session, and to which key or for which user.
Change: TypeAlias = tuple[str, str]
Span: TypeAlias = Literal["some minutes", "nearly to the end", "to the end"]

#: So many uncertainties at once are enough.
_UNCERTAINTY: Final = 4

_OPERATIONS: Final[tuple[Operation, ...]] = (
    "*", "create", "load", "update", "touch", "move", "delete", "find_subject", "delete_subject", "purge"
)  # fmt: skip

_browsers = st.integers(0, 1)
_USERS: Final = ("alice", "carol")
_users = st.sampled_from(_USERS)
_nobody_or_user = st.sampled_from(("alice", "carol", None))
_spans: st.SearchStrategy[Span] = st.sampled_from(("some minutes", "nearly to the end", "to the end"))
_perhaps = st.none() | _spans
_few = st.integers(0, 3)
_keys = st.sampled_from(("a", "b", "c"))
_changes = st.one_of(
    st.tuples(st.just("assign"), _keys),
    st.tuples(st.sampled_from(("append", "remove")), _keys),
    st.tuples(st.just("touch"), st.just("")),
    st.tuples(st.just("renew"), st.just("")),
    st.tuples(st.just("sign out"), st.just("")),
    st.tuples(st.just("clear"), st.just("")),
    st.tuples(st.just("sign in"), _users),
)


class SessionMachine(RuleBasedStateMachine):
    """Any :class:`~sojourn.store.Store`, played through the manager."""

    #: Who decides that a session has expired: the ``clock`` given to the store, or the store's own
    #: ``server``.  With a server no time passes, as that one's cannot be made to; the wall clock still steps.
    expiry: ClassVar[Literal["clock", "server"]] = "clock"

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.store = self._make_faulty_store()
        self.world = World(self.store, self.clock)
        #: The cookie of each browser and the request it is in the middle of.
        self.cookies: list[str | None] = [None, None]
        self.requests: list[Request | None] = [None, None]
        self._numbers = itertools.count(1)

    def make_store(self, clock: FakeClock) -> Any:
        """Return an empty store that goes by ``clock``.  The machine closes it."""
        raise NotImplementedError

    def set_wall_clock(self, seconds: int) -> None:
        """Set the wall clock forward or (negative ``seconds``) back; no time passes."""
        self.clock.step(seconds)

    def _make_faulty_store(self) -> Any:
        store: Store = self.make_store(self.clock)
        return FaultyStore(store)

    def _run(self, steps: Steps[T]) -> T:
        return run(steps)

    def carry_out(self, steps: Steps[T]) -> T | None:
        """Return what ``steps`` return; ``None`` if the store did not answer."""
        try:
            return self._run(in_no_time(steps))
        except StoreUnavailableError:
            return None

    def teardown(self) -> None:
        """List everybody's sessions and open every token there ever was, then close the store."""
        self.store.heal()
        try:
            for user in _USERS if self._indexed() else ():
                self.carry_out(self.world.sessions_of(user))
            self.carry_out(self.world.check())
        finally:
            self._close()

    def _close(self) -> None:
        self.store.close()

    # Requests

    @initialize(users=st.tuples(_nobody_or_user, _nobody_or_user), same=st.booleans())
    def start(self, users: tuple[str | None, str | None], *, same: bool) -> None:
        """Give each browser a session, or both the same."""
        self.cookies = [self.carry_out(self.world.new_session(user=user, a=[])) for user in users]
        if same:
            self.cookies = [self.cookies[0]] * 2

    @rule(browser=_browsers, cookie=st.sampled_from(("its own", "the other's", "an old one")), number=_few)
    def begin(self, browser: int, cookie: str, number: int) -> None:
        """Let a request come; the one before, if any, is given up.  Thieves send old cookies."""
        tokens = list(self.world.expected.tokens)
        if cookie == "the other's":
            self.cookies[browser] = self.cookies[1 - browser]
        elif cookie == "an old one" and tokens:
            self.cookies[browser] = tokens[-1 - number % len(tokens)]
        self._begin(browser)

    @rule(browser=_browsers, change=_changes, commits=st.sampled_from((True, False)), later=_perhaps)
    def work(self, browser: int, change: Change, *, commits: bool, later: Span | None) -> None:
        """Go on with a request, perhaps later, or begin one; after a commit the request goes on."""
        self._pass(later)
        self._change(browser, change)
        if commits:
            self._commit(browser)

    @rule(browser=_browsers, one=_changes, other=_changes, lasting=_perhaps)
    def meet(self, browser: int, one: Change, other: Change, lasting: Span | None) -> None:
        """Let two requests come at once with the same cookie; both change something and, later, commit."""
        self.cookies = [self.cookies[browser]] * 2
        for number in (0, 1):
            self._begin(number)
        for number, change in enumerate((one, other)):
            self._change(number, change)
        self._pass(lasting)
        for number in (0, 1):
            self._commit(number)

    def _begin(self, browser: int) -> None:
        cookie = self.cookies[browser]
        if cookie is None:
            self.requests[browser] = self.world.new_request()
        else:
            self.requests[browser] = self.carry_out(self.world.open(cookie))

    def _change(self, browser: int, change: Change) -> None:  # noqa: C901 - a case for each change
        if self.requests[browser] is None:
            self._begin(browser)
        request = self.requests[browser]
        if request is None:
            return  # no answer came
        what, which = change
        match what:
            case "assign":
                request[which] = [next(self._numbers)]
            case "append" if which in request.values:
                request.append(which, next(self._numbers))
            case "remove" if which in request.values:
                del request[which]
            case "clear":
                request.clear()
            case "renew" if request.found:
                request.renew()
            case "sign in":
                request.sign_in(which)
            case "sign out":
                request.end()
            case "touch":
                request.touches = True
            case _:
                pass  # there is nothing to do it to

    def _commit(self, browser: int) -> None:
        request = self.requests[browser]
        if request is None:
            return
        acknowledged = self.carry_out(request.commit(saves=request.touches))
        if acknowledged:
            self.cookies[browser] = request.token
        if acknowledged is False or (acknowledged and request.token is None):
            self.requests[browser] = None

    # From outside

    @rule(browser=_browsers, what=st.sampled_from(("exists", "delete", "purge")), later=_perhaps)
    def manage(self, browser: int, what: str, later: Span | None) -> None:
        """Do something without opening a session."""
        self._pass(later)
        cookie = self.cookies[browser]
        if what == "purge":
            self.carry_out(self.world.purge())
        elif cookie is not None:
            self.carry_out(self.world.exists(cookie) if what == "exists" else self.world.delete(cookie))

    @precondition(lambda self: self._indexed())
    @rule(number=st.none() | _few, later=_perhaps)
    def list_sessions(self, number: int | None, later: Span | None) -> None:
        """Look where everybody is signed in, and perhaps end one of these sessions."""
        self._pass(later)
        lists = [self.carry_out(self.world.sessions_of(user)) for user in _USERS]
        keys = [key for found in lists if found is not None for key in found]
        if keys and number is not None:
            self.carry_out(self.world.revoke(keys[number % len(keys)]))

    @precondition(lambda self: self._indexed())
    @rule(user=_users, browser=st.none() | _browsers, later=_perhaps)
    def revoke(self, user: str, browser: int | None, later: Span | None) -> None:
        """Sign ``user`` out everywhere, or everywhere else."""
        self._pass(later)
        request = None if browser is None else self.requests[browser]
        if request is not None and request.user is not None:
            user = request.user
        self.carry_out(self.world.revoke_subject(user, keep=request))

    # Time and faults

    def _pass(self, span: Span | None) -> None:
        """Let time pass, perhaps until the next session is just not dead, or just so."""
        if span is None or self.expiry == "server":
            return
        deadlines = [deadline for deadline in self.world.expected.deadlines if deadline > self.clock.now()]
        if span == "some minutes" or not deadlines:
            self.clock.advance(IDLE_TIMEOUT // 3)
        else:
            self.clock.advance_to(deadlines[0] - (span == "nearly to the end"))

    @rule(seconds=st.sampled_from((-30, 30, -30, 30, -3600)), looks=st.booleans())
    def step(self, seconds: int, *, looks: bool) -> None:
        """Set the wall clock, perhaps after everybody has looked whether their session lives."""
        for cookie in self.cookies:
            if looks and cookie is not None:
                self.carry_out(self.world.exists(cookie))
        if seconds < 0:
            self.world.expected.steps_back()
        self.set_wall_clock(seconds)

    @precondition(lambda self: self.world.expected.uncertainty < _UNCERTAINTY)
    @rule(operation=st.sampled_from(_OPERATIONS), after=st.booleans(), skip=st.integers(0, 1))
    def fail(self, operation: Operation, *, after: bool, skip: int) -> None:
        """Let one of the next operations fail, not applied or with its answer lost."""
        self.store.heal()
        self.store.plan(Fail(operation, after=after, skip=skip))

    def _indexed(self) -> bool:
        return isinstance(self.store, SubjectIndex | AsyncSubjectIndex)


class AsyncSessionMachine(SessionMachine):
    """:class:`SessionMachine` for any :class:`~sojourn.store.AsyncStore`; ``make_store`` is a coroutine."""

    async def make_store(self, clock: FakeClock) -> AsyncStore:
        """See :meth:`SessionMachine.make_store`."""
        raise NotImplementedError

    def _make_faulty_store(self) -> Any:
        self._runner = asyncio.Runner()
        return AsyncFaultyStore(self._runner.run(self.make_store(self.clock)))

    def _run(self, steps: Steps[T]) -> T:
        return self._runner.run(run_async(steps))

    def _close(self) -> None:
        try:
            self._runner.run(self.store.close())
        finally:
            self._runner.close()
