"""An eye on a cached store: which of its answers the origin's history allows.

The operations of a cached store are several steps long, so others see a save while it is still on its way.
What must hold is this: a load answers with a state the origin has had, and with none that was past when the
load began, where *past* means that an operation which says otherwise has been answered.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

from sojourn.errors import StoreError
from sojourn.stores.cached import CachedStore
from sojourn.stores.memory import MemoryStore
from sojourn.testing.expected import Expected
from sojourn.testing.model import Violation
from sojourn.testing.world import World
from sojourn.token import key_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sojourn.record import Record, Version
    from sojourn.steps import Steps
    from sojourn.testing import FakeClock
    from sojourn.testing.model import Intent

__all__ = ["OnlookingWorld", "RememberingStore", "Stopped", "WatchedStore"]

T = TypeVar("T")

#: What a session is to its users: its version and when it dies; ``None``: it is not.
State = tuple[int, int, int]


class RememberingStore(MemoryStore):
    """An origin that remembers every state of every session, in order."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.history: defaultdict[str, list[State | None]] = defaultdict(lambda: [None])

    def note(self, *keys: str) -> None:
        for key in keys:
            self.history[key].append(state_of(super().load(key)))

    def create(self, record: Record) -> Version:
        version = super().create(record)
        self.note(record.key)
        return version

    def update(self, record: Record, expected_version: Version) -> Version:
        version = super().update(record, expected_version)
        self.note(record.key)
        return version

    def touch(self, key: str, idle_deadline: int) -> bool:
        lived = super().touch(key, idle_deadline)
        self.note(key)
        return lived

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        version = super().move(old_key, expected_version, record)
        self.note(old_key, record.key)
        return version

    def delete(self, key: str) -> bool:
        lived = super().delete(key)
        self.note(key)
        return lived

    def load(self, key: str) -> Record | None:
        record = super().load(key)
        if record is None:  # perhaps it has just expired
            self.note(key)
        return record


def state_of(record: Record | None) -> State | None:
    return None if record is None else (*record.version, record.idle_deadline)


class Slots(defaultdict[int, Any]):
    """A slot for each key."""

    def __init__(self) -> None:
        super().__init__(lambda: ("", None))


class WatchedStore(CachedStore):
    """A cached store whose every answer is judged.  The steps of its operations can be taken one by one."""

    origin: RememberingStore

    def __init__(self, cache: Any, origin: RememberingStore, *, clock: FakeClock, **settings: Any) -> None:
        super().__init__(cache, origin, clock=clock, **settings)
        # By chance two keys share a slot, and a replayed schedule would then differ: here each has its own.
        self._copies._slots = Slots()  # type: ignore[assignment]
        #: By key, the number of the state before which everything is past.
        self.settled: defaultdict[str, int] = defaultdict(int)
        #: Answers that were judged.
        self.judged = 0

    def load_steps(self, key: str) -> Steps[Record | None]:
        settled = self.settled[key]
        record = yield from super().load_steps(key)
        self.judged += 1
        if state_of(record) not in self.origin.history[key][settled:]:
            was = state_of(record) in self.origin.history[key]
            raise Violation(
                "revived", "a load answers with what was past" if was else "… with what never was"
            )
        return record

    def create_steps(self, record: Record) -> Steps[Version]:
        return (yield from self._watched(super().create_steps(record), record.key))

    def update_steps(self, record: Record, expected_version: Version) -> Steps[Version]:
        return (yield from self._watched(super().update_steps(record, expected_version), record.key))

    def touch_steps(self, key: str, idle_deadline: int) -> Steps[bool]:
        return (yield from self._watched(super().touch_steps(key, idle_deadline), key))

    def move_steps(self, old_key: str, expected_version: Version, record: Record) -> Steps[Version]:
        steps = super().move_steps(old_key, expected_version, record)
        return (yield from self._watched(steps, old_key, record.key))

    def delete_steps(self, key: str) -> Steps[bool]:
        return (yield from self._watched(super().delete_steps(key), key))

    def _watched(self, steps: Steps[T], *keys: str) -> Steps[T]:
        """Take ``steps``; once they have been answered, all is settled up to where the origin was asked."""
        answer: Any = None
        error: Exception | None = None
        reached: dict[str, int] = {}
        try:
            while True:
                step: Any = steps.send(answer) if error is None else steps.throw(error)
                answer = error = None
                try:
                    answer = yield step
                except Exception as raised:  # noqa: BLE001 - the steps decide what becomes of it
                    error = raised
                if step[0].__self__ is self.origin:
                    reached = {key: len(self.origin.history[key]) - 1 for key in keys}
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            for key, number in reached.items():
                self.settled[key] = max(self.settled[key], number)


class Onlooker(Expected):
    """Takes note of tokens and judges nothing: it takes an operation to happen when it is answered."""

    def opened(self, token: str, values: Mapping[str, Any] | None) -> None:
        pass

    def existed(self, token: str, answer: bool) -> None:
        pass

    def committed(self, intent: Intent, token: str | None, values: Mapping[str, Any]) -> None:
        if token is not None:
            self._keep_token(token)

    def _keep_token(self, token: str) -> None:
        self._tokens[key_for(token, namespace="")] = token
        self._by_token.setdefault(token, _NO_LIFE)

    def was_gone(self, intent: Intent) -> None:
        pass

    def was_refused(self, intent: Intent, *, in_time: bool) -> None:
        pass

    def deleted(self, token: str, lived: bool) -> None:
        pass

    def revoked(self, user: str, ended: int, *, except_token: str | None = None) -> None:
        pass

    def listed(self, user: str, keys: Any) -> None:
        pass


_NO_LIFE: Any = type("NoLife", (), {"ways": ()})()


class OnlookingWorld(World):
    """A site on a :class:`WatchedStore`, which judges."""

    def __init__(self, store: Any, clock: FakeClock) -> None:
        super().__init__(store, clock)
        self.expected = Onlooker(clock, follows=True)


class Stopped:
    """A request that is stopped before one of its steps, and goes on when told."""

    def __init__(self, steps: Steps[Any], *, after: int) -> None:
        self._steps = steps
        self._step: Any = next(steps)
        for _ in range(after):
            self._take()

    def _take(self) -> None:
        call, *arguments = self._step
        try:
            answer = call(*arguments)
        except StoreError as error:
            self._step = self._steps.throw(error)
        else:
            self._step = self._steps.send(answer)

    def go_on(self) -> Any:
        """Take the rest; return what the request returns."""
        try:
            while True:
                self._take()
        except StopIteration as stop:
            return stop.value
