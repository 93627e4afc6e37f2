"""A store by its address: one line in a settings file or an environment variable.

Only the store that an address names is imported, when it is asked for.
"""

from __future__ import annotations

import difflib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from sojourn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sojourn.clock import Clock
    from sojourn.store import AsyncStore, Store

__all__ = [
    "OPTIONS",
    "SCHEMES",
    "Arguments",
    "async_from_url",
    "from_url",
    "open_async_store",
    "open_store",
    "parsed",
]

Arguments: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What an option's value has to be."""

    name: str
    example: str
    read: Callable[[str], Any]


def _optional_number(text: str) -> int | None:
    return None if text == "none" else int(text)


_NUMBER: Final = _Kind("a whole number", "16", int)
_SECONDS: Final = _Kind("seconds", "2.5", float)
_LIMIT: Final = _Kind("a whole number or none", "5", _optional_number)
_TEXT: Final = _Kind("text", "sojourn:", str)
_FILE: Final = _Kind("a file", "/etc/ssl/sessions.pem", str)

#: The options of each kind of store, which go after ``?``.
OPTIONS: Final[Mapping[str, Mapping[str, _Kind]]] = {
    "memory": {"max_bytes": _NUMBER, "max_sessions_per_subject": _LIMIT},
    "sqlite": {"timeout": _SECONDS, "max_sessions_per_subject": _LIMIT, "purge_every": _LIMIT},
    "memcached": {
        "key_prefix": _TEXT,
        "timeout": _SECONDS,
        "max_connections": _NUMBER,
        "max_payload": _NUMBER,
    },
    "valkey": {
        "key_prefix": _TEXT,
        "timeout": _SECONDS,
        "max_connections": _NUMBER,
        "max_sessions_per_subject": _LIMIT,
        "database": _NUMBER,
        "sentinel_username": _TEXT,
        "sentinel_password": _TEXT,
        "tls_ca": _FILE,
        "tls_certificate": _FILE,
        "tls_key": _FILE,
    },
    "sql": {
        "table": _TEXT,
        "schema": _TEXT,
        "timeout": _SECONDS,
        "max_connections": _NUMBER,
        "max_sessions_per_subject": _LIMIT,
        "purge_every": _LIMIT,
        "partition_by": _TEXT,
    },
}

#: The kind whose other options are the driver's.
_SQL: Final = "sql"

_VALKEY_SCHEMES: Final = tuple(
    name + way for way in ("", "+cluster", "+sentinel", "+unix") for name in ("redis", "valkey")
) + tuple(name + way for way in ("", "+cluster", "+sentinel") for name in ("rediss", "valkeys"))

_SQL_SCHEMES: Final = (
    *("postgresql", "postgresql+psycopg", "postgresql+asyncpg"),
    *("mysql", "mysql+mysqldb", "mysql+pymysql", "mysql+asyncmy", "mysql+aiomysql"),
    *("mariadb", "mariadb+mysqldb", "mariadb+pymysql", "mariadb+asyncmy", "mariadb+aiomysql"),
)

#: Every scheme, with the kind of store it names.
SCHEMES: Final[Mapping[str, str]] = {
    "memory": "memory",
    "sqlite": "sqlite",
    "memcached": "memcached",
    **dict.fromkeys(_VALKEY_SCHEMES, "valkey"),
    **dict.fromkeys(_SQL_SCHEMES, _SQL),
}


def from_url(url: str, *, clock: Clock | None = None) -> Store:
    """Return the store that ``url`` names.

    ::

        memory://
        sqlite:///var/lib/shop/sessions.db
        memcached://10.0.0.1:11211,10.0.0.2:11211/
        redis://user:password@10.0.0.1:6379/0        rediss:// with TLS
        valkey://…                                   valkeys:// with TLS
        redis+cluster://10.0.0.1:6379,10.0.0.2/      rediss+cluster://, valkey+cluster://, …
        redis+sentinel://10.0.0.1,10.0.0.2/name/0    the Sentinels, the primary's name, the database
        redis+unix:///run/redis.sock?database=0
        postgresql://user:password@10.0.0.1:5432/shop    postgresql+psycopg:// for a driver
        mysql://…                                        mariadb://…

    Options follow, as in ``?timeout=0.5&key_prefix=shop:``; each is an argument of the store's class.  Others
    in the address of a SQL database are passed on to its driver (``sslmode=verify-full``).
    Special characters of users and passwords are written as ``%40``.

    Raises ``ConfigurationError`` for what it does not know and for values the store refuses; the message
    never shows a password.
    """
    kind, arguments = parsed(url)
    return open_store(kind, {**arguments, "clock": clock})


