"""``CACHES`` entries for Redis, as arguments of :class:`~sojourn.stores.valkey.ValkeyStore`."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from django.conf import settings

from sojourn.project import REDIS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

    from sojourn.django.caches.entry import CacheEntry

__all__ = ["redis_arguments"]

#: What redis-py calls the settings of a connection that the store honours.
_HONOURED: Final = frozenset({"db", "max_connections", "password", "socket_timeout", "username"})
#: Those that change nothing about what a session store promises: how bytes are read and told apart, how
#: values are serialized (ours are bytes), and when a connection is tested, kept or tried again.
_HARMLESS: Final = frozenset(
    {
        *("client_name", "decode_responses", "driver_info", "encoding", "encoding_errors"),
        *("health_check_interval", "legacy_responses", "lib_name", "lib_version", "parser_class", "protocol"),
        *("retry", "retry_on_error", "retry_on_timeout", "socket_connect_timeout", "socket_keepalive"),
        *("socket_keepalive_options", "socket_read_size", "socket_type", "timeout"),
    }
)
_TLS: Final = frozenset(
    {
        *(
            "ssl_ca_certs",
            "ssl_ca_data",
            "ssl_ca_path",
            "ssl_cert_reqs",
            "ssl_certfile",
            "ssl_check_hostname",
        ),
        *("ssl_ciphers", "ssl_keyfile", "ssl_min_version", "ssl_password"),
    }
)
_DJANGO_REDIS: Final = frozenset(
    {
        *(
            "CLIENT_CLASS",
            "CONNECTION_FACTORY",
            "CONNECTION_POOL_CLASS",
            "CONNECTION_POOL_KWARGS",
            "PASSWORD",
        ),
        *("SENTINELS", "SENTINEL_KWARGS", "SOCKET_TIMEOUT", "USERNAME"),
        # harmless, as above
        *("CLOSE_CONNECTION", "COMPRESSOR", "CULL_FREQUENCY", "IGNORE_EXCEPTIONS", "LOG_IGNORED_EXCEPTIONS"),
        *("MAX_ENTRIES", "PARSER_CLASS", "PICKLE_VERSION", "REDIS_CLIENT_CLASS", "REDIS_CLIENT_KWARGS"),
        *("REPLICA_READ_ONLY", "SERIALIZER", "SOCKET_CONNECT_TIMEOUT"),
    }
)
_POOLS: Final = frozenset({"BlockingConnectionPool", "ConnectionPool"})
_CLIENTS: Final = frozenset({"DefaultClient", "HerdClient", "SentinelClient"})
_REDIS_CLIENTS: Final = frozenset({"Redis", "StrictRedis"})
_FACTORIES: Final = frozenset({"ConnectionFactory", "SentinelConnectionFactory"})

#: Host and port of a Sentinel.
_PAIR: Final = 2

_VERIFY: Final = {
    None: ssl.CERT_NONE,
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


def redis_arguments(entry: CacheEntry, *, timeout: float) -> dict[str, Any]:
    """Return what the store is made with.  Raises ``ImproperlyConfigured``.

    Of several locations the first is the primary, the others are replicas, as for Django.  Sessions are read
    and written on the primary.
    """
    if entry.backend == REDIS:
        url, connection = _primary(entry, ";,"), dict(entry.options)
        connection.pop("serializer", None)
        _check_class(entry, "pool_class", connection.pop("pool_class", None), _POOLS)
    else:
        url, connection = _primary(entry, ","), _of_django_redis(entry)
    sentinels = connection.pop("sentinels", None)
    sentinel_options = dict(connection.pop("sentinel_kwargs", None) or {})
    connection |= _of_query(entry, url)
    has_tls = bool(connection.pop("ssl", False)) or url.scheme == "rediss"
    tls = {name: connection.pop(name) for name in _TLS & connection.keys()}
    entry.check_options(connection, _HONOURED | _HARMLESS)
    if tls and not has_tls:
        raise entry.error(
            f"{min(tls)!r} is for TLS, and LOCATION begins with redis://: write 'LOCATION': 'rediss://…'"
        )
    most = entry.checked(connection, "max_connections", int, "a whole number, such as 16")
    theirs = entry.checked(connection, "socket_timeout", (int, float), "seconds, such as 2.0")
    arguments: dict[str, Any] = {
        "username": unquote(url.username) if url.username else connection.get("username") or None,
        "password": unquote(url.password) if url.password else connection.get("password") or None,
        "database": _database(entry, url, connection),
        "key_prefix": entry.key_prefix,
        "timeout": min(timeout, theirs or timeout),
    }
    if most is not None:
        arguments["max_connections"] = most
    if has_tls:
        arguments["tls"] = _context(entry, tls)
    if sentinels is not None:
        return arguments | _by_sentinel(entry, url, sentinels, sentinel_options, has_tls=has_tls)
    arguments["servers"] = _server(entry, url)
    return arguments


def _primary(entry: CacheEntry, separators: str) -> SplitResult:
    """Return the first location, taken apart."""
    try:
        url = urlsplit(str(entry.locations(separators)[0]).strip())
        url.port  # noqa: B018 - raises if it is none
    except ValueError:  # whose message shows what was taken for the port
        raise entry.error(
            f"LOCATION cannot be read: write one such as {entry.example!r}, and special characters of its "
            "password as %2F (/), %3F (?), %23 (#) and %2C (,)"
        ) from None
    if url.scheme not in ("redis", "rediss", "unix"):
        raise entry.error(
            "LOCATION has to begin with redis://, rediss:// or unix://: write "
            f"'LOCATION': {entry.example!r}. For a Cluster, and for Sentinels without django-redis, write "
            "SOJOURN = {'STORE': 'redis+cluster://127.0.0.1:6379/'} or "
            "SOJOURN = {'STORE': 'redis+sentinel://127.0.0.1:26379/name/0'}"
        )
    return url


def _of_django_redis(entry: CacheEntry) -> dict[str, Any]:
    """Return the options of django-redis under redis-py's names."""
    options = entry.options
    entry.check_options(options, _DJANGO_REDIS)
    factory = options.get("CONNECTION_FACTORY") or getattr(settings, "DJANGO_REDIS_CONNECTION_FACTORY", None)
    _check_class(entry, "CONNECTION_FACTORY", factory, _FACTORIES)
    _check_class(entry, "CLIENT_CLASS", options.get("CLIENT_CLASS"), _CLIENTS)
    _check_class(
        entry,
        "CONNECTION_POOL_CLASS",
        options.get("CONNECTION_POOL_CLASS"),
        _POOLS | {"SentinelConnectionPool"},
    )
    _check_class(entry, "REDIS_CLIENT_CLASS", options.get("REDIS_CLIENT_CLASS"), _REDIS_CLIENTS)
    names = {"USERNAME": "username", "PASSWORD": "password", "SOCKET_TIMEOUT": "socket_timeout"}
    connection = {name: options[theirs] for theirs, name in names.items() if options.get(theirs)}
    connection |= options.get("CONNECTION_POOL_KWARGS") or {}
    if factory is not None and _name(factory) == "SentinelConnectionFactory":
        connection["sentinels"] = options.get("SENTINELS") or ()
        connection["sentinel_kwargs"] = options.get("SENTINEL_KWARGS")
    return connection


