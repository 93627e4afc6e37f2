"""Valkey, or Redis where that is installed, for tests: one server, a Cluster, a primary with Sentinels."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from functools import partial
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

from redis.connection import Connection
from redis.exceptions import RedisError, ResponseError

from tests.servers.process import HOST, PATIENCE, Removable, Server, accepts, free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["PROGRAMS", "Cluster", "Sentinels", "Valkey"]

PROGRAMS = ("valkey-server", "redis-server")

#: A node of a Cluster listens on a second port this much above, for the other nodes.
_BUS = 10_000


class Valkey(Server):
    """A server on a loopback port whose files are in ``folder``."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port() if port is None else port
        #: What a client connects to.
        self.address = f"{HOST}:{self.port}"
        program = next((name for name in PROGRAMS if shutil.which(name)), PROGRAMS[0])
        arguments = [program, "--port", str(self.port), "--bind", HOST, "--dir", str(folder)]
        if "--save" not in options:
            arguments += ["--save", ""]
        super().__init__([*arguments, *options], is_ready=partial(accepts, (HOST, self.port)))

    def ask(self, *words: bytes | str | int) -> Any:
        """Return the reply to a command; a refusal is returned, not raised."""
        connection = Connection(host=HOST, port=self.port, protocol=2, socket_timeout=PATIENCE)
        try:
            connection.send_command(*words)
            return connection.read_response()
        except ResponseError as error:
            return error
        finally:
            connection.disconnect()

    def keys(self) -> list[str]:
        """Return every key."""
        return [key.decode() for key in self.ask("KEYS", "*")]

    def info(self, section: str) -> dict[str, str]:
        """Return what ``INFO`` tells."""
        lines = self.ask("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def replicate(self) -> None:
        """Wait until the replica of this primary has all that was written until now."""
        written = int(self.info("replication")["master_repl_offset"])

        def has_it() -> bool:
            told = dict(part.split("=") for part in self.info("replication")["slave0"].split(","))
            return int(told["offset"]) >= written

        wait_until(has_it, "the replica does not follow")


class Cluster(Removable):
    """Three primaries with a replica each."""

    primaries = 3

    def __init__(self, folder: Path) -> None:
        self.nodes = [
            Valkey(
                folder / f"node{number}",
                *("--cluster-enabled", "yes", "--cluster-node-timeout", "2000"),
                *("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"),
                *("--cluster-require-full-coverage", "no", "--repl-ping-replica-period", "1"),
                port=_port_with_bus(),
            )
            for number in range(2 * self.primaries)
        ]

    @property
    def addresses(self) -> list[str]:
        return [node.address for node in self.nodes]

    def start(self) -> None:
        """Start all nodes and join them."""
        for node in self.nodes:
            node.start()
        bounds = [16_384 * part // self.primaries for part in range(self.primaries + 1)]
        for epoch, (node, (first, end)) in enumerate(zip(self.nodes, pairwise(bounds), strict=False), 1):
            _ok(node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch))
            _ok(node.ask("CLUSTER", "ADDSLOTS", *range(first, end)))
        for node, other in combinations(self.nodes, 2):
            _ok(node.ask("CLUSTER", "MEET", HOST, other.port))
        wait_until(lambda: all(self._knows_all(node) for node in self.nodes), "the nodes do not meet")
        for number, replica in enumerate(self.nodes[self.primaries :]):
            primary = self.nodes[number].ask("CLUSTER", "MYID")
            wait_until(
                partial(_is_ok, replica, "CLUSTER", "REPLICATE", primary),
                "a replica does not know its primary",
            )
        wait_until(self.is_whole, "the replicas do not follow")
        self._take_for_dead_after(PATIENCE)  # only now: they would wait as long before they begin

    def is_to_lose(self, node: Valkey) -> None:
        """Prepare for the loss of a primary: its replica has everything, and will take over soon."""
        node.replicate()
        self._take_for_dead_after(1.0)

    def _take_for_dead_after(self, seconds: float) -> None:
        for node in self.nodes:
            _ok(node.ask("CONFIG", "SET", "cluster-node-timeout", round(seconds * 1000)))

    def _knows_all(self, node: Valkey) -> bool:
        reply: bytes = node.ask("CLUSTER", "NODES")
        lines = reply.decode().splitlines()
        return len(lines) == len(self.nodes) and not any("handshake" in line for line in lines)

    def is_whole(self) -> bool:
        """Whether every node knows all slots and each primary has its replica in step."""
        for node in self.nodes:
            if b"cluster_state:ok" not in node.ask("CLUSTER", "INFO"):
                return False
            slots = node.ask("CLUSTER", "SLOTS")
            if not isinstance(slots, list) or len(slots) != self.primaries:
                return False
            if any(isinstance(entry, list) and len(entry) < 4 for entry in slots):
                return False
        links = [
            node.info("replication")["master_link_status"]
            for node in self.nodes
            if node.info("replication")["role"] == "slave"
        ]
        return links == ["up"] * self.primaries

    def primary_of(self, key: bytes) -> Valkey:
        """Return the node in charge of ``key``, as the first node that answers sees it."""
        slot = self._any().ask("CLUSTER", "KEYSLOT", key)
        for first, last, (_, port, *_), *_ in self._any().ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError("nobody is in charge")

    def _any(self) -> Valkey:
        return next(node for node in self.nodes if accepts((HOST, node.port)))

    def remove(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.kill()


class Sentinels(Removable):
    """A primary, its replica and three Sentinels that watch them."""

    name = "sessions"

    def __init__(self, folder: Path) -> None:
        self.servers = [
            Valkey(folder / f"server{number}", "--repl-diskless-sync-delay", "0") for number in range(2)
        ]
        self.sentinels: list[Valkey] = []
        for number in range(3):
            home = folder / f"sentinel{number}"
            home.mkdir(parents=True)
            settings = home / "sentinel.conf"
            settings.write_text(
                f"sentinel monitor {self.name} {HOST} {self.servers[0].port} 2\n"
                f"sentinel down-after-milliseconds {self.name} {round(PATIENCE * 1000)}\n"
                f"sentinel failover-timeout {self.name} 3000\n"
            )
            sentinel = Valkey(home)
            sentinel._arguments = [
                *(sentinel._arguments[0], str(settings), "--sentinel"),
                *("--port", str(sentinel.port), "--bind", HOST, "--dir", str(home)),
            ]
            self.sentinels.append(sentinel)

    @property
    def addresses(self) -> list[str]:
        """Where the Sentinels listen."""
        return [sentinel.address for sentinel in self.sentinels]

    def start(self) -> None:
        """Start all and wait until the Sentinels know each other and the replica."""
        for server in self.servers:
            server.start()
        _ok(self.servers[1].ask("REPLICAOF", HOST, self.servers[0].port))
        for sentinel in self.sentinels:
            sentinel.start()
        wait_until(lambda: all(self._sees_all(one) for one in self.sentinels), "the Sentinels do not meet")

    def is_to_lose(self, node: Valkey) -> None:
        """Prepare for the loss of the primary: its replica has everything, and will take over soon."""
        node.replicate()
        for sentinel in self.sentinels:
            _ok(sentinel.ask("SENTINEL", "SET", self.name, "down-after-milliseconds", 1000))

    def _sees_all(self, sentinel: Valkey) -> bool:
        reply = sentinel.ask("SENTINEL", "MASTER", self.name)
        told = dict(zip(reply[::2], reply[1::2], strict=True))
        in_step = self.servers[1].info("replication")["master_link_status"] == "up"
        return in_step and told[b"num-other-sentinels"] == b"2" and told[b"num-slaves"] == b"1"

    def remove(self) -> None:
        """End all."""
        for server in (*self.sentinels, *self.servers):
            server.kill()


def wait_until(is_so: Callable[[], bool], complaint: str) -> None:
    """Wait until a server's own clock has brought something about."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(RedisError, OSError, AssertionError):
            if is_so():
                return
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


def _port_with_bus() -> int:
    while True:
        port = free_port()
        if port < 32_000 - _BUS and not accepts((HOST, port + _BUS)):
            return port


def _ok(reply: object) -> None:
    assert reply == b"OK", reply


def _is_ok(node: Valkey, *words: bytes | str | int) -> bool:
    return not isinstance(node.ask(*words), ResponseError)