def async_from_url(url: str, *, clock: Clock | None = None) -> AsyncStore:
    """Return the asynchronous store that ``url`` names: see :func:`from_url`."""
    kind, arguments = parsed(url)
    return open_async_store(kind, {**arguments, "clock": clock})


def open_store(kind: str, arguments: Arguments) -> Store:
    """Return a store of this kind; ``arguments`` are those of its class."""
    if kind == "memory":
        from sojourn.stores.memory import MemoryStore  # noqa: PLC0415 - only what is asked for

        return MemoryStore(**arguments)
    if kind == "sqlite":
        from sojourn.stores.embedded import EmbeddedStore  # noqa: PLC0415

        return EmbeddedStore(**arguments)
    if kind == "memcached":
        from sojourn.stores.memcached import MemcachedStore  # noqa: PLC0415

        return MemcachedStore(**arguments)
    if kind == _SQL:
        from sojourn.stores.sql import SQLStore  # noqa: PLC0415

        return SQLStore(**arguments)
    from sojourn.stores.valkey import ValkeyStore  # noqa: PLC0415

    return ValkeyStore(**arguments)


def open_async_store(kind: str, arguments: Arguments) -> AsyncStore:
    """Return the asynchronous twin of what :func:`open_store` does."""
    if kind == "memory":
        from sojourn.stores.memory import AsyncMemoryStore, MemoryStore  # noqa: PLC0415 - as above

        return AsyncMemoryStore(MemoryStore(**arguments))
    if kind == "sqlite":
        from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore  # noqa: PLC0415

        return AsyncEmbeddedStore(EmbeddedStore(**arguments))
    if kind == "memcached":
        from sojourn.stores.memcached import AsyncMemcachedStore  # noqa: PLC0415

        return AsyncMemcachedStore(**arguments)
    if kind == _SQL:
        from sojourn.stores.sql import AsyncSQLStore  # noqa: PLC0415

        return AsyncSQLStore(**arguments)
    from sojourn.stores.valkey import AsyncValkeyStore  # noqa: PLC0415

    return AsyncValkeyStore(**arguments)


