"""``CACHES`` means for sessions what it means for Django; else the error says what to write.

Without a server: what a store would be made with.
"""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from sojourn.django.caches import cache_entry, store_in
from sojourn.django.conf import SojournSettings
from sojourn.stores.from_url import open_async_store, open_store
from tests.django.servers import DJANGO_REDIS, PYLIBMC, PYMEMCACHE, REDIS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.django.site import Site

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
SENTINELS = {
    "CLIENT_CLASS": "django_redis.client.SentinelClient",
    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
    "CONNECTION_POOL_CLASS": "redis.sentinel.SentinelConnectionPool",
    "SENTINELS": [("10.0.0.1", 26379), ("::1", "26380")],
}
PLAIN_REDIS = {"username": None, "password": None, "database": 0}


@pytest.fixture
def made(make_site: Callable[..., Site]) -> Callable[..., dict[str, Any]]:
    """What a store is made with, given the alias; what says nothing is left out."""

    def make(sojourn: dict[str, Any] | None = None, **entry: Any) -> dict[str, Any]:
        make_site("cache", CACHES={"default": entry})
        given = SojournSettings(**sojourn or {})
        kind, arguments = store_in(cache_entry("default"), given)
        open_store(kind, arguments).close()
        open_async_store(kind, arguments)
        said_nothing = {
            "timeout": given.TIMEOUT,
            "key_prefix": "sojourn//1/",
            "max_sessions_per_subject": None,
        }
        return {
            name: value
            for name, value in arguments.items()
            if name not in said_nothing or value != said_nothing[name]
        }

    return make


@pytest.mark.parametrize("backend", [PYMEMCACHE, PYLIBMC])
@pytest.mark.parametrize(
    ("location", "servers"),
    [
        ("127.0.0.1:11211", ["127.0.0.1:11211"]),
        ("localhost", ["localhost"]),
        ("a:1,b:2", ["a:1", "b:2"]),
        ("a:1;b:2", ["a:1", "b:2"]),
        (["a:1", "b:2"], ["a:1", "b:2"]),
        (("a:1", "b:2"), ["a:1", "b:2"]),
        ("unix:/run/memcached.sock", ["unix:/run/memcached.sock"]),
        ("/run/memcached.sock", ["/run/memcached.sock"]),
        ("[::1]:11211", ["[::1]:11211"]),
    ],
)
def test_servers_of_memcached(
    backend: str, location: Any, servers: list[str], made: Callable[..., dict[str, Any]]
) -> None:
    assert made(BACKEND=backend, LOCATION=location) == {"servers": servers}


def test_pymemcache_takes_tuples_of_host_and_port(made: Callable[..., dict[str, Any]]) -> None:
    location = [("10.0.0.1", 11211), ("::1", 11212)]
    assert made(BACKEND=PYMEMCACHE, LOCATION=location) == {"servers": ["10.0.0.1:11211", "[::1]:11212"]}


def test_options_of_memcached_that_mean_something_to_sessions(made: Callable[..., dict[str, Any]]) -> None:
    context = ssl.create_default_context()
    ours = {"timeout": 0.5, "tls_context": context}
    harmless = {
        "ignore_exc": True,
        "use_pooling": True,
        "max_pool_size": 4,
        "no_delay": True,
        "timeout": None,
    }
    entry: dict[str, Any] = {"BACKEND": PYMEMCACHE, "LOCATION": "a:1", "TIMEOUT": 300}
    assert made(**entry, OPTIONS=ours) == {"servers": ["a:1"], "timeout": 0.5, "tls": context}
    assert made(**entry, OPTIONS=harmless) == {"servers": ["a:1"]}
    assert made({"TIMEOUT": 0.1}, **entry, OPTIONS=ours) == {"servers": ["a:1"], "tls": context}
    options = {"binary": True, "behaviors": {"ketama": True, "remove_failed": 1}, "username": None}
    assert made(BACKEND=PYLIBMC, LOCATION="a:1", OPTIONS=options) == {"servers": ["a:1"]}


