"""Sessions in a database that goes on holding its connections and answers nothing."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest
from django.db import OperationalError, connections, transaction
from django.test.utils import CaptureQueriesContext

from sojourn.clock import SystemClock
from sojourn.django.database import DatabaseStore
from sojourn.django.middleware import RETRY_AFTER
from sojourn.errors import StoreTimeoutError, StoreUnavailableError
from sojourn.testing.records import new_record
from tests.django.databases import entry_for, sessions_in
from tests.django.servers import PYMEMCACHE
from tests.django.site import Browser, Site, sign_in
from tests.django.wire import OURS
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from django.contrib.auth.models import User

    from tests.servers.mariadb import MariaDB
    from tests.servers.memcached import Memcached
    from tests.servers.postgresql import PostgreSQL

    Silence: TypeAlias = Literal["frozen", "unreachable"]

AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
CLOCK = SystemClock()
#: Seconds an operation may take here: as few as drivers can count when they connect.
TIMEOUT = 2.0

SERVERS = [
    pytest.param(name, marks=pytest.mark.asks_for(f"new_{name}")) for name in ("postgresql", "mariadb")
]


class Database:
    """A server of a test's own behind a proxy, and the two ways in which it answers nothing."""

    def __init__(self, server: PostgreSQL | MariaDB, proxy: Proxy) -> None:
        self.server = server
        self.proxy = proxy

    def entry(self, **more: Any) -> dict[str, Any]:
        return entry_for(self.server, self.proxy.port, CONN_MAX_AGE=None, **more)

    @contextmanager
    def silent(self, how: Silence) -> Iterator[None]:
        if how == "frozen":
            self.server.stop()
        else:
            self.proxy.fail("blackhole")
        try:
            yield
        finally:
            if how == "frozen":
                self.server.resume()
            self.proxy.heal()


@pytest.fixture(params=SERVERS)
def backing(request: pytest.FixtureRequest) -> Iterator[Database]:
    server: PostgreSQL | MariaDB = request.getfixturevalue(f"new_{request.param}")()
    with Proxy(server.port) as proxy:
        yield Database(server, proxy)


silences = pytest.mark.parametrize("how", ["frozen", "unreachable"])


def who(request: Any) -> str:
    return str(request.user)


def nothing(_request: Any) -> str:
    return "still here"


def put(request: Any) -> None:
    request.session["basket"] = ["apple"]


@silences
@pytest.mark.parametrize("has_cache", [False, pytest.param(True, marks=pytest.mark.asks_for("memcached"))])
def test_F1_F3_a_database_that_answers_nothing_is_503_in_time_and_then_everybody_is_still_signed_in(
    backing: Database,
    make_site: Callable[..., Site],
    request: pytest.FixtureRequest,
    alice: User,
    *,
    how: Silence,
    has_cache: bool,
) -> None:
    more: dict[str, Any] = {}
    if has_cache:
        memcached: Memcached = request.getfixturevalue("memcached")
        more["CACHES"] = {"default": {"BACKEND": PYMEMCACHE, "LOCATION": memcached.address}}
    name = "cached_db" if has_cache else "db"
    site = make_site(name, MIDDLEWARE=[OURS, AUTHENTICATION], SOJOURN={"TIMEOUT": TIMEOUT}, **more)
    with sessions_in(backing.entry()):
        site.elsewhere()
        browser = Browser()
        browser.visit(sign_in(alice))
        token = browser.token
        assert browser.visit(who).content == b"alice"
        with backing.silent(how):
            for view in (put, put) if has_cache else (who, put, who):
                answer = browser.visit(view)
                assert (answer.status_code, answer["Retry-After"]) == (503, str(RETRY_AFTER))
                assert not answer.cookies
            if has_cache:
                assert browser.visit(who).content == b"alice"  # from its copy
            newcomer = Browser()
            assert newcomer.visit(sign_in(alice)).status_code == 503
            assert newcomer.token is None
            assert browser.visit(nothing).content == b"still here"
        assert browser.token == token
        assert browser.visit(who).content == b"alice"
        assert newcomer.visit(sign_in(alice)).status_code == 200
        site.elsewhere()


