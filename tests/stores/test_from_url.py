"""A store by its address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.errors import ConfigurationError
from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore
from sojourn.stores.from_url import OPTIONS, SCHEMES, async_from_url, from_url
from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.stores.sql import AsyncSQLStore, SQLStore
from sojourn.stores.valkey import AsyncValkeyStore, ValkeyStore
from sojourn.testing import FakeClock, new_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.postgresql import PostgreSQL
    from tests.servers.valkey import Cluster, Sentinels, Valkey

_REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "urls.md"


@pytest.mark.parametrize(
    ("url", "plain", "asynchronous"),
    [
        ("memory://", MemoryStore, AsyncMemoryStore),
        ("memory://?max_bytes=5000&max_sessions_per_subject=3", MemoryStore, AsyncMemoryStore),
        ("sqlite://{folder}/s.db", EmbeddedStore, AsyncEmbeddedStore),
        ("sqlite:///{folder}/s.db?timeout=1.5&purge_every=none", EmbeddedStore, AsyncEmbeddedStore),
        ("memcached://h1:11211,h2/?timeout=1", MemcachedStore, AsyncMemcachedStore),
        ("memcached:///run/memcached.sock", MemcachedStore, AsyncMemcachedStore),
        ("redis://h", ValkeyStore, AsyncValkeyStore),
        ("redis://u:p%40w@h:1/3?max_connections=4&key_prefix=shop:", ValkeyStore, AsyncValkeyStore),
        ("rediss://:pw@[::1]:1/", ValkeyStore, AsyncValkeyStore),
        ("valkey://h/2", ValkeyStore, AsyncValkeyStore),
        ("valkeys://h", ValkeyStore, AsyncValkeyStore),
        ("redis+cluster://h1,h2:7000/", ValkeyStore, AsyncValkeyStore),
        ("rediss+sentinel://h1,h2/name/1?sentinel_password=x", ValkeyStore, AsyncValkeyStore),
        ("valkey+unix:///run/valkey.sock?database=1", ValkeyStore, AsyncValkeyStore),
        ("postgresql://u:p%40w@h:1/shop?sslmode=require&table=s", SQLStore, AsyncSQLStore),
        ("postgresql:///shop?host=/run/postgresql", SQLStore, AsyncSQLStore),
        ("mysql://u:pw@h/shop?timeout=2&purge_every=none", SQLStore, AsyncSQLStore),
        ("mariadb://h/shop", SQLStore, AsyncSQLStore),
    ],
)
async def test_an_address_names_a_store(url: str, plain: type, asynchronous: type, tmp_path: Path) -> None:
    url = url.format(folder=tmp_path)
    store, twin = from_url(url), async_from_url(url)
    assert (type(store), type(twin)) == (plain, asynchronous)
    store.close()
    await twin.close()


def test_every_argument_arrives() -> None:
    store: Any = from_url(
        "rediss+sentinel://me:p%3Aw@h1,h2:7/main/3?timeout=0.5&max_connections=4&key_prefix=shop:"
        "&max_sessions_per_subject=2&sentinel_username=s&sentinel_password=t"
    )
    assert [str(node) for node in store.nodes] == ["h1:26379", "h2:7"]
    assert (store._timeout, store._max_connections, store._prefix, store._cap) == (0.5, 4, b"shop:", 2)
    access = store._access
    assert (access.username, access.password, access.database) == ("me", "p:w", 3)
    assert (access.sentinel_username, access.sentinel_password) == ("s", "t")
    assert access.tls.check_hostname


def test_the_clock_is_passed_on() -> None:
    clock = FakeClock()
    store = from_url("memory://", clock=clock)
    record = new_record(clock, lives=60)
    store.create(record)
    clock.advance(61)
    assert store.load(record.key) is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "memory://"),
        ("redis", "redis://"),
        ("reddis://h", "rediss://"),
        ("memcache://h", "memcached://"),
        ("postgres://h", "postgresql://"),
        ("postgresql://h", "names no database"),
        ("postgresql://h:port/shop", "user:password@host:5432"),
        ("postgresql://u:p@w@h/shop", "%40"),
        ("redis://u:p/w@h", "%2F"),
        ("redis://u:p?w@h", "%3F"),
        ("sqlite:///:memory:", "memory://"),
        ("mysql+nonsense://h/x", "mysql+mysqldb://"),
        ("redis://h?timeot=1", "'timeout'"),
        ("redis://h?TIMEOUT=1", "'timeout'"),
        ("memory://?timeout=1", "max_bytes"),
        ("redis://h?timeout=soon", "timeout=2.5"),
        ("redis://h?timeout=0", "seconds, such as 2.0"),
        ("redis://h?timeout=1&timeout=2", "twice"),
        ("redis://h?max_connections=1.5", "a whole number"),
        ("redis://h/0/1", "one number"),
        ("redis://h/zero", "one number"),
        ("redis://h/1?database=2", "one number"),
        ("redis://", "redis://host:port"),
        ("redis://h1,h2", "cluster=True"),
        ("redis://h:99999", "'host:port'"),
        ("redis://[::1", "brackets"),
        ("redis://secret@h", "user:password@"),
        ("redis://h#x", "%23"),
        ("redis://h?tls_ca=/x", "rediss://"),
        ("rediss://h?tls_ca=/does/not/exist", "check the files"),
        ("redis+cluster://h/1", "database 0"),
        ("redis+sentinel://h", "redis+sentinel://host:26379,other/name"),
        ("redis+unix://h", "three slashes"),
        ("sqlite://relative.db", "three slashes"),
        ("sqlite://", "three slashes"),
        ("memory://somewhere", "leave out"),
        ("memcached://u:p@h", "no users"),
        ("memcached://", "memcached://host:11211"),
        ("redis://h?key_prefix={tag}:", "key_prefix"),
    ],
)
def test_a_bad_address_is_told_what_to_write(url: str, told: str) -> None:
    for make in (from_url, async_from_url):
        with pytest.raises(ConfigurationError) as caught:
            make(url)
        assert told.lower() in str(caught.value).lower()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:canary@h",
        "redis://me:canary@h/x",
        "redis://me:canary@h?timeout=x",
        "redes://me:canary@h",
        "redis://canary@h",
        "redis://me:canary/s@h:6379/0",
        "redis+sentinel://me:canary/s@h/0",
        "redis://me:canary?s@h",
        "redis://me:p?canary@h",
        "redis://me:p?canary=s@h",
        "postgresql://me:canary?s@h/shop",
        "postgresql://me:p@canary@h/shop",
        "postgresql://me:p[canary@h/shop",
        "memcached://me:canary@h",
    ],
)
def test_T12_no_message_shows_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_url(url)
    assert "canary" not in str(caught.value)
    assert "canary" not in str(caught.value.__cause__), "a traceback shows it"


@pytest.mark.parametrize("make", [MemcachedStore, ValkeyStore])
def test_T12_no_message_about_a_server_shows_what_may_be_a_password(make: Callable[[str], Any]) -> None:
    with pytest.raises(ConfigurationError, match="no address") as caught:
        make("me:canary@h:1")
    assert "canary" not in str(caught.value)


def test_every_scheme_and_option_is_documented() -> None:
    page = _REFERENCE.read_text(encoding="utf-8")
    for scheme in SCHEMES:
        assert f"{scheme}://" in page, scheme
    for options in OPTIONS.values():
        for name in options:
            assert f"`{name}`" in page, name


def test_only_the_store_that_is_named_is_imported() -> None:
    program = (
        "import sys; from sojourn.stores.from_url import from_url; from_url('memory://'); "
        "print(*[name for name in sys.modules if name.startswith('sojourn.stores.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) == {"sojourn.stores.from_url", "sojourn.stores.memory"}


def _keeps_a_session(url: str, make: Callable[[str], Any] = from_url) -> None:
    store = make(url)
    record = new_record(FakeClock(now=4_000_000_000_000))
    store.create(record)
    assert store.load(record.key) is not None
    store.close()


def test_a_server_is_reached_by_its_address(valkey: Valkey) -> None:
    _keeps_a_session(f"redis://{valkey.address}/1?timeout=20")


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_database_is_reached_by_its_address(scheme: str, postgresql: PostgreSQL) -> None:
    url = f"{scheme}://postgres@{postgresql.address}/{postgresql.database}?table=by_url&application_name=shop"
    store = from_url(url)
    assert isinstance(store, SQLStore)
    store.create_table()
    store.close()
    _keeps_a_session(url)
    _keeps_a_session(
        f"{scheme}:///{postgresql.database}?table=by_url&host=127.0.0.1&port={postgresql.port}&user=postgres"
    )


@pytest.mark.parametrize(
    ("make", "url", "needed"),
    [
        (from_url, "postgresql+asyncpg://h/shop", "a driver for AsyncSQLStore"),
        (async_from_url, "mysql+mysqldb://h/shop", "a driver for SQLStore"),
    ],
)
def test_a_driver_of_the_other_kind_is_refused(make: Callable[[str], Any], url: str, needed: str) -> None:
    with pytest.raises(ConfigurationError, match=needed):
        make(url)


def test_a_cluster_is_reached_by_the_address_of_one_node(valkey_cluster: Cluster) -> None:
    _keeps_a_session(f"valkey+cluster://{valkey_cluster.addresses[-1]}/?timeout=20")


def test_a_primary_is_reached_by_the_addresses_of_its_sentinels(valkey_sentinels: Sentinels) -> None:
    sentinels = ",".join(valkey_sentinels.addresses)
    _keeps_a_session(f"redis+sentinel://{sentinels}/{valkey_sentinels.name}?timeout=20")