@pytest.mark.parametrize("backend", [REDIS, DJANGO_REDIS])
@pytest.mark.parametrize(
    ("location", "meant"),
    [
        ("redis://10.0.0.1:6380", {"servers": "10.0.0.1:6380"}),
        ("redis://10.0.0.1", {"servers": "10.0.0.1:6379"}),
        ("redis://", {"servers": "localhost:6379"}),
        ("redis://[::1]:6380/2", {"servers": "[::1]:6380", "database": 2}),
        ("redis://10.0.0.1/3", {"servers": "10.0.0.1:6379", "database": 3}),
        ("redis://10.0.0.1/3?db=4", {"servers": "10.0.0.1:6379", "database": 4}),
        ("redis://u:p%40ss@h", {"servers": "h:6379", "username": "u", "password": "p@ss"}),
        ("redis://:p@h", {"servers": "h:6379", "password": "p"}),
        ("redis://h?password=p&username=u", {"servers": "h:6379", "username": "u", "password": "p"}),
        (
            "redis://h?socket_timeout=0.5&max_connections=4",
            {"servers": "h:6379", "timeout": 0.5, "max_connections": 4},
        ),
        ("unix:///run/redis.sock?db=1", {"servers": "unix:/run/redis.sock", "database": 1}),
        ("unix://u:p@/run/redis.sock", {"servers": "unix:/run/redis.sock", "username": "u", "password": "p"}),
        ("redis://primary:1,redis://replica:2", {"servers": "primary:1"}),
        (["redis://primary:1", "redis://replica:2"], {"servers": "primary:1"}),
    ],
)
def test_locations_of_redis(
    backend: str, location: Any, meant: dict[str, Any], made: Callable[..., dict[str, Any]]
) -> None:
    assert made(BACKEND=backend, LOCATION=location) == {**PLAIN_REDIS, **meant}


def test_a_semicolon_separates_servers_for_django_and_a_comma_for_both(
    made: Callable[..., dict[str, Any]],
) -> None:
    location = "redis://primary:1;redis://replica:2"
    assert made(BACKEND=REDIS, LOCATION=location) == {**PLAIN_REDIS, "servers": "primary:1"}


def test_options_of_redis_that_mean_something_to_sessions(made: Callable[..., dict[str, Any]]) -> None:
    options = {"db": 2, "username": "u", "password": "p", "socket_timeout": 0.5, "max_connections": 4}
    harmless = {"pool_class": "redis.BlockingConnectionPool", "health_check_interval": 30, "protocol": 3}
    entry: dict[str, Any] = {"BACKEND": REDIS, "LOCATION": "redis://h:1"}
    meant = {"servers": "h:1", "username": "u", "password": "p", "database": 2, "timeout": 0.5}
    assert made(**entry, OPTIONS=options | harmless) == {**meant, "max_connections": 4}
    assert made(BACKEND=REDIS, LOCATION="redis://x:y@h:1/5", OPTIONS=options) == {
        **meant,
        "username": "x",
        "password": "y",
        "database": 5,
        "max_connections": 4,
    }, "the address wins, as for redis-py"
    assert made({"MAX_SESSIONS_PER_USER": 3}, **entry)["max_sessions_per_subject"] == 3


def test_options_of_django_redis(made: Callable[..., dict[str, Any]]) -> None:
    options = {
        "CLIENT_CLASS": "django_redis.client.DefaultClient",
        "PASSWORD": "p",
        "SOCKET_TIMEOUT": 0.5,
        "SOCKET_CONNECT_TIMEOUT": 5,
        "IGNORE_EXCEPTIONS": True,
        "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor",
        "CONNECTION_POOL_KWARGS": {"max_connections": 50, "retry_on_timeout": True, "db": 3},
    }
    assert made(BACKEND=DJANGO_REDIS, LOCATION="redis://h:1", OPTIONS=options) == {
        "servers": "h:1",
        "username": None,
        "password": "p",
        "database": 3,
        "timeout": 0.5,
        "max_connections": 50,
    }


def test_tls_of_redis(made: Callable[..., dict[str, Any]]) -> None:
    def context(location: str, **options: Any) -> ssl.SSLContext:
        arguments = made(BACKEND=REDIS, LOCATION=location, OPTIONS=options)
        found = arguments["tls"]
        assert isinstance(found, ssl.SSLContext)
        return found

    strict = context("rediss://h:1")
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    for lax in (context("rediss://h:1", ssl_cert_reqs=None), context("rediss://h:1?ssl_cert_reqs=none")):
        assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)
    assert context("rediss://h:1?ssl=true").verify_mode == ssl.CERT_REQUIRED
    named = context("rediss://h:1?ssl_check_hostname=false", ssl_min_version=ssl.TLSVersion.TLSv1_3)
    assert (named.verify_mode, named.check_hostname) == (ssl.CERT_REQUIRED, False)
    assert named.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    "location", ["redis://name/1", ["redis://name/1?is_master=1", "redis://name/1?is_master=0"]]
)
def test_sentinels_of_django_redis(location: Any, made: Callable[..., dict[str, Any]]) -> None:
    options = {**SENTINELS, "PASSWORD": "p", "SENTINEL_KWARGS": {"username": "su", "password": "sp"}}
    assert made(BACKEND=DJANGO_REDIS, LOCATION=location, OPTIONS=options) == {
        "servers": ["10.0.0.1:26379", "[::1]:26380"],
        "sentinel": "name",
        "database": 1,
        "username": None,
        "password": "p",
        "sentinel_username": "su",
        "sentinel_password": "sp",
    }


