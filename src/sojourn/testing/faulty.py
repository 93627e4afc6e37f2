"""A store that counts what it is asked and fails when told to.

Wrapped around any store, it records every operation; with a plan it also fails, waits or lets something
else happen, just before an operation or just after it::

    store = FaultyStore(MemoryStore())
    ...
    assert store.counts == {"load": 1, "update": 1}      # two round trips

    store.plan(Fail("update"))                           # not applied, StoreUnavailableError
    store.plan(Fail("update", after=True))               # applied, but the answer is lost
    store.plan(Fail("*", times=None))                    # an outage, until store.heal()
    store.plan(Fail("*", skip=3))                        # the fourth operation from now fails
    store.plan(Delay("load", seconds=0.2))
    store.plan(Meanwhile("update", lambda: store.inner.delete(key)))

The wrapper has the capabilities the wrapped store has, no more and no fewer.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from sojourn.errors import StoreError, StoreUnavailableError
from sojourn.steps import Pause, run, run_async
from sojourn.store import Purge, Scan, SubjectIndex

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

    from sojourn.record import Record, Version
    from sojourn.steps import Steps
    from sojourn.store import AsyncStore, Store

__all__ = ["AsyncFaultyStore", "Call", "Delay", "Fail", "Fault", "FaultyStore", "Meanwhile", "Operation"]

T = TypeVar("T")

#: The name of a store operation, or ``"*"`` for any of them.
Operation = Literal[
    "*",
    "create",
    "load",
    "update",
    "touch",
    "move",
    "delete",
    "find_subject",
    "delete_subject",
    "purge",
    "scan",
]


@dataclass(frozen=True, slots=True)
class Call:
    """An operation the store was asked for.  ``repr`` shows no arguments: they hold keys."""

    name: str
    args: tuple[Any, ...] = field(repr=False)
    kwargs: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens around an operation; see :class:`Fail`, :class:`Delay`, :class:`Meanwhile`.

    It happens just before the operation, or just ``after`` it was applied: to the first ``times`` matching
    calls (``None``: all of them) once ``skip`` of them have gone through unharmed.
    """

    operation: Operation
    after: bool = field(default=False, kw_only=True)
    times: int | None = field(default=1, kw_only=True)
    skip: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        """Raise ``ValueError`` on an unknown operation: a plan with a typing error would test nothing."""
        if self.operation not in get_args(Operation):
            message = f"no such operation: {self.operation!r}; known are {', '.join(get_args(Operation))}"
            raise ValueError(message)

    def strike(self) -> Steps[None]:
        """Do what this fault does, as steps."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Fail(Fault):
    """The operation raises ``error``: not applied, or (``after=True``) applied with its answer lost."""

    error: type[StoreError] = field(default=StoreUnavailableError, kw_only=True)

    def strike(self) -> Steps[None]:
        """Raise the error."""
        applied = "applied, its answer lost" if self.after else "not applied"
        message = f"planned fault: {self.operation} {applied}"
        yield from ()
        raise self.error(message)


@dataclass(frozen=True, slots=True)
class Delay(Fault):
    """The operation takes ``seconds`` longer."""

    seconds: float = field(kw_only=True)

    def strike(self) -> Steps[None]:
        """Wait."""
        yield Pause(self.seconds)


@dataclass(frozen=True, slots=True)
class Meanwhile(Fault):
    """Somebody else does something at that moment: ``do`` is called (awaited by :class:`AsyncFaultyStore`).

    With ``threading.Barrier.wait`` it makes threads meet at the operation.
    """

    do: Callable[[], object] | Callable[[], Awaitable[object]]

    def strike(self) -> Steps[None]:
        """Do it."""
        yield (self.do,)


class _Planned:
    """A fault in the plan and how many matching calls it has seen."""

    __slots__ = ("fault", "seen")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0

    def is_due(self, name: str) -> bool:
        if self.fault.operation not in (name, "*"):
            return False
        self.seen += 1
        turn = self.seen - self.fault.skip
        return turn > 0 and (self.fault.times is None or turn <= self.fault.times)


class _Wrapper:
    """What :class:`FaultyStore` and :class:`AsyncFaultyStore` share: the record of calls and the plan."""

    def __init__(self, inner: Any, *faults: Fault) -> None:
        #: Every operation so far, in order.  ``close`` is none: it is passed on, not recorded, never failed.
        self.calls: list[Call] = []
        #: The wrapped store: what is asked of it directly neither counts nor fails.
        self.inner: Any = inner
        self._lock = threading.Lock()
        self._planned = [_Planned(fault) for fault in faults]

    def __new__(cls, inner: Any, *faults: Fault) -> Self:  # noqa: ARG004 - the plan is __init__'s
        """Make an instance of ``cls`` with exactly the capabilities of ``inner``."""
        # A class of its own per set of capabilities: isinstance() asks the class which methods there are.
        mixins = (mixin for capability, mixin in _CAPABILITIES if isinstance(inner, capability))
        made: Any = type(cls.__name__, (cls, *mixins), {})
        store: Self = super().__new__(made)
        return store

    @property
    def counts(self) -> Counter[str]:
        """How often each operation was asked for, failed ones included."""
        with self._lock:
            return Counter(call.name for call in self.calls)

    def forget(self) -> None:
        """Forget the calls so far: count from here."""
        with self._lock:
            self.calls.clear()

    def plan(self, *faults: Fault) -> None:
        """Add to the plan.  Where several faults meet one call they happen in the order planned."""
        with self._lock:
            self._planned += [_Planned(fault) for fault in faults]

    def heal(self) -> None:
        """Drop the plan: from here on nothing fails."""
        with self._lock:
            self._planned.clear()

    def _steps(self, name: str, method: Callable[..., Any], args: Any, kwargs: Any) -> Steps[Any]:
        with self._lock:
            self.calls.append(Call(name, args, kwargs))
            due = [planned.fault for planned in self._planned if planned.is_due(name)]
        for fault in due:
            if not fault.after:
                yield from fault.strike()
        answer = yield (functools.partial(method, *args, **kwargs),)
        for fault in due:
            if fault.after:
                yield from fault.strike()
        return answer

    def _ask(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class FaultyStore(_Wrapper):
    """A :class:`~sojourn.store.Store` around ``inner`` that counts and, by a plan, fails.  Thread-safe."""

    inner: Store

    def __init__(self, inner: Store, *faults: Fault) -> None:
        """Wrap ``inner``; ``faults`` is the first plan, none by default."""
        super().__init__(inner, *faults)

    def create(self, record: Record) -> Version:
        """See :meth:`Store.create <sojourn.store.Store.create>`."""
        return self._ask("create", self.inner.create, record)

    def load(self, key: str) -> Record | None:
        """See :meth:`Store.load <sojourn.store.Store.load>`."""
        return self._ask("load", self.inner.load, key)

    def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`Store.update <sojourn.store.Store.update>`."""
        return self._ask("update", self.inner.update, record, expected_version)

    def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`Store.touch <sojourn.store.Store.touch>`."""
        return self._ask("touch", self.inner.touch, key, idle_deadline)

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`Store.move <sojourn.store.Store.move>`."""
        return self._ask("move", self.inner.move, old_key, expected_version, record)

    def delete(self, key: str) -> bool:
        """See :meth:`Store.delete <sojourn.store.Store.delete>`."""
        return self._ask("delete", self.inner.delete, key)

    def close(self) -> None:
        """Close the wrapped store."""
        self.inner.close()

    def _ask(self, name: str, method: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        answer: T = run(self._steps(name, method, args, kwargs))
        return answer


class AsyncFaultyStore(_Wrapper):
    """:class:`FaultyStore` for asyncio."""

    inner: AsyncStore

    def __init__(self, inner: AsyncStore, *faults: Fault) -> None:
        """Wrap ``inner``; ``faults`` is the first plan, none by default."""
        super().__init__(inner, *faults)

    async def create(self, record: Record) -> Version:
        """See :meth:`Store.create <sojourn.store.Store.create>`."""
        return await self._ask("create", self.inner.create, record)

    async def load(self, key: str) -> Record | None:
        """See :meth:`Store.load <sojourn.store.Store.load>`."""
        return await self._ask("load", self.inner.load, key)

    async def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`Store.update <sojourn.store.Store.update>`."""
        return await self._ask("update", self.inner.update, record, expected_version)

    async def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`Store.touch <sojourn.store.Store.touch>`."""
        return await self._ask("touch", self.inner.touch, key, idle_deadline)

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`Store.move <sojourn.store.Store.move>`."""
        return await self._ask("move", self.inner.move, old_key, expected_version, record)

    async def delete(self, key: str) -> bool:
        """See :meth:`Store.delete <sojourn.store.Store.delete>`."""
        return await self._ask("delete", self.inner.delete, key)

    async def close(self) -> None:
        """Close the wrapped store."""
        await self.inner.close()

    async def _ask(self, name: str, method: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        answer: T = await run_async(self._steps(name, method, args, kwargs))
        return answer


# The capabilities, for both wrappers: what ``_ask`` returns is an answer in one and awaitable in the other.


class _SubjectIndexCalls(_Wrapper):
    def find_subject(self, subject: bytes) -> Any:
        return self._ask("find_subject", self.inner.find_subject, subject)

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> Any:
        return self._ask("delete_subject", self.inner.delete_subject, subject, except_key=except_key)


class _PurgeCalls(_Wrapper):
    def purge(self, *, limit: int = 100) -> Any:
        return self._ask("purge", self.inner.purge, limit=limit)


class _ScanCalls(_Wrapper):
    def scan(self, *, after: str = "", limit: int = 100) -> Any:
        return self._ask("scan", self.inner.scan, after=after, limit=limit)


_CAPABILITIES: tuple[tuple[type, type[_Wrapper]], ...] = (
    (SubjectIndex, _SubjectIndexCalls),
    (Purge, _PurgeCalls),
    (Scan, _ScanCalls),
)
