"""Which server to ask: the only one, the primary that Sentinels name, or the node of a key's slot.

As generators that yield a :class:`Request` and are sent its replies.  A request that was refused before
anything was done (a redirection, a demoted primary) or never left goes to the right server instead; one that
was sent and not answered is not sent again.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from sojourn.errors import StoreUnavailableError
from sojourn.stores.valkey.faults import NotSentError, refused
from sojourn.stores.valkey.nodes import Node
from sojourn.stores.valkey.protocol import Refusal, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.stores.valkey.protocol import Reply

__all__ = ["ClusterRoutes", "OneServer", "Request", "Routes", "SentinelRoutes", "Steps", "slot_of"]

T = TypeVar("T")


class Request(NamedTuple):
    """Bytes to send to a server and how many replies to wait for."""

    node: Node
    data: bytes
    replies: int = 1
    #: Whether it is for a Sentinel, which has users of its own and no databases.
    is_for_sentinel: bool = False
    #: The part of the operation's time it may take, so that another server can be asked after it.
    share: float = 1.0


#: Yields requests, is sent lists of replies.
Steps: TypeAlias = Generator[Request, Any, T]

_SLOTS: Final = 16_384
#: How often a request is redirected before that is taken for a fault.
_REDIRECTIONS: Final = 5
_SHARE: Final = 0.25
#: Refusals that say that another server is in charge, or will be.
_NOT_IN_CHARGE: Final = ("READONLY", "MASTERDOWN", "LOADING")


class Routes(Protocol):
    """Knows where to send commands."""

    def ask(self, key: bytes, request: bytes) -> Steps[Reply]:
        """Send a command about ``key`` to whoever is in charge of it; return the reply.

        A refusal that is no matter of routing is a reply.
        """
        ...


class OneServer:
    """One server for all keys."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def ask(self, key: bytes, request: bytes) -> Steps[Reply]:
        """See :meth:`Routes.ask`."""
        del key
        [reply] = yield Request(self._node, request)
        return _checked(reply, self._node)


class SentinelRoutes:
    """The primary, as the Sentinels say; asked again when it is gone or has become a replica."""

    def __init__(self, sentinels: Sequence[Node], name: str) -> None:
        self._sentinels = tuple(sentinels)
        self._question = command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        self._name = name
        self._primary: Node | None = None

    def ask(self, key: bytes, request: bytes) -> Steps[Reply]:
        """See :meth:`Routes.ask`."""
        del key
        try:
            node, reply = yield from self._ask_primary(request)
        except NotSentError:
            node, reply = yield from self._ask_primary(request)
        if isinstance(reply, Refusal) and reply.code in _NOT_IN_CHARGE:
            self._primary = None
            node, reply = yield from self._ask_primary(request)
        return _checked(reply, node)

    def _ask_primary(self, request: bytes) -> Steps[tuple[Node, Reply]]:
        node = self._primary
        if node is None:
            node = self._primary = yield from self._find()
        try:
            [reply] = yield Request(node, request)
        except StoreUnavailableError:
            self._primary = None
            raise
        return node, reply

    def _find(self) -> Steps[Node]:
        failure: StoreUnavailableError | None = None
        for sentinel in self._sentinels:
            try:
                [reply] = yield Request(sentinel, self._question, is_for_sentinel=True, share=_SHARE)
            except StoreUnavailableError as error:
                failure = error
                continue
            match reply:
                case [bytes(host), bytes(port)]:
                    # Who answers is asked first next time.
                    self._sentinels = (sentinel, *(other for other in self._sentinels if other != sentinel))
                    return Node(None, host.decode(), int(port))
                case Refusal():
                    failure = refused(reply, sentinel)
                case _:
                    failure = StoreUnavailableError(
                        f"the Sentinel at {sentinel} knows no primary {self._name!r}; check the name"
                    )
        raise failure or StoreUnavailableError("no Sentinel is known")


class ClusterRoutes:
    """The node of a key's slot, as the Cluster says; asked again when a node is gone."""

    def __init__(self, seeds: Sequence[Node]) -> None:
        self._seeds = tuple(seeds)
        self._slots: list[Node | None] = [None] * _SLOTS
        self._is_known = False

    def ask(self, key: bytes, request: bytes) -> Steps[Reply]:
        """See :meth:`Routes.ask`."""
        slot, asking = slot_of(key), False
        node = yield from self._in_charge(slot)
        for _ in range(_REDIRECTIONS):
            data = command("ASKING") + request if asking else request
            try:
                reply: Reply = (yield Request(node, data, 1 + asking))[-1]
            except NotSentError:
                self._is_known = False
                successor = yield from self._in_charge(slot)
                if successor == node:  # nobody has taken over yet
                    raise
                node, asking = successor, False
                continue
            except StoreUnavailableError:
                self._is_known = False
                raise
            if not isinstance(reply, Refusal) or reply.code not in ("MOVED", "ASK"):
                self._is_known = not (isinstance(reply, Refusal) and reply.code in _NOT_IN_CHARGE)
                return _checked(reply, node)
            asking = reply.code == "ASK"
            node = _redirection(reply, node)
            if not asking:
                self._slots[slot] = node
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
                [reply] = yield Request(node, command("CLUSTER", "SLOTS"), share=_SHARE)
            except StoreUnavailableError as error:
                failure = error
                continue
            if isinstance(reply, Refusal):
                failure = refused(reply, node)
                if "cluster support disabled" in reply.text:
                    failure = StoreUnavailableError(
                        f"the server at {node} is no part of a Cluster: leave cluster=True out "
                        "(redis:// in an address)"
                    )
                continue
            self._slots = _slots(reply, node)
            self._is_known = True
            return
        raise failure or StoreUnavailableError("no node of the Cluster is known")


def slot_of(key: bytes) -> int:
    """Return the slot of a key.  Ours have no braces."""
    return crc_hqx(key, 0) % _SLOTS


def _slots(reply: Reply, asked: Node) -> list[Node | None]:
    slots: list[Node | None] = [None] * _SLOTS
    if isinstance(reply, list):
        for entry in reply:
            match entry:
                case [int(first), int(last), [host, int(port), *_], *_]:
                    name = (
                        host.decode() if isinstance(host, bytes) and host not in (b"", b"?") else asked.host
                    )
                    slots[first : last + 1] = [Node(None, name, port)] * (last + 1 - first)
                case _:
                    pass
    return slots


def _redirection(refusal: Refusal, asked: Node) -> Node:
    """Return the node in ``MOVED slot host:port`` and ``ASK slot host:port``."""
    host, _, port = refusal.text.split(" ")[2].rpartition(":")
    return Node(None, host or asked.host, int(port))


def _checked(reply: Reply, node: Node) -> Reply:
    """Return the reply, unless it refuses; ``NOSCRIPT`` is the caller's business."""
    if isinstance(reply, Refusal) and reply.code != "NOSCRIPT":
        raise refused(reply, node)
    return reply