@pytest.fixture
def settings_of_django_redis() -> Iterator[None]:
    with override_settings(DJANGO_REDIS_CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory"):
        yield


def test_the_connection_factory_of_all_django_redis_caches(
    settings_of_django_redis: None, made: Callable[..., dict[str, Any]]
) -> None:
    arguments = made(
        BACKEND=DJANGO_REDIS, LOCATION="redis://name/1", OPTIONS={"SENTINELS": [("10.0.0.1", 26379)]}
    )
    assert arguments["sentinel"] == "name"


class OwnCache(PyMemcacheCache):
    """What some projects have."""


def test_a_backend_derived_from_a_known_one_is_taken_for_it(made: Callable[..., dict[str, Any]]) -> None:
    assert made(BACKEND=f"{__name__}.OwnCache", LOCATION="a:1") == {"servers": ["a:1"]}


def django_redis(options: dict[str, Any]) -> dict[str, Any]:
    return {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://h", "OPTIONS": options}


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no server": ({"BACKEND": PYMEMCACHE}, ["LOCATION names no server", "'127.0.0.1:11211'"]),
    "an empty server": ({"BACKEND": PYMEMCACHE, "LOCATION": "a:1,"}, ["LOCATION names no server"]),
    "not a server": ({"BACKEND": PYMEMCACHE, "LOCATION": "a:b:c"}, ["'a:b:c' is no address"]),
    "a server twice": ({"BACKEND": PYMEMCACHE, "LOCATION": "a:1,a:1"}, ["named twice"]),
    "a port for a server": ({"BACKEND": PYMEMCACHE, "LOCATION": ("h", 11211)}, ["[('127.0.0.1', 11211)]"]),
    "half a server": ({"BACKEND": PYMEMCACHE, "LOCATION": [("h",)]}, ["tuple of host and port"]),
    "a user of memcached": (
        {"BACKEND": PYMEMCACHE, "LOCATION": "u:topsecret@h:11211"},
        ["this is no address", "'host:port'"],
    ),
    "seconds from the environment": (
        {"BACKEND": PYMEMCACHE, "LOCATION": "h", "OPTIONS": {"timeout": "2"}},
        ["timeout has to be seconds, such as 2.0; it is of type str"],
    ),
    "TLS without a context": (
        {"BACKEND": PYMEMCACHE, "LOCATION": "h", "OPTIONS": {"tls_context": True}},
        ["ssl.create_default_context()"],
    ),
    "options in a list": (
        {"BACKEND": PYMEMCACHE, "LOCATION": "h", "OPTIONS": ["no_delay"]},
        ["OPTIONS of CACHES['default'] has to be a dictionary; it is of type list"],
    ),
    "SASL": (
        {"BACKEND": PYLIBMC, "LOCATION": "a:1", "OPTIONS": {"username": "u", "password": "topsecret"}},
        ["a user and password"],
    ),
    "unknown option of memcached": (
        {"BACKEND": PYMEMCACHE, "LOCATION": "a:1", "OPTIONS": {"socket_module": 1}},
        ["'socket_module'", "SOJOURN = {'STORE': 'memcached://"],
    ),
    "no scheme": ({"BACKEND": REDIS, "LOCATION": "127.0.0.1:6379"}, ["redis://127.0.0.1:6379/0"]),
    "another scheme": (
        {"BACKEND": REDIS, "LOCATION": "redis+cluster://:topsecret@h"},
        ["SOJOURN = {'STORE': 'redis+cluster://"],
    ),
    "no port": ({"BACKEND": REDIS, "LOCATION": "redis://:topsecret@h:port"}, ["LOCATION cannot be read"]),
    "no database": ({"BACKEND": REDIS, "LOCATION": "redis://h/x"}, ["the number of the database"]),
    "no socket": ({"BACKEND": REDIS, "LOCATION": "unix://"}, ["'unix:///run/redis.sock?db=0'"]),
    "no number": ({"BACKEND": REDIS, "LOCATION": "redis://h?db=x"}, ["after its '?'"]),
    "a slash in a password": (
        {"BACKEND": REDIS, "LOCATION": "redis://u:topsecret/x@h:6379/0"},
        ["LOCATION cannot be read", "%2F (/)"],
    ),
    "a limit from the environment": (
        {"BACKEND": REDIS, "LOCATION": "redis://h", "OPTIONS": {"max_connections": "10"}},
        ["max_connections has to be a whole number"],
    ),
    "a deadline from the environment": (
        django_redis({"SOCKET_TIMEOUT": "5"}),
        ["socket_timeout has to be seconds"],
    ),
    "a database by name": (
        {"BACKEND": REDIS, "LOCATION": "redis://h", "OPTIONS": {"db": "sessions"}},
        ["db has to be the number of the database"],
    ),
    "no password": ({"BACKEND": REDIS, "LOCATION": "redis://u@h"}, ["username without password"]),
    "TLS without rediss": (
        {"BACKEND": REDIS, "LOCATION": "redis://h", "OPTIONS": {"ssl_cert_reqs": None}},
        ["'rediss://"],
    ),
    "a certificate that is not there": (
        {"BACKEND": REDIS, "LOCATION": "rediss://h", "OPTIONS": {"ssl_ca_certs": "/missing.pem"}},
        ["ssl_ options cannot be used (FileNotFoundError)"],
    ),
    "credentials that change": (
        {"BACKEND": REDIS, "LOCATION": "redis://h", "OPTIONS": {"credential_provider": object()}},
        ["'credential_provider'", "SOJOURN = {'STORE': 'redis://"],
    ),
    "a pool of one's own": (
        {
            "BACKEND": REDIS,
            "LOCATION": "redis://h",
            "OPTIONS": {"pool_class": "redis.sentinel.SentinelConnectionPool"},
        },
        ["'SentinelConnectionPool'", "redis+sentinel://"],
    ),
    "a client that shards": (
        django_redis({"CLIENT_CLASS": "django_redis.client.ShardClient"}),
        ["'ShardClient'", "SOJOURN = {'STORE': "],
    ),
    "a Cluster": (
        django_redis({"REDIS_CLIENT_CLASS": "redis.cluster.RedisCluster"}),
        ["'RedisCluster'", "redis+cluster://"],
    ),
    "a factory of one's own": (
        django_redis({"CONNECTION_FACTORY": "shop.Factory"}),
        ["'Factory'", "SOJOURN = {'STORE': "],
    ),
    "unknown option of django-redis": (
        django_redis({"PASSWROD": "topsecret"}),
        ["'PASSWROD'"],
    ),
    "no Sentinels": (
        {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://name/0", "OPTIONS": {**SENTINELS, "SENTINELS": []}},
        ["'SENTINELS': [('127.0.0.1', 26379)]"],
    ),
    "Sentinels as text": (
        {
            "BACKEND": DJANGO_REDIS,
            "LOCATION": "redis://name/0",
            "OPTIONS": {**SENTINELS, "SENTINELS": ["10.0.0.1:26379"]},
        },
        ["'SENTINELS': [('127.0.0.1', 26379)]"],
    ),
    "TLS with half of them": (
        {"BACKEND": DJANGO_REDIS, "LOCATION": "rediss://name/0", "OPTIONS": SENTINELS},
        ["'SENTINEL_KWARGS': {'ssl': True}"],
    ),
    "the removed backend": (
        {"BACKEND": "django.core.cache.backends.memcached.MemcachedCache", "LOCATION": "10.0.0.1:11211"},
        [f"CACHES = {{'default': {{'BACKEND': '{PYMEMCACHE}', 'LOCATION': '10.0.0.1:11211'}}}}"],
    ),
    "the abandoned backend": (
        {
            "BACKEND": "redis_cache.cache.RedisCache",
            "LOCATION": "10.0.0.1:6379",
            "OPTIONS": {"PASSWORD": "topsecret"},
        },
        [f"CACHES = {{'default': {{'BACKEND': '{REDIS}', 'LOCATION': 'redis://10.0.0.1:6379/0'}}}}"],
    ),
    "the abandoned backend, elsewhere": (
        {"BACKEND": "redis_cache.RedisCache", "LOCATION": "redis://:topsecret@10.0.0.1"},
        [f"CACHES = {{'default': {{'BACKEND': '{REDIS}', 'LOCATION': 'redis://127.0.0.1:6379/0'}}}}"],
    ),
    "what cannot be imported": ({"BACKEND": "somebody.elses.Cache"}, ["'somebody.elses.Cache'", "import"]),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_in_an_alias_is_said_with_what_to_write(
    mistake: str, make_site: Callable[..., Site]
) -> None:
    entry, named = WRONG[mistake]
    site = make_site("cache", SOJOURN={}, CACHES={"default": entry})
    with pytest.raises(ImproperlyConfigured) as refused:
        site.session()
    message = str(refused.value)
    assert "CACHES" in message
    assert "topsecret" not in message
    assert "topsecret" not in str(refused.value.__cause__)
    for line in named:
        assert line in message


def test_CACHES_without_the_alias_are_shown_with_it(make_site: Callable[..., Site]) -> None:
    site = make_site("cache", CACHES={"BACKEND": PYMEMCACHE, "LOCATION": "10.0.0.1:11211"})
    with pytest.raises(ImproperlyConfigured) as refused:
        site.session()
    lines = f"CACHES = {{'default': {{'BACKEND': '{PYMEMCACHE}', 'LOCATION': '10.0.0.1:11211'}}}}"
    assert lines in str(refused.value)


def test_an_alias_that_is_an_address_is_told_to_be_a_dictionary(make_site: Callable[..., Site]) -> None:
    site = make_site("cache", CACHES={"default": "redis://:topsecret@h"})
    with pytest.raises(ImproperlyConfigured, match=r"CACHES\['default'\] has to be a dictionary") as refused:
        site.session()
    assert "topsecret" not in str(refused.value)


def test_a_cap_on_a_users_sessions_is_refused_with_memcached(make_site: Callable[..., Site]) -> None:
    entry = {"BACKEND": PYMEMCACHE, "LOCATION": "a:1"}
    site = make_site("cache", SOJOURN={"MAX_SESSIONS_PER_USER": 3}, CACHES={"default": entry})
    with pytest.raises(ImproperlyConfigured, match=r"MAX_SESSIONS_PER_USER.*memcached.*leave it out"):
        site.session()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("redi://h", r"SOJOURN\['STORE'\]: .*redis://"),
        ("redis://u:p/w@h", r"SOJOURN\['STORE'\]: .*%2F"),
        ("postgresql://h/shop", r"sojourn\.django\.backends\.db"),
        ("memory://", "LocMemCache"),
        ("sqlite:///tmp/x", r"sojourn\.django\.backends\.embedded"),
        ("redis://h?max_sessions_per_subject=2", r"SOJOURN = \{'MAX_SESSIONS_PER_USER': 2"),
        ("memcached://", "memcached://host:11211"),
    ],
)
def test_a_wrong_STORE_is_said(address: str, said: str, make_site: Callable[..., Site]) -> None:
    site = make_site("cache", SOJOURN={"STORE": address, "ADOPT": None})
    with pytest.raises(ImproperlyConfigured, match=said):
        site.session()


def test_no_key_of_djangos_caches_can_be_one_of_ours(
    make_site: Callable[..., Site], change_settings: Callable[..., None]
) -> None:
    """Theirs have two colons at least, whatever prefix, version and key; ours have none."""
    seen: set[str] = set()
    odd = ["", "shop", "a:b", "a b", "ü", "x" * 100, "sojourn", "a/b", "a%3Ab", "{shop}"]
    make_site("cache")
    for prefix in odd:
        for version in (1, 2, "1/2"):
            entry = {"BACKEND": LOCMEM, "KEY_PREFIX": prefix, "VERSION": version}
            change_settings(CACHES={"default": entry})
            ours = cache_entry("default").key_prefix
            assert ":" not in ours
            assert len(ours) <= 64
            assert ours not in seen, "each prefix and version has sessions of its own"
            seen.add(ours)
            open_store("valkey", {"key_prefix": ours}).close()
            open_store("memcached", {"servers": "a:1", "key_prefix": ours}).close()
            assert caches["default"].make_key("").count(":") >= 2


def test_a_cache_that_cannot_be_taken_over_from_is_said_with_the_line_to_write(
    make_site: Callable[..., Site],
) -> None:
    entry = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "somewhere"}
    store = "redis://127.0.0.1:1"
    site = make_site("cache", SOJOURN={"STORE": store}, CACHES={"default": entry})
    with pytest.raises(ImproperlyConfigured, match=r"cannot be taken over.*SOJOURN = \{'ADOPT': None\}"):
        site.session()
    make_site("cache", SOJOURN={"STORE": store, "ADOPT": None}, CACHES={"default": entry}).session()


def test_a_driver_is_needed_to_take_over_and_named(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pymemcache", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "pymemcache.serde", raising=False)
    entry = {"BACKEND": PYMEMCACHE, "LOCATION": "a:1"}
    site = make_site("cache", SOJOURN={}, CACHES={"default": entry})
    with pytest.raises(ImproperlyConfigured, match=r"pymemcache.*SOJOURN = \{'ADOPT': None\}"):
        site.session()
    site = make_site("cache", SOJOURN={"ADOPT": None}, CACHES={"default": entry})
    site.session()
