"""The ``db`` engine: the application's transactions, routers, statements on the wire, migrations."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from sojourn.clock import SystemClock
from sojourn.django import psycopg3
from sojourn.django.checks import check_table
from sojourn.django.database import AsyncDatabaseStore, DatabaseStore
from sojourn.django.models import Session
from sojourn.errors import DuplicateKeyError, SessionGoneError, StoreUnavailableError
from sojourn.stores.sql import SQLStore
from sojourn.testing import (
    AsyncStoreContract,
    PurgeContract,
    ScanContract,
    StoreContract,
    SubjectIndexContract,
)
from sojourn.testing.records import new_record
from tests.django.databases import entry_for, sessions_in
from tests.django.servers import DATABASES, sites
from tests.django.site import Browser, Site, sign_in, sign_out
from tests.django.test_budget import BUDGET, requests, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from django.contrib.auth.models import User
    from django.http import HttpRequest

    from sojourn.clock import Clock
    from sojourn.record import Record
    from tests.servers.pgbouncer import PgBouncer
    from tests.servers.postgresql import PostgreSQL
    from tests.servers.proxy import Proxy

CLOCK = SystemClock()

SERVERS = [pytest.param(name, marks=pytest.mark.asks_for(name)) for name in ("postgresql", "mariadb")]

on_databases = pytest.mark.parametrize("site", sites(*DATABASES), indirect=True)


@pytest.fixture(params=sites(*DATABASES))
def alias(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with an empty table."""
    fixture = DATABASES[request.param]
    where = tmp_path / "db.sqlite3" if fixture is None else request.getfixturevalue(fixture)
    with sessions_in(entry_for(where)) as made:
        yield made


def created(store: DatabaseStore, **fields: Any) -> Record:
    record = new_record(CLOCK, **fields)
    return replace(record, version=store.create(record))


# the contract


class InADatabase:
    alias: str

    @pytest.fixture(autouse=True)
    def _database(self, alias: str) -> None:
        self.alias = alias


class TestDatabaseStore(InADatabase, StoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    clients = 2

    def make_store(self, clock: Clock) -> DatabaseStore:
        return DatabaseStore(self.alias, clock=clock)


class TestAsyncDatabaseStore(
    InADatabase, AsyncStoreContract, SubjectIndexContract, PurgeContract, ScanContract
):
    clients = 2

    async def make_store(self, clock: Clock) -> AsyncDatabaseStore:
        return AsyncDatabaseStore(DatabaseStore(self.alias, clock=clock))


# transactions


def test_a_duplicate_does_not_spoil_the_transaction_it_is_in(alias: str) -> None:
    store = DatabaseStore(alias)
    record = created(store)
    with transaction.atomic(using=alias):
        with pytest.raises(DuplicateKeyError):
            store.create(record)
        other = created(store)
        assert store.load(record.key) == record
    assert store.load(other.key) == other


def test_what_is_done_in_a_transaction_is_undone_with_it(alias: str) -> None:
    store = DatabaseStore(alias, max_sessions_per_subject=1)
    old, ended = created(store, subject=b"hers"), created(store)
    new = new_record(CLOCK, subject=b"hers")
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=alias):  # noqa: PT012 - in this order
        store.delete(ended.key)
        store.create(new)  # ends the old one, for the cap
        assert [store.load(record.key) for record in (old, ended)] == [None, None]
        raise ZeroDivisionError
    assert [store.load(record.key) for record in (old, ended, new)] == [old, ended, None]


def test_a_transaction_that_has_to_be_rolled_back_takes_nothing_more(alias: str) -> None:
    store = DatabaseStore(alias)
    record = created(store)
    with transaction.atomic(using=alias):
        transaction.set_rollback(True, using=alias)
        for call in (lambda: store.load(record.key), lambda: store.delete(record.key)):
            with pytest.raises(TransactionManagementError):
                call()
    assert store.load(record.key) == record


def test_no_savepoint_is_made_and_nothing_is_tidied_up_inside_a_transaction(alias: str) -> None:
    dead = created(DatabaseStore(alias), idle_deadline=CLOCK.now() - 1)
    store = DatabaseStore(alias, max_sessions_per_subject=1, purge_every=1)
    count = "SELECT count(*) FROM sojourn_session"
    with connections[alias].cursor() as cursor:
        with transaction.atomic(using=alias), CaptureQueriesContext(connections[alias]) as sent:
            created(store, subject=b"hers")
            assert store.load(dead.key) is None
            assert not any("SAVEPOINT" in query["sql"] for query in sent)
            cursor.execute(count)
            [inside] = cursor.fetchone()
        cursor.execute(count)
        [afterwards] = cursor.fetchone()
    assert inside - afterwards == 1  # purged once the transaction was over


