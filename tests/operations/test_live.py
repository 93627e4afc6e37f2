"""``sojourn check --live``: what real servers with a fault each are found to have, and none without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.cli import main
from sojourn.clock import SystemClock
from sojourn.errors import PayloadTooLargeError, StoreUnavailableError
from sojourn.operations.check import Kind
from sojourn.operations.check.live import (
    Database,
    NotAskedError,
    Servers,
    common,
    database,
    live_findings,
    memcached,
    site,
    valkey,
)
from sojourn.operations.check.live.addresses import place_at
from sojourn.operations.check.live.site import site_findings
from sojourn.stores.from_url import from_url
from sojourn.stores.sql import SQLStore
from sojourn.stores.sql.statements import TABLE
from sojourn.testing.records import new_record
from tests.servers.process import HOST, Server, accepts, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sojourn.operations.check import Finding
    from sojourn.operations.check.live import Place
    from sojourn.operations.check.live.places import Held
    from tests.servers.mariadb import MariaDB
    from tests.servers.memcached import Memcached
    from tests.servers.postgresql import PostgreSQL
    from tests.servers.proxy import Proxy
    from tests.servers.valkey import Sentinels, Valkey

CLOCK = SystemClock()


@pytest.fixture(autouse=True)
def _no_server_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(common, "SLOW", float("inf"))


@pytest.fixture(name="memcached")
def own_memcached(new_memcached: Callable[..., Memcached]) -> Memcached:
    """A memcached of this test's own: one that is shared tells what others have stored, and were refused."""
    return new_memcached()


class Shifted(SystemClock):
    """A clock that is wrong by so many milliseconds."""

    def __init__(self, by: int) -> None:
        self._by = by

    def now(self) -> int:
        return super().now() + self._by


def place(address: str, *, holds: Held = "sessions") -> Place:
    found = place_at(address, where="SOJOURN['STORE']", holds=holds)
    assert found is not None
    return found


def ids(found: Iterator[Finding]) -> list[str]:
    return sorted(finding.id.removeprefix("sojourn.") for finding in found)


def ask(address: str, *, holds: Held = "sessions") -> list[Finding]:
    return list(live_findings(place(address, holds=holds), CLOCK))


def said(address: str, *, holds: Held = "sessions") -> list[str]:
    return ids(iter(ask(address, holds=holds)))


def fill(address: str, count: int, payload: int) -> None:
    with closing(from_url(address)) as store:
        for _ in range(count):
            store.create(new_record(CLOCK, payload=os.urandom(payload)))


def create_table(address: str) -> None:
    with closing(SQLStore(address.partition("?")[0], table=address.partition("table=")[2] or TABLE)) as store:
        store.create_table()


# --- Every server -------------------------------------------------------------------------------------


def nobody(scheme: str, rest: str) -> str:
    return f"{scheme}://{HOST}:{free_port()}/{rest}"


@pytest.mark.parametrize(
    ("scheme", "rest"),
    [
        ("memcached", ""),
        ("redis", "0"),
        ("postgresql", "sessions"),
        pytest.param("mysql", "sessions", marks=pytest.mark.asks_for("mariadb")),
    ],
)
def test_a_server_that_is_not_there_is_found(scheme: str, rest: str) -> None:
    [finding] = ask(nobody(scheme, rest))
    assert finding.id == "sojourn.E101"
    assert "SOJOURN['STORE']" in finding.corrected


@pytest.mark.parametrize("fault", ["blackhole", "garbage", "reset"])
def test_a_memcached_that_does_not_answer_properly_is_found(memcached_proxy: Proxy, fault: Any) -> None:
    memcached_proxy.fail(fault)
    assert said(f"memcached://{memcached_proxy.address}/?timeout=0.5") == ["E101"]
    memcached_proxy.heal()
    assert said(f"memcached://{memcached_proxy.address}/") == []


@pytest.mark.parametrize("fault", ["blackhole", "garbage", "reset"])
def test_a_redis_that_does_not_answer_properly_is_found(valkey_proxy: Proxy, fault: Any) -> None:
    valkey_proxy.fail(fault)
    assert said(f"redis://{valkey_proxy.address}/0?timeout=0.3") == ["E101"]
    valkey_proxy.heal()
    assert said(f"redis://{valkey_proxy.address}/0", holds="copies") == []