def _check_class(entry: CacheEntry, option: str, given: Any, known: frozenset[str]) -> None:
    """Refuse a class that may mean anything: a client for a Cluster, say, or one that shards."""
    if given is None or _name(given) in known:
        return
    raise entry.error(
        f"OPTIONS[{option!r}] is {_name(given)!r}, and what it does about servers is not known: give their "
        "address in SOJOURN, such as SOJOURN = {'STORE': 'redis+cluster://127.0.0.1:6379,127.0.0.2:6379/'}, "
        "'redis+sentinel://127.0.0.1:26379/name/0' or 'redis://user:password@127.0.0.1:6379/0'"
    )


def _name(given: Any) -> str:
    return (
        given.rpartition(".")[2] if isinstance(given, str) else str(getattr(given, "__name__", type(given)))
    )


def _of_query(entry: CacheEntry, url: SplitResult) -> dict[str, Any]:
    """Return the options in the location itself, which win."""
    found: dict[str, Any] = dict(parse_qsl(url.query))
    found.pop("is_master", None)  # django-redis, of a primary and its replicas
    try:
        for name, read in (("db", int), ("socket_timeout", float), ("max_connections", int)):
            if name in found:
                found[name] = read(found[name])
        for name in ("ssl", "ssl_check_hostname"):
            if name in found:
                found[name] = found[name].lower() in ("true", "yes", "1")
        if "ssl_min_version" in found:
            found["ssl_min_version"] = ssl.TLSVersion(int(found["ssl_min_version"]))
    except ValueError as error:
        raise entry.error(f"an option of LOCATION, after its '?', cannot be read: {error}") from error
    return found