@on_databases
def test_a_view_in_a_transaction_of_its_own_signs_in_and_out(site: Site, alice: User) -> None:
    """What ``ATOMIC_REQUESTS`` does, on the database of the sessions."""

    def in_transaction(view: Any, *, fails: bool = False) -> Any:
        def wrapped(request: HttpRequest) -> Any:
            with transaction.atomic(using=site.store.alias):
                view(request)
                if fails:
                    raise ZeroDivisionError

        return wrapped

    browser = Browser(token=site.saved(basket=["apple"]).session_key)
    browser.visit(in_transaction(sign_in(alice)))
    assert site.stored(browser.token)["basket"] == ["apple"]
    former = browser.token
    assert browser.visit(in_transaction(sign_out, fails=True)).status_code == 500
    assert "_auth_user_id" in site.stored(former)  # the logout was undone with everything else
    Browser(token=former).visit(in_transaction(sign_out))
    assert site.stored(former) == {}
    assert site.count == 0


def test_statements_show_where_somebody_listens(alias: str) -> None:
    store = DatabaseStore(alias)
    record = created(store)
    with CaptureQueriesContext(connections[alias]) as sent:
        store.load(record.key)
        store.touch(record.key, record.idle_deadline + 1)
    assert [query["sql"].split()[0] for query in sent] == ["SELECT", "UPDATE"]


# who else uses the table


def test_sqlalchemys_store_shares_the_table_with_django(alias: str, site_url: str) -> None:
    django, other = DatabaseStore(alias), SQLStore(site_url, timeout=60.0)
    record = created(django, subject=b"hers", info=b"i", absolute_deadline=CLOCK.now() + 9_000_000)
    assert other.load(record.key) == record
    record = replace(record, version=other.update(record, record.version))
    assert list(django.find_subject(b"hers")) == [record]
    other.delete(record.key)
    with pytest.raises(SessionGoneError):
        django.update(record, record.version)
    other.close()


@pytest.fixture
def site_url(alias: str) -> str:
    entry: dict[str, Any] = connections[alias].settings_dict
    kind = entry["ENGINE"].rpartition(".")[2]
    if kind == "sqlite3":
        return f"sqlite:///{entry['NAME']}"
    return f"{kind}://{entry['USER']}@{entry['HOST']}:{entry['PORT']}/{entry['NAME']}"


@on_databases
def test_the_model_counts_sessions_and_deletes_them(site: Site) -> None:
    kept, gone = site.saved(a=1), site.saved(a=2)
    key = site.engine.manager.open(gone.session_key).record.key
    assert Session.objects.count() == 2
    assert str(Session.objects.get(pk=key)) == key[:12]
    assert "payload" not in repr(Session.objects.get(pk=key))
    Session.objects.filter(pk=key).delete()
    assert site.stored(gone.session_key) == {}
    assert site.stored(kept.session_key) == {"a": 1}


# the wire


@pytest.mark.parametrize("server", SERVERS)
def test_each_request_costs_the_statements_of_the_budget_on_the_wire(
    request: pytest.FixtureRequest, server: str, make_site: Any, alice: User, bob: User
) -> None:
    """Round trips of Django's connection, counted by a proxy before the server."""
    proxy: Proxy = request.getfixturevalue(f"{server}_proxy")
    site: Site = make_site("db")
    with sessions_in(entry_for(request.getfixturevalue(server), proxy.port)):
        site.elsewhere()
        for _ in range(3):  # what is said once on a connection, and once for each statement prepared
            for _, call in requests(site, alice, bob):
                call()
        counted: dict[str, int] = {}
        for name, call in requests(site, alice, bob):
            site.store._created = 0  # purging is counted apart
            before = proxy.round_trips
            assert call().status_code == 200
            counted[name] = proxy.round_trips - before
        print(table(f"round trips on {server}", counted))  # noqa: T201 - for the record
        assert counted == BUDGET
        site.elsewhere()


def test_statements_are_prepared_on_a_connection_that_lasts(postgresql: PostgreSQL) -> None:
    for options, expected in (({}, 1), ({"prepare_threshold": None}, 0), ({"server_side_binding": True}, 0)):
        with sessions_in(entry_for(postgresql, OPTIONS=options)) as alias:
            store = DatabaseStore(alias)
            key = new_record(CLOCK).key
            for _ in range(10):
                store.load(key)
            assert _prepared(alias) == expected, options