@pytest.mark.parametrize(("by", "direction"), [(-3_600_000, "ahead of"), (3_600_000, "behind")])
@pytest.mark.parametrize(
    ("scheme", "fixture"),
    [
        pytest.param("memcached", "memcached", marks=pytest.mark.asks_for("memcached")),
        pytest.param("redis", "valkey", marks=pytest.mark.asks_for("valkey")),
        pytest.param("postgresql", "postgresql", marks=pytest.mark.asks_for("postgresql")),
        pytest.param("mysql", "mariadb", marks=pytest.mark.asks_for("mariadb")),
    ],
)
def test_a_clock_that_is_an_hour_wrong_is_found(
    scheme: str, fixture: str, by: int, direction: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(fixture)
    user = {"postgresql": "postgres@", "mysql": "root@"}.get(scheme, "")
    address = f"{scheme}://{user}{server.address}/{'sessions?table=clocks' if user else ''}"
    there = place(address, holds="copies")
    if isinstance(there, Database):
        create_table(address)
    assert ids(live_findings(there, CLOCK)) == []
    [finding] = live_findings(there, Shifted(by))
    assert finding.id == "sojourn.W104"
    assert f"{direction} this machine's" in finding.what


def test_a_slow_way_to_a_server_is_found(memcached: Memcached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "SLOW", 0.0)
    [finding] = ask(f"memcached://{memcached.address}/")
    assert finding.id == "sojourn.W103"
    assert finding.what.startswith(f"A round trip to memcached at {memcached.address} takes ")


@pytest.mark.parametrize(
    ("version", "least", "is_old"),
    [
        ("1.6.9", "1.6.18", True),
        ("1.6.18", "1.6.18", False),
        ("1.10.0", "1.6.18", False),
        ("6.0.16", "6.2", True),
        ("7", "6.2", False),
        ("15.17 (Debian 15.17-0+deb12u1)", "12", False),
        ("11beta1", "12", True),
        ("10.5.8-MariaDB-log", "10.6", True),
        ("1.6.18_29_g0", "1.6.18", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, least: str, is_old: bool) -> None:
    assert ids(common.old("it", "there", version, least)) == (["E102"] if is_old else [])


# --- memcached ----------------------------------------------------------------------------------------


def test_a_memcached_that_is_as_it_should_be_has_nothing(memcached: Memcached) -> None:
    address = f"memcached://{memcached.address}/"
    fill(address, 100, 2_000)
    assert said(address) == []


def test_an_item_limit_that_sessions_outgrow_is_found(new_memcached: Callable[..., Memcached]) -> None:
    server = new_memcached("-I", "512k")
    address = f"memcached://{server.address}/"
    assert said(address) == []
    fill(address, 20, 300_000)
    [finding] = ask(address)
    assert finding.id == "sojourn.W105"
    assert "524,288" in finding.what
    corrected = new_memcached(*finding.corrected.partition("  #")[0].split())
    fill(f"memcached://{corrected.address}/", 20, 300_000)
    assert said(f"memcached://{corrected.address}/") == []


def test_sessions_that_were_refused_as_too_large_are_found(new_memcached: Callable[..., Memcached]) -> None:
    server = new_memcached("-I", "512k")
    address = f"memcached://{server.address}/"
    with pytest.raises(PayloadTooLargeError):
        fill(address, 1, 600_000)
    [finding] = ask(address)
    assert finding.id == "sojourn.W105"
    assert "1 items were refused" in finding.what


def test_evictions_and_a_full_memory_are_found(new_memcached: Callable[..., Memcached]) -> None:
    small, large = new_memcached("-m", "2", "-I", "512k"), new_memcached("-m", "64")
    for server in (small, large):
        fill(f"memcached://{server.address}/", 600, 8_000)
    [finding] = ask(f"memcached://{small.address}/")
    assert finding.id == "sojourn.W106"
    assert finding.corrected.startswith("-m 64 ")
    assert said(f"memcached://{large.address}/") == []
    assert said(f"memcached://{small.address}/", holds="copies") == [], "copies may go: the database has them"


def test_a_memory_that_is_nearly_full_is_found_before_anybody_is_signed_out() -> None:
    told = {"evictions": "0", "limit_maxbytes": "1000000", "bytes": "899999", "uptime": "5"}
    assert ids(memcached._evictions("it", "there", told)) == []
    assert ids(memcached._evictions("it", "there", told | {"bytes": "900001"})) == ["W107"]


def test_a_memcached_on_a_socket_is_asked(new_memcached: Callable[..., Memcached], tmp_path: Path) -> None:
    server = new_memcached(path=tmp_path / "socket")
    assert said(f"memcached://{tmp_path / 'socket'}") == []
    server.kill()
    assert said(f"memcached://{tmp_path / 'socket'}") == ["E101"]


def test_each_of_several_memcacheds_is_asked(memcached: Memcached) -> None:
    [finding] = ask(f"memcached://{memcached.address},{HOST}:{free_port()}/")
    assert finding.id == "sojourn.E101"


@pytest.mark.parametrize(
    ("sizes", "share", "size"),
    [
        ([], 0.99, 0),
        ([(100, 1)], 0.99, 100),
        ([(100, 99), (900, 1)], 0.99, 100),
        ([(100, 98), (900, 2)], 0.99, 900),
    ],
)
def test_a_quantile_is_the_size_that_so_many_do_not_exceed(
    sizes: list[tuple[int, int]], share: float, size: int
) -> None:
    assert memcached.quantile(sizes, share) == size


# --- Redis and Valkey ---------------------------------------------------------------------------------

LASTING = ("--appendonly", "yes")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (LASTING, []),
        ((), ["W109"]),
        (("--save", "3600 1"), ["I101"]),
        ((*LASTING, "--maxmemory", "50mb"), []),
        ((*LASTING, "--maxmemory-policy", "allkeys-lru"), []),
        ((*LASTING, "--maxmemory", "50mb", "--maxmemory-policy", "noeviction"), []),
        ((*LASTING, "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"), ["W108"]),
        ((*LASTING, "--maxmemory", "50mb", "--maxmemory-policy", "volatile-ttl"), ["W108"]),
    ],
    ids=" ".join,
)
def test_what_a_redis_is_set_up_with_is_found(
    new_valkey: Callable[..., Valkey], options: Sequence[str], expected: list[str]
) -> None:
    server = new_valkey(*options)
    assert said(f"redis://{server.address}/0") == expected
    assert said(f"redis://{server.address}/0", holds="copies") == []


@pytest.mark.parametrize("finding_id", ["W108", "W109"])
def test_the_lines_for_redis_correct_it_at_once(new_valkey: Callable[..., Valkey], finding_id: str) -> None:
    server = new_valkey("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    [finding] = [found for found in ask(f"redis://{server.address}/0") if found.id.endswith(finding_id)]
    command = finding.corrected.splitlines()[1].partition("  #")[0]
    assert server.ask(*command.split()) == b"OK"
    assert finding_id not in said(f"redis://{server.address}/0")


def test_a_redis_whose_memory_is_nearly_full_is_found(new_valkey: Callable[..., Valkey]) -> None:
    server = new_valkey(*LASTING)
    address = f"redis://{server.address}/0"
    fill(address, 20, 100_000)
    used = int(server.info("memory")["used_memory"])
    server.ask("CONFIG", "SET", "maxmemory", used + 50_000)
    assert said(address) == ["W107"]
    server.ask("CONFIG", "SET", "maxmemory", 2 * used)
    assert said(address) == []


def test_a_redis_user_who_may_not_ask_is_no_fault_of_the_server(new_valkey: Callable[..., Valkey]) -> None:
    server = new_valkey(*LASTING)
    server.ask("ACL", "SETUSER", "shop", "on", ">hunter2", "~*", "+@read", "+@write", "+@connection", "+time")
    address = f"redis://shop:hunter2@{server.address}/0"
    with pytest.raises(NotAskedError, match="INFO and CONFIG GET") as raised:
        ask(address)
    assert "hunter2" not in str(raised.value)
    [finding] = ask(f"redis://shop:wrong-one@{server.address}/0")
    assert finding.id == "sojourn.E101"
    assert "wrong-one" not in str(finding)


def test_the_primary_that_sentinels_name_is_asked(valkey_sentinels: Sentinels) -> None:
    servers = ",".join(valkey_sentinels.addresses)
    assert said(f"redis+sentinel://{servers}/{valkey_sentinels.name}/0", holds="copies") == []
    assert said(f"redis+sentinel://{servers}/nobody/0", holds="copies") == ["E101"]


# --- Databases ----------------------------------------------------------------------------------------


def in_postgresql(server: PostgreSQL, table: str, *, filled: int = 0) -> str:
    """Make a table there; return its address."""
    address = f"postgresql://postgres@{server.address}/sessions?table={table}"
    create_table(address)
    if filled:
        server.sql(
            f"INSERT INTO {table} SELECT sha256(i::text::bytea), 0, 1, NULL, 1, 1, 1, NULL, NULL, ''"
            f" FROM generate_series(1, {filled}) AS i"
        )
    return address


def test_a_database_without_the_table_is_found(postgresql: PostgreSQL) -> None:
    [finding] = ask(f"postgresql://postgres@{postgresql.address}/sessions?table=nowhere")
    assert finding.id == "sojourn.E103"
    in_postgresql(postgresql, "nowhere")
    assert said(f"postgresql://postgres@{postgresql.address}/sessions?table=nowhere") == []
    postgresql.sql("DROP TABLE nowhere")


@pytest.mark.parametrize("column", ["purge_at", "subject"])
def test_an_index_that_is_missing_is_found_in_postgresql(postgresql: PostgreSQL, column: str) -> None:
    address = in_postgresql(postgresql, "unindexed")
    postgresql.sql(f"DROP INDEX unindexed_{column}")
    [finding] = ask(address)
    assert finding.id == "sojourn.W110"
    postgresql.sql(finding.corrected)
    assert said(address) == []
    postgresql.sql("DROP TABLE unindexed")


def test_an_index_that_is_missing_is_found_in_mariadb(mariadb: MariaDB) -> None:
    address = f"mysql://root@{mariadb.address}/sessions?table=unindexed"
    create_table(address)
    assert said(address) == []
    mariadb.sql("DROP INDEX unindexed_subject ON unindexed")
    [finding] = ask(address)
    assert finding.id == "sojourn.W110"
    mariadb.sql(finding.corrected)
    assert said(address) == []
    mariadb.sql("DROP TABLE unindexed")


def test_rows_that_are_mostly_expired_are_found_until_they_are_purged(postgresql: PostgreSQL) -> None:
    address = in_postgresql(postgresql, "unpurged", filled=1_500)
    assert said(address) == ["W112"]
    with closing(SQLStore(address.partition("?")[0], table="unpurged")) as store:
        store.purge(limit=2_000)
    postgresql.sql("VACUUM unpurged")
    assert said(address) == []
    postgresql.sql("DROP TABLE unpurged")


def test_dead_rows_are_found_until_they_are_vacuumed(postgresql: PostgreSQL) -> None:
    server = postgresql
    address = in_postgresql(server, "bloated", filled=1_500)
    server.sql("ALTER TABLE bloated SET (autovacuum_enabled = false)")
    server.sql("UPDATE bloated SET idle_deadline = 2000000000000, purge_at = 2000000000000")
    server.sql("SELECT pg_stat_force_next_flush()")
    found = ask(address)
    assert [finding.id for finding in found] == ["sojourn.W111"]
    vacuum, alter = found[0].corrected.splitlines()
    server.sql(vacuum)
    server.sql(alter)
    assert said(address) == []


def test_a_table_with_a_partition_for_each_day_is_asked_like_any_other(postgresql: PostgreSQL) -> None:
    address = f"postgresql://postgres@{postgresql.address}/sessions"
    with closing(SQLStore(address, table="daily", partition_by="day")) as store:
        store.create_table()
        for _ in range(100):
            store.create(new_record(CLOCK, subject=b"ada"))
        assert said(f"{address}?table=daily") == []
        postgresql.sql("ALTER TABLE daily_undated SET (autovacuum_enabled = false)")
        in_postgresql(postgresql, "filled", filled=1_500)
        postgresql.sql("INSERT INTO daily SELECT * FROM filled")
        postgresql.sql("UPDATE daily SET purge_at = 2000000000000, idle_deadline = 2000000000000")
        postgresql.sql("SELECT pg_stat_force_next_flush()")
        [finding] = ask(f"{address}?table=daily")
        assert finding.id == "sojourn.W111"
        for statement in finding.corrected.splitlines():
            postgresql.sql(statement)
        assert said(f"{address}?table=daily") == []
    postgresql.sql("DROP TABLE daily, filled")


def test_a_table_in_a_schema_is_found_there(postgresql: PostgreSQL) -> None:
    address = f"postgresql://postgres@{postgresql.address}/sessions"
    postgresql.sql("CREATE SCHEMA elsewhere")
    with closing(SQLStore(address, table="kept", schema="elsewhere")) as store:
        store.create_table()
    assert said(f"{address}?table=kept&schema=elsewhere") == []
    assert said(f"{address}?table=kept") == ["E103"]
    postgresql.sql("DROP SCHEMA elsewhere CASCADE")


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_an_isolation_that_sessions_do_not_need_is_found(postgresql: PostgreSQL, level: str) -> None:
    postgresql.sql("CREATE DATABASE isolated")
    address = f"postgresql://postgres@{postgresql.address}/isolated"
    create_table(address)
    assert said(address) == []
    postgresql.sql(f"ALTER DATABASE isolated SET default_transaction_isolation = '{level}'")
    [finding] = ask(address)
    assert finding.id == "sojourn.W113"
    postgresql.sql(finding.corrected.splitlines()[1].replace("…", "isolated").partition("  --")[0])
    assert said(address) == []
    postgresql.sql("DROP DATABASE isolated")


def test_an_isolation_that_sessions_do_not_need_is_found_in_mariadb(mariadb: MariaDB) -> None:
    """As Django sets it on its connections; SQLStore has its own."""

    def asked(level: str) -> list[str]:
        def ask(statement: str) -> list[list[Any]]:
            printed = mariadb.sql(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}; {statement}")
            return [line.split("\t") for line in printed.splitlines()]

        there = Database(
            dialect="mysql", ask=ask, where="DATABASES['default']", table="django_session", is_ours=False
        )
        return ids(live_findings(there, CLOCK))

    assert asked("READ COMMITTED") == []
    assert asked("REPEATABLE READ") == ["W113"]


def test_a_database_that_fails_while_it_is_asked_is_not_taken_for_sound() -> None:
    def ask(statement: str) -> list[list[Any]]:
        if statement.startswith("SHOW server_version"):
            return [["15.1"]]
        raise StoreUnavailableError("it went away")

    there = Database(dialect="postgresql", ask=ask, where="DATABASES['default']", table="sojourn_session")
    with pytest.raises(StoreUnavailableError):
        list(live_findings(there, CLOCK))


# --- The way to the site ------------------------------------------------------------------------------

APPLICATION = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    (tmp_path / "served.py").write_text(APPLICATION)
    running: list[Server] = []

    def start(*options: str) -> str:
        port = free_port()
        arguments = [sys.executable, "-m", "gunicorn", "--chdir", str(tmp_path), "--bind", f"{HOST}:{port}"]
        server = Server([*arguments, *options, "served:application"], is_ready=lambda: accepts((HOST, port)))
        running.append(server)
        server.start()
        return f"http://{HOST}:{port}/"

    yield start
    for server in running:
        server.kill()


def test_a_server_that_refuses_cookies_of_the_size_of_sessions_is_found(serve: Callable[..., str]) -> None:
    site = serve()
    assert ids(site_findings(site, cookies=1)) == []
    [finding] = site_findings(site, cookies=4)
    assert finding.id == "sojourn.W114"
    option = finding.corrected.splitlines()[2].partition("  #")[0].split()
    assert ids(site_findings(serve(*option), cookies=4)) == []


def test_a_site_that_is_not_there_is_found() -> None:
    assert ids(site_findings(f"http://{HOST}:{free_port()}/", cookies=1)) == ["E104"]


# --- The command --------------------------------------------------------------------------------------

SOUND = """\
SECRET_KEY = "VwN3x0Qe7Jk2YpR9sTzA4bDf6GhLmC8u"
SESSION_COOKIE_SECURE = True
INSTALLED_APPS = ["django.contrib.sessions", "sojourn.django"]
SOJOURN = {"ABSOLUTE_TIMEOUT": 86400, "ANONYMOUS_TIMEOUT": 3600}
SILENCED_SYSTEM_CHECKS = ["sojourn.W103"]  # however busy the machine is
"""


def check(folder: Path, source: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command in a process of its own, for it configures Django."""
    path = folder / "settings.py"
    path.write_text(SOUND + source)
    command = [
        sys.executable,
        "-m",
        "sojourn.cli",
        "check",
        str(path),
        "--live",
        "--format",
        "json",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_command_asks_the_servers_of_a_cache(memcached: Memcached, tmp_path: Path) -> None:
    source = """
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {{"default": {{
    "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": {!r},
}}}}
"""
    code, found = check(tmp_path, source.format(memcached.address))
    assert (code, [finding["id"] for finding in found["findings"]]) == (0, [])
    code, found = check(tmp_path, source.format(f"{HOST}:{free_port()}"))
    assert (code, [finding["id"] for finding in found["findings"]]) == (1, ["sojourn.E101"])
    assert found["findings"][0]["where"] == "CACHES['default']"
    source += "SESSION_COOKIE_HTTPONLY = False\n"
    _, found = check(tmp_path, source.format(f"{HOST}:{free_port()}"))
    assert [finding["id"] for finding in found["findings"]] == ["sojourn.E101", "sojourn.W005"], (
        "gravest first"
    )


def test_the_command_asks_a_redis_and_shows_no_password(
    new_valkey: Callable[..., Valkey], tmp_path: Path
) -> None:
    server = new_valkey("--requirepass", "hunter2")
    source = f"""
SESSION_ENGINE = "sojourn.django.backends.cache"
SOJOURN["STORE"] = "redis://:hunter2@{server.address}/0"
"""
    code, found = check(tmp_path, source)
    assert (code, [finding["id"] for finding in found["findings"]]) == (1, ["sojourn.W109"])
    assert found["not_checked"] == []


def test_the_command_asks_database_and_cache_of_cached_db(
    memcached: Memcached, postgresql: PostgreSQL, tmp_path: Path
) -> None:
    postgresql.sql("CREATE DATABASE live")
    source = f"""
SESSION_ENGINE = "sojourn.django.backends.cached_db"
CACHES = {{"default": {{
    "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": {memcached.address!r},
}}}}
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": "live", "USER": "postgres", "PASSWORD": "hunter2",
    "HOST": {HOST!r}, "PORT": {postgresql.port}, "CONN_MAX_AGE": 600,
}}}}
"""
    code, found = check(tmp_path, source)
    assert (code, [finding["id"] for finding in found["findings"]]) == (1, ["sojourn.E103"])
    create_table(f"postgresql://postgres@{postgresql.address}/live")
    assert check(tmp_path, source)[0] == 0
    postgresql.sql("DROP DATABASE live WITH (FORCE)")


def test_the_command_asks_the_database_of_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    source = f"""
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache"}}}}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {str(path)!r}}}}}
"""
    code, found = check(tmp_path, source)
    assert (code, [finding["id"] for finding in found["findings"]]) == (1, ["sojourn.E103"])
    create_table(f"sqlite:///{path}")
    assert check(tmp_path, source)[0] == 0


def test_the_command_asks_a_database_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    source = f"""
SESSION_ENGINE = "sojourn.django.backends.db"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {str(path)!r}}}}}
"""
    code, found = check(tmp_path, source)
    assert (code, [finding["id"] for finding in found["findings"]]) == (1, ["sojourn.E103"])
    create_table(f"sqlite:///{path}")
    assert check(tmp_path, source) == (0, found | {"findings": []})


def test_the_command_asks_the_list_of_ended_sessions(
    new_valkey: Callable[..., Valkey], serve: Callable[..., str], tmp_path: Path
) -> None:
    source = f"""
