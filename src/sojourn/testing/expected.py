"""What sessions must be, worked out from what was asked and answered: the one model that is checked against.

A session is kept here as the *ways it may be* (:class:`~sojourn.testing.model.Way`).  Each answer leaves
those ways that explain it; one that none explains is a :class:`~sojourn.testing.model.Violation`.  While
every operation is answered there is one way only.  An operation whose answer was lost leaves two, done and
not done, until a later answer tells.

The model knows no store, no versions and no sealing, and shares no code with the manager.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sojourn.testing.model import USER, USER_HASH, Violation, Way
from sojourn.token import key_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from sojourn.clock import Clock
    from sojourn.testing.model import Intent

__all__ = ["Expected"]

_CLOCK_SKEW: Final = 60_000


@dataclass(slots=True)
class Life:
    """One session, through all its tokens."""

    ways: list[Way | None]


class Expected:
    """All sessions, as they must be.  Told of each operation right after it was answered."""

    def __init__(self, clock: Clock, *, follows: bool) -> None:
        self._clock = clock
        #: Whether the store can tell where a renewed session went.
        self._follows = follows
        self.lives: list[Life] = []
        self._by_token: dict[str, Life] = {}
        self._tokens: dict[str, str] = {}

    @property
    def tokens(self) -> Collection[str]:
        """Every token that was ever handed out, in order."""
        return self._by_token.keys()

    @property
    def uncertainty(self) -> int:
        """In how many ways more than one sessions may be."""
        return sum(len(life.ways) - 1 for life in self.lives)

    @property
    def deadlines(self) -> list[int]:
        """When sessions die, unless somebody uses them."""
        return sorted({way.deadline for life in self.lives for way in life.ways if way is not None})

    # The clock

    def steps_back(self) -> None:
        """Take note that the wall clock is about to be set back.

        What was dead by its deadline then lives again, unless somebody has asked for it or removed it.
        """
        for life in self.lives:
            if any(way is not None and way.deadline <= self._now for way in life.ways):
                _settle(life, [*life.ways, None])

    # Reading

    def opened(self, token: str, values: Mapping[str, Any] | None) -> None:
        """Take note that ``token`` opened a session with ``values``, or none."""
        if values is not None and values.get(USER_HASH) != values.get(USER):
            raise Violation("mixed", "a session holds values of two users")
        self._saw(token, lambda way: self._seen(way, token) == values, values)

    def existed(self, token: str, answer: bool) -> None:  # noqa: FBT001 - it is what exists() answered
        """Take note that ``token`` was said to name a session, or none."""
        self._saw(token, lambda way: (self._seen(way, token) is not None) == answer, {} if answer else None)

    def _saw(
        self, token: str, explains: Callable[[Way | None], bool], values: Mapping[str, Any] | None
    ) -> None:
        life = self._by_token.get(token)
        if life is None:
            if values is not None:
                raise Violation("revived", "a token that was never handed out names a session")
            return
        self._expire(life, token)
        before = life.ways
        ways = [way for way in before if explains(way)]
        if not ways:
            raise self._unexplained(before, token, values)
        _settle(life, ways)

    def _unexplained(
        self, ways: Sequence[Way | None], token: str, values: Mapping[str, Any] | None
    ) -> Violation:
        seen = [self._seen(way, token) for way in ways]
        if values is None:
            return Violation("lost", "a living session was not found")
        if all(expected is None for expected in seen):
            if any(way is not None and way.lives(self._now) for way in ways):
                return Violation("revived", "a token lives although its session was renewed")
            return Violation("revived", "a session lives although it has ended")
        expected = next(expected for expected in seen if expected is not None)
        wrong = sorted(k for k in {*expected, *values} if expected.get(k) != values.get(k))
        return Violation("lost", f"what was acknowledged is not what is there: {', '.join(wrong)}")

    def _seen(self, way: Way | None, token: str) -> Mapping[str, Any] | None:
        if way is None or not way.is_under(token, self._now) or self._hidden(way):
            return None
        return way.values

    def _hidden(self, way: Way) -> bool:
        """Whether it begins so far in the future that it is no session for now."""
        return way.created_at > self._now + _CLOCK_SKEW

    # Writing

    def committed(self, intent: Intent, token: str | None, values: Mapping[str, Any]) -> None:
        """Take note that a commit was acknowledged; ``token`` and ``values`` are the session's now."""
        life = None if intent.token is None else self._by_token[intent.token]
        if intent.ends:
            if life is not None:
                _settle(life, [intent.ended(way, follows=self._follows) for way in life.ways])
        elif life is None:
            if token is not None:
                self._begin(token, [intent.fresh(token)], values)
            elif intent.values or intent.saves:
                raise Violation("lost", "a new session was not stored")
        elif intent.writes:
            self._replaced(life, intent, str(token), values)

    def _replaced(self, life: Life, intent: Intent, token: str, values: Mapping[str, Any]) -> None:
        if (token == intent.token) == intent.renews:
            raise Violation("revived", "a renewal kept the token, or a save changed it")
        self._expire(life, str(intent.token))
        done, left = self._apply(life, intent, token)
        if not intent.renews or USER in intent.base:
            if not done:
                raise Violation("revived", "a commit was acknowledged although its session was not there")
            left, lives = [], life
        elif not left:
            lives = life
        else:
            # An anonymous session that is gone may be renewed: a new one begins.
            done = [*done, intent.fresh(token)]
            _settle(life, [*left, None] if len(done) > 1 else left)
            lives = Life([])
            self.lives.append(lives)
        self._keep(lives, token, done, values if intent.changes or intent.renews else None)

    def _apply(self, life: Life, intent: Intent, token: str | None) -> tuple[list[Way], list[Way | None]]:
        """Return the ways in which ``intent`` succeeds, with what becomes of them, and the others."""
        done: list[Way] = []
        left: list[Way | None] = []
        for way in life.ways:
            if way is not None and way.is_under(str(intent.token), self._now) and not intent.clashes(way):
                done.append(intent.done_to(way, token))
            else:
                left.append(way)
        return done, left

    def _begin(self, token: str, ways: list[Way], values: Mapping[str, Any]) -> None:
        life = Life([])
        self.lives.append(life)
        self._keep(life, token, ways, values)

    def _keep(self, life: Life, token: str, ways: Sequence[Way], values: Mapping[str, Any] | None) -> None:
        kept = [way for way in ways if values is None or way.values == values]
        if not kept:
            raise self._unexplained(ways, token, values)
        _settle(life, kept)
        self._by_token[token] = life
        self._tokens[key_for(token, namespace="")] = token

    def was_gone(self, intent: Intent) -> None:
        """Take note that a commit was refused because the session was gone."""
        token = str(intent.token)
        life = self._by_token[token]
        self._expire(life, token)
        ways = [
            way for way in life.ways if way is None or not way.is_under(token, self._now) or self._hidden(way)
        ]
        if not ways:
            raise Violation("lost", "a commit was refused as if the session had ended, but it lives")
        _settle(life, ways)

    def was_refused(self, intent: Intent, *, in_time: bool) -> None:
        """Take note that a commit gave up: of two users, or (unless ``in_time``) after too long."""
        life = self._by_token[str(intent.token)]
        ways = [way for way in life.ways if not in_time or (way is not None and intent.clashes(way))]
        if not ways:
            raise Violation("wrong", "a commit gave up although nobody gave the session to another user")
        _settle(life, ways)

    def may_have_committed(self, intent: Intent) -> None:
        """Take note that a commit's answer was lost."""
        if intent.token is None:
            lost = intent.fresh(None) if intent.values or intent.saves else None
        else:
            life = self._by_token[intent.token]
            done: list[Way | None]
            if intent.ends:
                done = [intent.ended(way, follows=self._follows) for way in life.ways]
                left: list[Way | None] = []
            else:
                succeeded, left = self._apply(life, intent, None if intent.renews else intent.token)
                done = [*succeeded]
            lost = intent.fresh(None) if intent.renews and left and USER not in intent.base else None
            _settle(life, [*life.ways, *done])
        if lost is not None and lost.subject is not None:  # of an anonymous one nobody will ever know
            self.lives.append(Life([lost, None]))

    # Ending

    def deleted(self, token: str, lived: bool) -> None:  # noqa: FBT001 - it is what delete() answered
        """Take note that ``token`` was ended and that its session ``lived`` until then."""
        self.existed_in_store(token, lived)
        life = self._by_token.get(token)
        if life is not None:
            _settle(life, [None if way is None or way.token == token else way for way in life.ways])

    def existed_in_store(self, token: str, answer: bool) -> None:  # noqa: FBT001 - likewise
        """Take note that the store had a living session for ``token``, or none."""
        self._saw(
            token,
            lambda way: (way is not None and way.is_under(token, self._now)) == answer,
            {} if answer else None,
        )

    def may_have_deleted(self, token: str) -> None:
        """Take note that the answer to ending ``token`` was lost."""
        life = self._by_token.get(token)
        if life is not None:
            ended = [None if way is None or way.token == token else way for way in life.ways]
            _settle(life, [*life.ways, *ended])

    def revoked(self, user: str, ended: int, *, except_token: str | None = None) -> None:
        """Take note that the sessions of ``user`` but one were ended, and how many there were."""
        surely = possibly = 0
        for life in self.lives:
            hit = [self._is_of(way, user, except_token) for way in life.ways]
            surely += all(hit)
            possibly += any(hit)
            _settle(life, [None if of else way for way, of in zip(life.ways, hit, strict=True)])
        if not surely <= ended <= possibly:
            raise Violation("wrong", f"{ended} sessions were said to be ended, not {surely} to {possibly}")

    def may_have_revoked(self, user: str, *, except_token: str | None = None) -> None:
        """Take note that the answer to a revocation was lost."""
        for life in self.lives:
            if any(self._is_of(way, user, except_token) for way in life.ways):
                _settle(life, [*life.ways, None])

    def listed(self, user: str, keys: Iterable[str]) -> None:
        """Take note which sessions ``user`` was said to have."""
        found = {self._tokens.get(key) for key in keys}
        for life in self.lives:
            ways = [
                way
                for way in life.ways
                if way is None or way.token is None or self._is_of(way, user) == (way.token in found)
            ]
            if not ways:
                raise Violation("wrong", "the list of a user's sessions is not the sessions of the user")
            _settle(life, ways)
        known = {
            way.token
            for life in self.lives
            for way in life.ways
            if way is not None and self._is_of(way, user)
        }
        if not found <= known:
            raise Violation("revived", "the list of a user's sessions shows one that is not there")

    def reign_under(self, token: str | None) -> int:
        """Return whose time it is in the session just opened or saved under ``token``."""
        life = None if token is None else self._by_token.get(token)
        ways = () if life is None else life.ways
        return next((way.reign for way in ways if way is not None and way.token == token), 0)

    def known(self, keys: Iterable[str]) -> list[str]:
        """Return those of ``keys`` whose tokens were handed out, in that order."""
        listed = set(keys)
        return [key for key in self._tokens if key in listed]

    def token_of(self, key: str) -> str:
        """Return the token whose session is stored under ``key``, which is :meth:`known`."""
        return self._tokens[key]

    def _is_of(self, way: Way | None, user: str, except_token: str | None = None) -> bool:
        if way is None or way.subject != user or not way.lives(self._now):
            return False
        return except_token is None or way.token != except_token

    def _expire(self, life: Life, token: str) -> None:
        """Take note that the store was asked for ``token``: what is past its deadline is dead for good."""
        _settle(life, [None if self._is_over(way, token) else way for way in life.ways])

    def _is_over(self, way: Way | None, token: str) -> bool:
        return way is not None and way.token == token and not way.lives(self._now)

    @property
    def _now(self) -> int:
        return self._clock.now()


def _settle(life: Life, ways: Sequence[Way | None]) -> None:
    """Keep ``ways``, each once."""
    kept: list[Way | None] = []
    for way in ways:
        if way not in kept:
            kept.append(way)
    life.ways = kept