def _work(alias: str, errors: list[Exception], *, gives_back: bool) -> None:
    """Do everything a store can, often; ``gives_back``: end the request after each round."""
    store = DatabaseStore(alias)
    try:
        for _ in range(30):
            record = created(store, subject=b"hers")
            assert store.load(record.key) == record
            record = replace(record, version=store.update(record, record.version))
            new = new_record(CLOCK)
            store.move(record.key, record.version, new)
            assert store.delete(new.key)
            if gives_back:
                connections[alias].close()
    except Exception as error:  # noqa: BLE001 - the caller looks at them
        errors.append(error)
    finally:
        connections[alias].close()


def _at_once(alias: str, *, gives_back: bool = False) -> list[Exception]:
    errors: list[Exception] = []
    threads = [
        threading.Thread(target=_work, args=(alias, errors), kwargs={"gives_back": gives_back})
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def test_behind_pgbouncer_in_transaction_mode_nothing_is_prepared(
    postgresql: PostgreSQL, pgbouncer: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sessions_in(entry_for(postgresql, pgbouncer.port)) as alias:
        assert _at_once(alias) == []
        assert _prepared(alias) == 0
        monkeypatch.setattr(psycopg3, "_may_prepare", lambda _: True)
        _at_once(alias)
        assert _prepared(alias) > 0, "what there would be"


def _prepared(alias: str) -> int:
    """Return how many statements about sessions the server has prepared that answers next."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%sojourn_session%'")
        [count] = cursor.fetchone()
    connections[alias].close()
    return int(count)


def test_a_statement_that_was_deallocated_is_prepared_anew(postgresql: PostgreSQL) -> None:
    with sessions_in(entry_for(postgresql, CONN_MAX_AGE=None)) as alias:
        store = DatabaseStore(alias)
        record = created(store)
        for statement in ("DEALLOCATE ALL", "DISCARD ALL"):
            for _ in range(10):
                assert store.load(record.key) == record
            with connections[alias].cursor() as cursor:
                cursor.execute(statement)
        with transaction.atomic(using=alias):
            assert store.load(record.key) == record
            transaction.set_rollback(True, using=alias)  # psycopg deallocates all
        for _ in range(10):
            assert store.load(record.key) == record


def test_a_statement_takes_part_in_a_transaction_however_it_was_begun(postgresql: PostgreSQL) -> None:
    with sessions_in(entry_for(postgresql)) as alias:
        store, connection = DatabaseStore(alias), connections[alias]
        record = created(store)
        for _ in range(5):  # so that all of them are prepared
            assert store.load(record.key) == record
            assert store.delete(created(store).key)
        for begin, undo in (
            (lambda: connection.cursor().execute("BEGIN"), lambda: connection.cursor().execute("ROLLBACK")),
            (lambda: connection.set_autocommit(False), connection.rollback),
        ):
            begin()
            assert store.delete(record.key)
            undo()
            assert store.load(record.key) == record
        connection.rollback()
        connection.set_autocommit(True)


def test_djangos_pool_hands_its_connections_around(postgresql: PostgreSQL) -> None:
    pool = {"min_size": 1, "max_size": 3, "timeout": 60}
    with sessions_in(entry_for(postgresql, OPTIONS={"pool": pool})) as alias:
        assert _at_once(alias, gives_back=True) == []
        connections[alias].close()
        connections[alias].close_pool()  # type: ignore[attr-defined]  # PostgreSQL's


# what is wrong is said


def test_F1_a_database_that_is_down_is_unavailable_and_recovers(new_postgresql: Any) -> None:
    server: PostgreSQL = new_postgresql()
    with sessions_in(entry_for(server, CONN_MAX_AGE=None)) as alias:
        store = DatabaseStore(alias)
        record = created(store)
        server.kill()
        with pytest.raises(StoreUnavailableError, match=f"the database '{alias}'") as caught:
            store.load(record.key)
        assert record.key not in str(caught.value)
        server.start()
        assert store.load(record.key) == record  # a read whose connection was lost is asked again
        store.delete(record.key)


def test_without_the_app_the_engine_says_which_line_is_missing(make_site: Any) -> None:
    apps = [app for app in settings.INSTALLED_APPS if app != "sojourn.django"]
    site: Site = make_site("db", INSTALLED_APPS=apps)
    with pytest.raises(ImproperlyConfigured, match=r"add 'sojourn\.django' to INSTALLED_APPS, then run"):
        site.session()
    errors = checks.run_checks()
    assert [error.id for error in errors if "INSTALLED_APPS" in error.msg] == ["sojourn.E010"]


@on_databases
def test_without_the_table_the_first_request_says_so(site: Site) -> None:
    alias = site.store.alias
    site.saved(a=1)
    call_command("migrate", "sojourn", "zero", database=alias, verbosity=0)
    with pytest.raises(ImproperlyConfigured, match=f"run manage.py migrate --database {alias}"):
        site.stored("U" * 40)
    [warning] = check_table(databases=[alias])
    assert warning.id == "sojourn.W002"
    assert f"; manage.py migrate --database {alias} makes it." in str(
        warning.msg
    )  # true in migrate itself, too
    assert f"manage.py migrate --database {alias}" in str(warning.hint)
    assert check_table(databases=["default"]) == check_table() == []
    call_command("migrate", "sojourn", database=alias, verbosity=0)
    assert check_table(databases=[alias]) == []
    assert site.stored(site.saved(a=1).session_key) == {"a": 1}


def test_a_database_that_is_not_there_is_named(make_site: Any) -> None:
    site: Site = make_site("db", SOJOURN={"DATABASE": "sesions"})
    with pytest.raises(ImproperlyConfigured, match="'sesions', but DATABASES has no 'sesions'"):
        site.session()


def test_the_database_may_be_named_in_place_of_a_router(make_site: Any, tmp_path: Path) -> None:
    with sessions_in(entry_for(tmp_path / "named.sqlite3")) as alias:
        site: Site = make_site("db", SOJOURN={"DATABASE": alias})
        assert site.store.alias == alias
        assert site.stored(site.saved(a=1).session_key) == {"a": 1}


# migrations


def test_no_migration_is_missing() -> None:
    out = io.StringIO()
    call_command("makemigrations", "sojourn", check=True, dry_run=True, stdout=out)
    assert "No changes" in out.getvalue()


def test_migrations_apply_and_reverse_and_leave_nothing_behind(alias: str) -> None:
    def tables() -> list[str]:
        with connections[alias].cursor() as cursor:
            return connections[alias].introspection.table_names(cursor)

    assert "sojourn_session" in tables()
    call_command("migrate", "sojourn", "zero", database=alias, verbosity=0)
    assert not [name for name in tables() if "sojourn" in name]
    call_command("migrate", "sojourn", database=alias, verbosity=0)
    record = created(DatabaseStore(alias))
    assert DatabaseStore(alias).load(record.key) == record


def test_the_migration_makes_the_table_that_sqlalchemy_makes(alias: str, site_url: str) -> None:
    store = SQLStore(site_url, table="made_by_sqlalchemy", timeout=60.0)
    store.create_table()
    look = sa.inspect(store._engine)
    described = []
    for name in ("sojourn_session", "made_by_sqlalchemy"):
        columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in look.get_columns(name)}
        indexes = {tuple(index["column_names"]) for index in look.get_indexes(name)}
        described.append((columns, look.get_pk_constraint(name)["constrained_columns"], indexes))
    with store._engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE made_by_sqlalchemy")
    store.close()
    assert described[0] == described[1]


def test_postgresql_leaves_room_and_compresses_no_payload(postgresql: PostgreSQL) -> None:
    with sessions_in(entry_for(postgresql)) as alias, connections[alias].cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = 'sojourn_session'")
        [options] = cursor.fetchone()
        assert "fillfactor=80" in options
        cursor.execute(
            "SELECT attstorage FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid "
            "WHERE relname = 'sojourn_session' AND attname = 'payload'"
        )
        assert cursor.fetchone()[0] in ("e", b"e")


# growth


@on_databases
def test_D6_clearsessions_removes_the_dead_and_nobody_else(site: Site) -> None:
    for _ in range(30):
        created(site.store, idle_deadline=CLOCK.now() - 1)
    living = [site.saved(number=number) for number in range(5)]
    call_command("clearsessions")
    assert Session.objects.count() == 5
    assert [site.stored(session.session_key)["number"] for session in living] == list(range(5))


def test_L7_fifty_racing_sign_ins_never_leave_more_sessions_than_the_cap(alias: str) -> None:
    store = DatabaseStore(alias, max_sessions_per_subject=5)
    seen: list[int] = []

    def sign_in_often() -> None:
        for _ in range(5):
            anonymous = created(store)
            store.update(replace(anonymous, subject=b"hers"), anonymous.version)
            seen.append(len(store.find_subject(b"hers")))

    threads = [threading.Thread(target=sign_in_often) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 50
    assert max(seen) <= 5
    assert len(store.find_subject(b"hers")) == 5
