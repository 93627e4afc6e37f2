"""Which server to ask: the only one, the primary that Sentinels name, or the node of a key's slot.

As generators that yield a :class:`Request` and are sent its reply, or have its error thrown in.  A request
that was refused before anything was done (a redirection) or never left goes to the right server instead; one
that was sent and not answered is not sent again.

The Cluster's part is ours because redis-py's would not do: why is in ``docs/explanation/valkey.md``.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AskError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
)

from sojourn.errors import StoreUnavailableError
from sojourn.stores.valkey.faults import NotSentError, refused
from sojourn.stores.valkey.nodes import Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.stores.valkey.nodes import Place

__all__ = ["ClusterRoutes", "OnePlace", "Request", "Routes", "Steps", "Word"]

T = TypeVar("T")

Word: TypeAlias = bytes | str | int


class Request(NamedTuple):
    """A command, and where to send it."""

    place: Place
    words: tuple[Word, ...]
    #: Whether it goes where a slot is about to be (``ASK``).
    asking: bool = False
    #: The part of the operation's time it may take, so that another server can be asked after it.
    share: float = 1.0

    def __repr__(self) -> str:
        """Show the command alone."""
        return f"<Request {self.words[0]!r} of {len(self.words)} words>"


#: Yields requests, is sent replies.  What a server refuses is thrown in as redis-py's ``ResponseError``,
#: everything else as a ``StoreUnavailableError``.
Steps: TypeAlias = Generator[Request, Any, T]

#: How often a request is redirected before that is taken for a fault.
_REDIRECTIONS: Final = 5
_SHARE: Final = 0.25


class Routes(Protocol):
    """Knows where to send commands."""

    def ask(self, key: bytes, *words: Word) -> Steps[Any]:
        """Send a command about ``key`` to whoever is in charge of it; return the reply.

        Raises ``NoScriptError`` if it does not know the script, ``StoreUnavailableError`` for all else.
        """
        ...


class OnePlace:
    """One server for all keys."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def ask(self, key: bytes, *words: Word) -> Steps[Any]:
        """See :meth:`Routes.ask`."""
        del key
        try:
            return (yield Request(self._place, words))
        except NoScriptError:
            raise
        except ResponseError as error:
            raise refused(error, self._place) from error


class ClusterRoutes:
    """The node of a key's slot, as the Cluster says; asked again when a node is gone."""

    def __init__(self, seeds: Sequence[Node]) -> None:
        self._seeds = tuple(seeds)
        self._slots: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._is_known = False

    def ask(self, key: bytes, *words: Word) -> Steps[Any]:
        """See :meth:`Routes.ask`."""
        slot, asking = key_slot(key), False
        node = yield from self._in_charge(slot)
        for _ in range(_REDIRECTIONS):
            try:
                return (yield Request(node, words, asking))
            except NoScriptError:
                raise
            except MovedError as error:
                node, asking = _redirection(error, node), False
                self._slots[slot] = node
            except AskError as error:
                node, asking = _redirection(error, node), True
            except ResponseError as error:
                if isinstance(error, ReadOnlyError | MasterDownError):
                    self._is_known = False
                raise refused(error, node) from error
            except NotSentError:
                self._is_known = False
                successor = yield from self._in_charge(slot)
                if successor == node:  # nobody has taken over yet
                    raise
                node, asking = successor, False
            except StoreUnavailableError:
                self._is_known = False
                raise
        raise StoreUnavailableError(
            f"the Cluster sends us from node to node, lastly to {node}: look into its logs"
        )

    def _in_charge(self, slot: int) -> Steps[Node]:
        if not self._is_known:
            yield from self._learn()
        node = self._slots[slot]
        if node is None:
            self._is_known = False
            raise StoreUnavailableError("no node of the Cluster has this session's slot: repair the Cluster")
        return node

    def _learn(self) -> Steps[None]:
        """Ask whoever answers first which node has which slots."""
        failure: StoreUnavailableError | None = None
        known = dict.fromkeys(node for node in self._slots if node is not None)
        for node in dict.fromkeys((*known, *self._seeds)):
            try:
                reply = yield Request(node, ("CLUSTER", "SLOTS"), share=_SHARE)
            except StoreUnavailableError as error:
                failure = error
            except ResponseError as error:
                failure = refused(error, node)
                if "cluster support disabled" in str(error):
                    failure = StoreUnavailableError(
                        f"{node} is no part of a Cluster: leave cluster=True out (redis:// in an address)"
                    )
            else:
                self._slots = _slots(reply, node)
                self._is_known = True
                return
        raise failure or StoreUnavailableError("no node of the Cluster is known")


def _slots(reply: Any, asked: Node) -> list[Node | None]:
    """Return which node has which slot, from the reply to ``CLUSTER SLOTS``."""
    slots: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    if isinstance(reply, list):
        for entry in reply:
            match entry:
                case [int(first), int(last), [host, int(port), *_], *_]:
                    known = isinstance(host, bytes) and host not in (b"", b"?")
                    node = Node(None, host.decode() if known else asked.host, port)
                    slots[first : last + 1] = [node] * (last + 1 - first)
                case _:
                    pass
    return slots


def _redirection(error: AskError, asked: Node) -> Node:
    return Node(None, error.host or asked.host, error.port)