def _database(entry: CacheEntry, url: SplitResult, connection: Mapping[str, Any]) -> int:
    """Return the number of the database; one in the path counts unless the query has one, as for redis-py."""
    path = url.path.strip("/")
    in_query = any(name == "db" for name, _ in parse_qsl(url.query))
    if url.scheme != "unix" and path and not in_query:
        if not path.isdecimal():
            raise entry.error("LOCATION ends in the number of the database, such as /0")
        return int(path)
    try:
        return int(connection.get("db") or 0)
    except (TypeError, ValueError) as error:
        raise entry.error("db has to be the number of the database, such as 0") from error


def _server(entry: CacheEntry, url: SplitResult) -> str:
    if url.scheme == "unix":
        if not url.path:
            raise entry.error("LOCATION names no socket: write 'LOCATION': 'unix:///run/redis.sock?db=0'")
        return f"unix:{unquote(url.path)}"
    return _address(url.hostname or "localhost", url.port or 6379)


def _address(host: str, port: object) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _by_sentinel(
    entry: CacheEntry, url: SplitResult, sentinels: Any, options: dict[str, Any], *, has_tls: bool
) -> dict[str, Any]:
    """Return how to find the primary named in the location, as django-redis does."""
    pairs = isinstance(sentinels, list | tuple) and all(
        isinstance(sentinel, list | tuple) and len(sentinel) == _PAIR for sentinel in sentinels
    )
    if not sentinels or not pairs or not url.hostname:
        raise entry.error(
            "OPTIONS has to name the Sentinels and LOCATION the primary: write 'LOCATION': 'redis://name/0' "
            "and 'SENTINELS': [('127.0.0.1', 26379)]"
        )
    known = _HARMLESS | _TLS | {"password", "socket_timeout", "ssl", "username"}
    entry.check_options(options, known, where="SENTINEL_KWARGS")
    if bool(options.get("ssl", False)) != has_tls:
        raise entry.error(
            "either both the Redis servers and the Sentinels speak TLS or neither does: write 'rediss://' in "
            "LOCATION and 'SENTINEL_KWARGS': {'ssl': True}, or leave both out"
        )
    return {
        "servers": [_address(host, port) for host, port in sentinels],
        "sentinel": url.hostname,
        "sentinel_username": options.get("username"),
        "sentinel_password": options.get("password"),
    }


def _context(entry: CacheEntry, given: Mapping[str, Any]) -> ssl.SSLContext:
    """Return how to speak TLS, from redis-py's options."""
    verify = given.get("ssl_cert_reqs", "required")
    try:
        context = ssl.create_default_context(
            cafile=given.get("ssl_ca_certs"), capath=given.get("ssl_ca_path"), cadata=given.get("ssl_ca_data")
        )
        mode = _VERIFY[verify] if verify is None or isinstance(verify, str) else ssl.VerifyMode(verify)
        context.check_hostname = mode != ssl.CERT_NONE and given.get("ssl_check_hostname", True)
        context.verify_mode = mode
        if given.get("ssl_certfile") is not None:
            context.load_cert_chain(
                given["ssl_certfile"], given.get("ssl_keyfile"), given.get("ssl_password")
            )
        if given.get("ssl_min_version") is not None:
            context.minimum_version = given["ssl_min_version"]
        if given.get("ssl_ciphers") is not None:
            context.set_ciphers(given["ssl_ciphers"])
    except (OSError, ValueError, KeyError) as error:  # SSLError is an OSError
        raise entry.error(
            f"the ssl_ options cannot be used ({type(error).__name__}): ssl_cert_reqs is 'required', "
            "'optional' or None; check the files of the others"
        ) from error
    return context