SESSION_ENGINE = "sojourn.django.backends.signed_cookies"
SOJOURN["COOKIE_REVOCATIONS"] = "redis://{new_valkey().address}/0"
SOJOURN["MAX_COOKIES"] = 4
MIDDLEWARE = ["sojourn.django.middleware.SessionMiddleware"]
"""
    code, found = check(tmp_path, source, "--site", serve())
    assert code == 1
    assert sorted(finding["id"] for finding in found["findings"]) == ["sojourn.W109", "sojourn.W114"]
    assert {finding["where"] for finding in found["findings"]} == {"SOJOURN['COOKIE_REVOCATIONS']", "--site"}


def test_what_cannot_be_asked_is_said_and_is_exit_code_2(tmp_path: Path) -> None:
    source = """
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
SOJOURN["STORE"] = "redis+sentinel://127.0.0.1/"
"""
    code, found = check(tmp_path, source, "--fail-level", "error")
    assert found["not_checked"]
    assert code in (1, 2)


def test_without_live_nobody_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "settings.py"
    path.write_text(
        f'{SOUND}SESSION_ENGINE = "sojourn.django.backends.cache"\n'
        f'SOJOURN["STORE"] = "memcached://{HOST}:{free_port()}/"\n'
    )
    assert main(["check", str(path)]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_every_finding_of_servers_has_a_test_here() -> None:
    modules = (common, database, memcached, site, valkey)
    kinds = {kind.id for module in modules for kind in vars(module).values() if isinstance(kind, Kind)}
    assert len(kinds) >= 15
    tests = Path(__file__).read_text("utf-8")
    assert {name for name in kinds if f'{name.removeprefix("sojourn.")}"' not in tests} == set()


def test_a_place_shows_no_password() -> None:
    there = place("redis://:hunter2@10.0.0.1:6379/0")
    assert isinstance(there, Servers)
    assert "hunter2" not in repr(there)
    assert "hunter2" not in repr(place("postgresql://shop:hunter2@10.0.0.1/shop"))