def parsed(url: str) -> tuple[str, Arguments]:
    """Return the kind of store ``url`` names and the arguments of its class.  Raises as :func:`from_url`."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    kind = SCHEMES.get(scheme)
    if kind is None:
        raise ConfigurationError(
            f"no store's address begins so; write {_nearest(scheme, SCHEMES)}:// or another of "
            f"{', '.join(f'{name}://' for name in SCHEMES)}"
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"the {scheme}:// address cannot be read; check its brackets") from error
    if parts.fragment:
        raise ConfigurationError(f"the {scheme}:// address contains '#'; write %23 for it")
    if kind == "valkey" and parts.netloc and "@" in parts.path + parts.query:  # before any of it is shown
        raise ConfigurationError(
            f"the {scheme}:// address has an '@' after its first '/' or '?'; in users and passwords "
            "write %2F, %3F and %40 for these"
        )
    options = parse_qsl(parts.query, keep_blank_values=True)
    if kind == _SQL:
        of_driver = [option for option in options if option[0] not in OPTIONS[_SQL]]
        options = [option for option in options if option not in of_driver]
        parts = parts._replace(query=urlencode(of_driver))
    arguments = _options(options, scheme, OPTIONS[kind])
    return kind, _PLACES[kind](parts, arguments)


def _options(options: list[tuple[str, str]], scheme: str, known: Mapping[str, _Kind]) -> Arguments:
    arguments: Arguments = {}
    for name, text in options:
        kind = known.get(name)
        if kind is None:
            raise ConfigurationError(
                f"{scheme}:// has no option {name!r}; did you mean {_nearest(name, known)!r}? "
                f"There are {', '.join(known)}"
            )
        if name in arguments:
            raise ConfigurationError(f"the option {name} of the {scheme}:// address is given twice; keep one")
        try:
            arguments[name] = kind.read(text)
        except ValueError as error:
            raise ConfigurationError(
                f"the option {name} of the {scheme}:// address has to be {kind.name}, such as "
                f"{name}={kind.example}"
            ) from error
    return arguments


def _nearest(name: str, known: Mapping[str, object]) -> str:
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _memory(parts: SplitResult, arguments: Arguments) -> Arguments:
    if parts.netloc or parts.path.strip("/"):
        raise ConfigurationError("memory:// is nowhere else; leave out what follows, but options after '?'")
    return arguments


def _sqlite(parts: SplitResult, arguments: Arguments) -> Arguments:
    path = unquote(parts.path)
    if path.strip("/") == ":memory:":
        raise ConfigurationError(
            "sqlite:// keeps sessions in a file; for this process's memory write memory://"
        )
    if parts.netloc or len(path.strip("/")) == 0:
        raise ConfigurationError(
            "a sqlite:// address is a path from the root of this machine: three slashes, such as "
            "sqlite:///var/lib/shop/sessions.db"
        )
    return {"path": "/" + path.lstrip("/"), **arguments}


def _memcached(parts: SplitResult, arguments: Arguments) -> Arguments:
    if "@" in parts.netloc:
        raise ConfigurationError("memcached has no users; leave out what comes before '@'")
    if parts.netloc and not parts.path.strip("/"):
        return {"servers": parts.netloc, **arguments}
    if not parts.netloc and len(parts.path) > 1:
        return {"servers": f"unix:{unquote(parts.path)}", **arguments}
    raise ConfigurationError(
        "a memcached:// address is memcached://host:11211,other:11211/ or memcached:///path/to/socket"
    )


def _sql(parts: SplitResult, arguments: Arguments) -> Arguments:
    # Not parts.geturl(), which loses the slashes of an address without a host.
    query = f"?{parts.query}" if parts.query else ""
    return {"database": f"{parts.scheme}://{parts.netloc}{parts.path}{query}", **arguments}


def _valkey(parts: SplitResult, arguments: Arguments) -> Arguments:
    scheme = parts.scheme
    name, _, way = scheme.partition("+")
    user, _, servers = parts.netloc.rpartition("@")
    arguments |= _credentials(user, scheme)
    path = [unquote(part) for part in parts.path.split("/") if part]
    if way == "unix":
        if servers or not path:
            raise ConfigurationError(f"write three slashes and the socket: {scheme}:///run/redis.sock")
        arguments["servers"] = "unix:" + unquote(parts.path)
        path = []
    else:
        if not servers:
            raise ConfigurationError(f"the {scheme}:// address names no server; write {scheme}://host:port")
        arguments["servers"] = servers
    if way == "cluster":
        arguments["cluster"] = True
    if way == "sentinel":
        if not path:
            raise ConfigurationError(
                "the name of the primary is missing; write it after the Sentinels, as in "
                f"{scheme}://host:26379,other/name"
            )
        arguments["sentinel"] = path.pop(0)
    if path:
        if len(path) > 1 or not path[0].isdecimal() or "database" in arguments:
            raise ConfigurationError(f"the {scheme}:// address ends in one number, the database, such as /0")
        arguments["database"] = int(path[0])
    return _with_tls(arguments, scheme, is_on=name.endswith("s") and name != "redis")


def _credentials(user: str, scheme: str) -> Arguments:
    username, _, password = user.partition(":")
    if password:
        return {"username": unquote(username) or None, "password": unquote(password)}
    if user:
        raise ConfigurationError(
            f"the {scheme}:// address has a user but no password; write user:password@ or :password@"
        )
    return {}


def _with_tls(arguments: Arguments, scheme: str, *, is_on: bool) -> Arguments:
    authority = arguments.pop("tls_ca", None)
    certificate, key = arguments.pop("tls_certificate", None), arguments.pop("tls_key", None)
    if not is_on:
        if authority or certificate or key:
            raise ConfigurationError(
                f"{scheme}:// speaks no TLS; write rediss:// or valkeys://, or leave the tls options out"
            )
        return arguments
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"tls_ca, tls_certificate or tls_key of the {scheme}:// address cannot be read: check the files"
        ) from error
    return {**arguments, "tls": context}


_PLACES: Final[Mapping[str, Callable[[SplitResult, Arguments], Arguments]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "memcached": _memcached,
    "valkey": _valkey,
    _SQL: _sql,
}