@silences
def test_F3_no_operation_waits_for_longer_whatever_it_is_made_of(backing: Database, how: Silence) -> None:
    """In a transaction for the cap, with a health check, through Django's cursor, when connecting."""
    with sessions_in(backing.entry(CONN_HEALTH_CHECKS=True)) as alias:
        store = DatabaseStore(alias, timeout=TIMEOUT, max_sessions_per_subject=1)
        connection = connections[alias]
        record = new_record(CLOCK, subject=b"hers")
        record = replace(record, version=store.create(record))

        def sign_in_checked() -> None:
            connection.close_if_unusable_or_obsolete()  # as at the start of a request
            store.create(new_record(CLOCK, subject=b"hers"))

        def load_listened_to() -> None:
            with CaptureQueriesContext(connection):
                connection.close_if_unusable_or_obsolete()
                store.load(record.key)

        def load() -> None:
            store.load(record.key)

        def load_connecting() -> None:
            connection.close()
            store.load(record.key)

        for call in (load, load_connecting, sign_in_checked, load_listened_to):
            until_loaded(store, record.key)
            with backing.silent(how), pytest.raises(StoreTimeoutError, match=r"TIMEOUT") as caught:
                call()
            assert record.key not in str(caught.value)
            assert f"the database '{alias}' did not answer within 2 s" in str(caught.value)
            assert connection.connection is None
        assert until_loaded(store, record.key) == record


def until_loaded(store: DatabaseStore, key: str) -> Any:
    for _ in range(20):
        try:
            return store.load(key)
        except StoreUnavailableError:  # on a busy machine
            continue
    raise AssertionError("it does not recover")


@silences
def test_F3_an_applications_transaction_fails_with_the_session_operation_in_it(
    backing: Database, how: Silence
) -> None:
    with sessions_in(backing.entry()) as alias:
        store = DatabaseStore(alias, timeout=TIMEOUT)
        record = new_record(CLOCK)
        with pytest.raises(StoreTimeoutError), transaction.atomic(using=alias):  # noqa: PT012 - in this order
            store.create(record)
            with backing.silent(how):
                store.load(record.key)
        assert until_loaded(store, record.key) is None
        with pytest.raises(OperationalError), transaction.atomic(using=alias):  # noqa: PT012 - in this order
            store.create(record)
            with backing.silent(how), pytest.raises(StoreTimeoutError):
                store.load(record.key)
            connections[alias].needs_rollback = False  # an application that will not hear of it
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
        assert until_loaded(store, record.key) is None
        store.create(record)


def test_F3_a_statement_that_waits_for_a_lock_ends_in_time_and_who_has_the_lock_goes_on(
    backing: Database,
) -> None:
    with sessions_in(backing.entry()) as alias:
        store = DatabaseStore(alias, timeout=TIMEOUT)
        record = new_record(CLOCK)
        record = replace(record, version=store.create(record))
        failed: list[StoreTimeoutError] = []

        def write() -> None:
            try:
                store.update(record, record.version)
            except StoreTimeoutError as error:
                failed.append(error)
            finally:
                connections[alias].close()

        with transaction.atomic(using=alias):
            store.update(record, record.version)
            other = threading.Thread(target=write)
            other.start()
            other.join(60)
            assert len(failed) == 1
        assert store.load(record.key) == replace(record, version=record.version.next())


def test_to_partition_a_table_may_take_longer_than_an_operation(
    new_postgresql: Callable[[], PostgreSQL],
) -> None:
    server = new_postgresql()
    with Proxy(server.port) as proxy, sessions_in(entry_for(server, proxy.port)) as alias:
        store, patient = DatabaseStore(alias, timeout=0.3), DatabaseStore(alias, timeout=60)
        assert not patient.is_partitioned()
        proxy.pause = 0.01
        proxy.fail("slow")  # an answer to a read takes twice the time there is
        with pytest.raises(StoreTimeoutError):
            store.is_partitioned()
        proxy.heal()
        assert not patient.is_partitioned()
        proxy.fail("slow")
        assert store.partition()
        proxy.heal()
