"""The Valkey store beyond the contract: scripts, budget, secrecy, the index, the wire."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import ssl
import threading
from contextlib import ExitStack, closing
from dataclasses import replace
from ipaddress import ip_address
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.crc import key_slot
from redis.exceptions import ResponseError

from sojourn import Keyring, Manager
from sojourn.clock import SystemClock
from sojourn.errors import ConfigurationError, ConflictError, SessionGoneError, StoreUnavailableError
from sojourn.stores.valkey import AsyncValkeyStore, ValkeyStore
from sojourn.testing.records import new_record
from tests.servers.proxy import Proxy
from tests.servers.valkey import Cluster, Sentinels, wait_until
from tests.stores.asking import refuses, saves_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sojourn.record import Record
    from sojourn.stores.valkey.routing import Request, Steps
    from tests.servers.valkey import Valkey

CLOCK = SystemClock()
SECRET = "a secret for tests: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: A busy machine is no fault.
PATIENCE = 60.0
DAY = 86_400_000


@pytest.fixture
def prefix() -> str:
    return f"{secrets.token_hex(8)}:"


@pytest.fixture
def store(valkey: Valkey, prefix: str) -> Iterator[ValkeyStore]:
    with closing(ValkeyStore(valkey.address, key_prefix=prefix, timeout=PATIENCE)) as made:
        yield made


@pytest.fixture
def clustered(valkey_cluster: Cluster, prefix: str) -> Iterator[ValkeyStore]:
    made = ValkeyStore(valkey_cluster.addresses, cluster=True, key_prefix=prefix, timeout=PATIENCE)
    with closing(made):
        yield made


@pytest.fixture(params=["store", "clustered"])
def either(request: pytest.FixtureRequest) -> ValkeyStore:
    made: ValkeyStore = request.getfixturevalue(request.param)
    return made


def created(store: ValkeyStore, **fields: Any) -> Record:
    record = new_record(CLOCK, **fields)
    return replace(record, version=store.create(record))


# scripts


def test_a_server_that_has_forgotten_the_scripts_is_sent_them_again(
    new_valkey: Callable[..., Valkey],
) -> None:
    server = new_valkey()
    with Proxy(server.port) as proxy, closing(ValkeyStore(proxy.address, timeout=PATIENCE)) as store:
        record = created(store, subject=b"hers")
        server.ask("SCRIPT", "FLUSH")
        before = proxy.round_trips
        version = store.update(record, record.version)
        assert proxy.round_trips == before + 2  # by digest, then by text
        store.update(record, version)
        assert proxy.round_trips == before + 3
        server.ask("SCRIPT", "FLUSH")
        with pytest.raises(ConflictError):
            store.update(record, record.version)
        assert [found.key for found in store.find_subject(b"hers")] == [record.key]


# budget


def test_each_operation_is_one_round_trip(valkey: Valkey, prefix: str) -> None:
    with Proxy(valkey.port) as proxy:
        store = ValkeyStore(proxy.address, key_prefix=prefix, timeout=PATIENCE)

        def all_once() -> list[int]:
            trips: list[int] = []

            def counted(call: Callable[[], Any]) -> Any:
                before = proxy.round_trips
                answer = call()
                trips.append(proxy.round_trips - before)
                return answer

            record = new_record(CLOCK)
            version = counted(lambda: store.create(record))
            counted(lambda: store.load(record.key))
            signed_in = replace(record, subject=b"hers")
            version = counted(lambda: store.update(signed_in, version))
            counted(lambda: store.touch(record.key, record.idle_deadline + 1))
            renewed = new_record(CLOCK, subject=b"hers")
            counted(lambda: store.move(record.key, version, renewed))
            counted(lambda: store.create(new_record(CLOCK, subject=b"hers")))
            counted(lambda: store.find_subject(b"hers"))
            counted(lambda: store.delete(renewed.key))
            counted(lambda: store.delete_subject(b"hers"))
            return trips

        all_once()  # the scripts are known now
        assert all_once() == [1] * 9
        store.close()


def trips_of(store: ValkeyStore, steps: Steps[Any], stop_before: int = 1 << 30) -> int:
    """Carry out ``steps``, or only so many of their requests, and return how many there were."""
    answer: Any = None
    for number in count():
        try:
            request = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
        except StopIteration:
            return number
        if number == stop_before:
            steps.close()
            return number
        try:
            answer = store._run(one(request))
        except ResponseError as error:
            answer = error
    raise AssertionError


def one(request: Request) -> Steps[Any]:
    return (yield request)


def test_on_a_cluster_only_a_move_and_what_is_new_to_the_index_takes_a_trip_more(
    clustered: ValkeyStore,
) -> None:
    def all_once() -> list[int]:
        record = created(clustered)
        signed_in = replace(record, subject=b"hers")
        trips = [
            trips_of(clustered, clustered._create(new_record(CLOCK))),
            trips_of(clustered, clustered._load(record.key)),
            trips_of(clustered, clustered._update(signed_in, record.version)),
        ]
        version = record.version.next()
        trips += [
            trips_of(clustered, clustered._update(signed_in, version)),
            trips_of(clustered, clustered._touch(record.key, record.idle_deadline + 1000)),
            trips_of(clustered, clustered._move(record.key, version.next(), new_record(CLOCK))),
            trips_of(clustered, clustered._delete(record.key)),
        ]
        return trips

    for _ in range(20):  # by then every node knows the scripts
        all_once()
    assert all_once() == [1, 1, 2, 1, 1, 2, 1]


# time to live


def test_L3_value_and_time_to_live_are_set_together_for_any_time(valkey: Valkey, store: ValkeyStore) -> None:
    for days in (1, 30, 31, 400):
        record = created(store, lives=days * 86_400)
        key = store._prefix + record.key.encode()
        assert valkey.ask("PEXPIRETIME", key) == record.idle_deadline
        limited = replace(record, absolute_deadline=record.idle_deadline - 5)
        store.update(limited, record.version)
        assert valkey.ask("PEXPIRETIME", key) == record.idle_deadline - 5
        assert store.touch(record.key, record.idle_deadline + DAY)
        assert valkey.ask("PEXPIRETIME", key) == record.idle_deadline - 5
        moved = new_record(CLOCK, lives=days * 86_400)
        store.move(record.key, record.version.next(), moved)
        assert valkey.ask("PEXPIRETIME", store._prefix + moved.key.encode()) == moved.idle_deadline


# index


def test_L6_the_index_forgets_what_has_expired_and_ends_with_its_last_session(
    valkey: Valkey, store: ValkeyStore
) -> None:
    index = store._index(b"hers")
    for _ in range(30):
        store.create(new_record(CLOCK, subject=b"hers", lives=0.2))
    last = created(store, subject=b"hers", lives=60)
    assert valkey.ask("PEXPIRETIME", index) == last.idle_deadline
    wait_until(
        lambda: len(store.find_subject(b"hers")) == 1 and valkey.ask("ZCARD", index) == 1,
        "expired sessions stay in the index",
    )
    store.delete(last.key)
    assert valkey.ask("EXISTS", index) == 0


def test_L6_the_index_drops_sessions_that_were_evicted(valkey: Valkey, store: ValkeyStore) -> None:
    record = created(store, subject=b"hers")
    kept = created(store, subject=b"hers")
    valkey.ask("DEL", store._prefix + record.key.encode())
    assert store.find_subject(b"hers") == [kept]
    assert valkey.ask("ZCARD", store._index(b"hers")) == 1
    assert store.delete_subject(b"hers") == 1


def test_L6_an_extended_session_stays_in_the_index_of_a_cluster(
    valkey_cluster: Cluster, clustered: ValkeyStore
) -> None:
    """Its entry, which was made for a shorter life, lasts as long as the session."""
    records = [created(clustered, subject=b"hers") for _ in range(2)]
    far = records[0].idle_deadline + DAY
    assert clustered.touch(records[0].key, far)
    later = replace(records[1], idle_deadline=far)
    clustered.update(later, clustered.update(later, later.version))
    index = clustered._index(b"hers")
    primary = valkey_cluster.primary_of(index)
    for record in records:
        assert float(primary.ask("ZSCORE", index, record.key)) >= far
    assert primary.ask("PEXPIRETIME", index) >= far


@pytest.mark.parametrize("operation", ["create", "sign in", "touch", "move", "delete", "delete all"])
def test_L6_after_a_crash_at_any_step_every_living_session_is_in_the_index(
    either: ValkeyStore, operation: str
) -> None:
    store = either
    for step in range(12):
        subject = secrets.token_bytes(16)
        signed_in, anonymous = created(store, subject=subject), created(store)
        new = new_record(CLOCK, subject=subject)
        steps: dict[str, Any] = {
            "create": lambda new=new: store._create(new),
            "sign in": lambda a=anonymous, s=subject: store._update(replace(a, subject=s), a.version),
            "touch": lambda s=signed_in: store._touch(s.key, s.idle_deadline + 10 * DAY),
            "move": lambda s=signed_in, new=new: store._move(s.key, s.version, new),
            "delete": lambda s=signed_in: store._delete(s.key),
            "delete all": lambda s=subject: store._delete_subject(s, None),
        }
        trips_of(store, steps[operation](), stop_before=step)
        living = [store.load(record.key) for record in (signed_in, anonymous, new)]
        hers = {record.key for record in living if record is not None and record.subject == subject}
        found = {record.key for record in store.find_subject(subject)}
        # A move cut off shows the session once; nobody has the new token.
        assert found == hers or (operation == "move" and found == hers - {new.key})
        store.delete_subject(subject)
        assert [store.load(key) for key in hers] == [None] * len(hers)


def test_L7_fifty_racing_sign_ins_never_leave_more_sessions_than_the_cap(
    either: ValkeyStore,
) -> None:
    either._cap = 5
    most: list[int] = []

    def sign_in() -> None:
        anonymous = created(either)
        either.update(replace(anonymous, subject=b"hers"), anonymous.version)
        most.append(len(either.find_subject(b"hers")))

    threads = [threading.Thread(target=sign_in) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 50
    left = len(either.find_subject(b"hers"))
    if either._is_cluster:  # two that trim at once may end more than is needed
        assert 1 <= left <= 5
    else:
        assert max(most) <= 5  # at no moment more
        assert left == 5


def test_L7_the_oldest_sessions_end_and_the_newest_stays(either: ValkeyStore) -> None:
    either._cap = 2
    now = CLOCK.now()
    records = [created(either, subject=b"hers", created_at=now + age) for age in (5, 1, 3, 0)]
    assert [found.key for found in either.find_subject(b"hers")] == [records[3].key, records[0].key]


# through the manager


def test_C2_four_hundred_of_four_hundred_saves_are_kept(either: ValkeyStore, valkey: Valkey) -> None:
    assert saves_kept(either, either, patience=60.0) == 400


def test_S1_neither_a_dump_nor_a_log_of_the_server_holds_plaintext_or_a_token(
    new_valkey: Callable[..., Valkey],
) -> None:
    server = new_valkey("--appendonly", "yes", "--appendfsync", "always", "--save", "3600 1")
    with closing(ValkeyStore(server.address, timeout=PATIENCE)) as store:
        manager = Manager(store, Keyring([SECRET]))
        session = manager.new_session()
        session["canary"] = "canary of a value"
        session["_subject"] = "canary of a user"
        manager.commit(session)
        token = str(session.token)
        key = session.record.key if session.record is not None else ""
        server.ask("SAVE")
    files = [path for path in server.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".rdb", ".aof"}
    dumped = b"".join(path.read_bytes() for path in files)
    assert key.encode() in dumped
    for secret in (b"canary", token.encode(), SECRET.encode()):
        assert secret not in dumped


# the wire


@pytest.mark.parametrize(
    "key",
    [
        "",
        "zz",
        "A" * 64,
        "0" * 63,
        "0" * 65,
        "0" * 63 + "\n",
        "0" * 64 + "\r\nSET a b\r\n",
        "*" * 64,
        "{a}" + "0" * 61,
    ],
)
def test_S6_only_digests_reach_the_wire_as_keys(valkey_proxy: Proxy, key: str) -> None:
    record = new_record(CLOCK)
    with closing(ValkeyStore(valkey_proxy.address, timeout=PATIENCE)) as store:
        refuses(store, key, record)
    assert valkey_proxy.accepted == 0


@pytest.mark.parametrize("prefix", ["", "a b", "a\r\n", "{a}", "é", "a" * 65, "a*"])
def test_S6_a_prefix_that_could_mean_something_to_the_server_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="key_prefix"):
        ValkeyStore(key_prefix=prefix)


def test_two_prefixes_share_a_server_without_meeting(valkey: Valkey, store: ValkeyStore) -> None:
    record = created(store, subject=b"hers")
    with closing(ValkeyStore(valkey.address, key_prefix="another:", timeout=PATIENCE)) as other:
        assert other.load(record.key) is None
        assert other.delete_subject(b"hers") == 0
        with pytest.raises(SessionGoneError):
            other.update(record, record.version)
    assert store.load(record.key) == record


def test_S2_what_another_application_wrote_under_our_keys_is_no_session(
    valkey: Valkey, store: ValkeyStore
) -> None:
    for value in ("", "x", "x" * 500, "\xa1" + "\xff" * 80):
        record = new_record(CLOCK)
        valkey.ask("SET", store._prefix + record.key.encode(), value)
        with pytest.raises(StoreUnavailableError, match="key_prefix"):
            store.load(record.key)
    listed = new_record(CLOCK)
    valkey.ask("RPUSH", store._prefix + listed.key.encode(), "x")
    with pytest.raises(StoreUnavailableError, match="key_prefix"):
        store.load(listed.key)


async def test_a_key_on_its_way_to_another_node_is_asked_for_there(
    valkey_cluster: Cluster, clustered: ValkeyStore
) -> None:
    twin = AsyncValkeyStore(
        valkey_cluster.addresses, cluster=True, key_prefix=clustered._prefix.decode(), timeout=PATIENCE
    )
    record = created(clustered)
    await asyncio.gather(*[twin.load(f"{number:064x}") for number in range(300)])  # several connections
    key = clustered._prefix + record.key.encode()
    source = valkey_cluster.primary_of(key)
    target = next(node for node in valkey_cluster.nodes[:3] if node is not source)
    slot = key_slot(key)
    source_id, target_id = source.ask("CLUSTER", "MYID"), target.ask("CLUSTER", "MYID")
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    try:
        assert clustered.load(record.key) == await twin.load(record.key) == record  # not yet gone
        assert source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5000) == b"OK"
        assert clustered.load(record.key) == await twin.load(record.key) == record  # ASK
        version = await twin.update(record, clustered.update(record, record.version))
    finally:
        for node in (target, source, *valkey_cluster.nodes[:3]):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)
    moved = replace(record, version=version)
    assert clustered.load(record.key) == await twin.load(record.key) == moved  # MOVED
    await twin.close()


# how to get there


async def test_a_unix_socket_will_do(new_valkey: Callable[..., Valkey], tmp_path: Path) -> None:
    path = tmp_path / "s"
    new_valkey("--unixsocket", str(path))
    wait_until(path.exists, "there is no socket")
    record = new_record(CLOCK)
    with closing(ValkeyStore(f"unix:{path}", timeout=PATIENCE)) as store:
        store.create(record)
    twin = AsyncValkeyStore(str(path), timeout=PATIENCE)
    assert await twin.load(record.key) is not None
    await twin.close()


async def test_users_and_tls_will_do_and_certificates_are_checked(
    new_valkey: Callable[..., Valkey], tmp_path: Path
) -> None:
    certificate, key = _certificate(tmp_path)
    with ExitStack() as stack:
        server = new_valkey(
            *("--tls-port", str(port := _free_port()), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
            *("--tls-ca-cert-file", str(certificate)),
        )
        server.ask("ACL", "SETUSER", "app", "on", ">pass", "~sojourn:*", *_COMMANDS)
        trusting = ssl.create_default_context(cafile=str(certificate))
        settings: Any = {"username": "app", "password": "pass", "timeout": PATIENCE}
        address = f"127.0.0.1:{port}"
        store = stack.enter_context(closing(ValkeyStore(address, tls=trusting, **settings)))
        record = created(store, subject=b"hers")
        assert store.touch(record.key, record.idle_deadline)
        assert len(store.find_subject(b"hers")) == 1
        twin = AsyncValkeyStore(address, tls=trusting, **settings)
        assert await twin.load(record.key) == record
        await twin.close()
        doubting = ValkeyStore(address, tls=ssl.create_default_context(), **settings)
        with pytest.raises(StoreUnavailableError):
            doubting.load(record.key)
        elsewhere = ValkeyStore(address, key_prefix="other:", tls=trusting, **settings)
        with closing(elsewhere), pytest.raises(StoreUnavailableError, match="allow"):
            elsewhere.load(record.key)


@pytest.mark.parametrize("topology", ["valkey_cluster", "valkey_sentinels"])
async def test_the_rights_that_the_documentation_lists_are_enough(
    topology: str, request: pytest.FixtureRequest
) -> None:
    servers: Cluster | Sentinels = request.getfixturevalue(topology)
    where: dict[str, Any] = {"username": "app", "password": "pass", "timeout": PATIENCE}
    if isinstance(servers, Cluster):
        for node in servers.nodes:
            node.ask("ACL", "SETUSER", "app", "on", ">pass", "~sojourn:*", *_COMMANDS, *_ON_A_CLUSTER)
        where |= {"servers": servers.addresses, "cluster": True}
    else:
        for node in servers.servers:
            node.ask("ACL", "SETUSER", "app", "on", ">pass", "~sojourn:*", *_COMMANDS, "+role")
        for node in servers.sentinels:
            node.ask("ACL", "SETUSER", "watcher", "on", ">pass", "+sentinel|masters")
        where |= {"servers": servers.addresses, "sentinel": servers.name}
        where |= {"sentinel_username": "watcher", "sentinel_password": "pass"}
    store, twin = ValkeyStore(**where), AsyncValkeyStore(**where)
    record = created(store, subject=secrets.token_bytes(16))
    assert await twin.load(record.key) == record
    store.close()
    await twin.close()


#: What a user has to be allowed, as the documentation says.
_COMMANDS = (
    *("+get", "+set", "+del", "+exists", "+getrange", "+setrange", "+pexpireat", "+time"),
    *("+zadd", "+zrem", "+zcard", "+zrange", "+zremrangebyscore", "+eval", "+evalsha", "+select"),
)
_ON_A_CLUSTER = ("+cluster|slots", "+asking")


def _free_port() -> int:
    from tests.servers.process import free_port  # noqa: PLC0415

    return free_port()


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"timeout": 0}, "timeout"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_sessions_per_subject": 0}, "max_sessions_per_subject"),
        ({"database": -1}, "database"),
        ({"cluster": True, "database": 1}, "database"),
        ({"cluster": True, "sentinel": "a"}, "exclude"),
        ({"cluster": True, "servers": "/a"}, "host and port"),
        ({"servers": "a,b"}, "cluster=True"),
        ({"servers": []}, "no server"),
        ({"servers": "a b"}, "host:port"),
        ({"username": "a"}, "password"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        ValkeyStore(**settings)


def test_a_server_and_a_cluster_taken_for_each_other_say_so(valkey: Valkey, valkey_cluster: Cluster) -> None:
    with closing(ValkeyStore(valkey.address, cluster=True, timeout=PATIENCE)) as store:  # noqa: SIM117
        with pytest.raises(StoreUnavailableError, match="no part of a Cluster"):
            store.load("0" * 64)
    with closing(ValkeyStore(valkey_cluster.addresses[0], timeout=PATIENCE)) as store:
        first, *_ = valkey_cluster.nodes
        keys = (f"{number:064x}" for number in range(1000))
        elsewhere = next(
            key for key in keys if valkey_cluster.primary_of(b"sojourn:" + key.encode()) != first
        )
        with pytest.raises(StoreUnavailableError, match="cluster=True"):
            store.load(elsewhere)


def test_a_closed_store_says_so(store: ValkeyStore) -> None:
    store.create(new_record(CLOCK))
    store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        store.load("0" * 64)
