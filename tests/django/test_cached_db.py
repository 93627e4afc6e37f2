"""What ``cached_db`` has beyond the tests of all engines: its cache, in transactions and in outages."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from sojourn.django import engine as engines
from sojourn.django.backends import cached_db
from sojourn.django.database import DatabaseStore
from sojourn.stores.cached import CachedStore
from sojourn.testing import FaultyStore
from tests.django.servers import CACHED, sites
from tests.django.site import Browser, sign_in, sign_out
from tests.django.test_budget import requests
from tests.stores.cached_watch import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User

    from sojourn.testing import FakeClock
    from tests.django.site import Site

LEASE = 30

#: The rows of the design's table.
WITHIN_THE_LEASE = {
    "untouched": 0,
    "read": 1,
    "modified": 3,
    "new": 2,
    "login, no session before": 4,
    "login, with one": 6,
    "logout": 3,
    "Horizon page": 1,
}
#: The copy is put back by the read: see docs/explanation/cached.md.
LAPSED = WITHIN_THE_LEASE | {
    "read": 3,
    "modified": 5,
    "login, with one": 8,
    "logout": 5,
    "Horizon page": 3,
}

on_each = pytest.mark.parametrize("site", sites(*CACHED), indirect=True)
on_one = pytest.mark.parametrize("site", sites("cached_db on memcached"), indirect=True)


@pytest.fixture
def site(request: pytest.FixtureRequest, make_site: Any) -> Site:
    made: Site = make_site(request.param)
    return made


def watched(site: Site) -> tuple[FaultyStore, FaultyStore]:
    """Return the site's cache and database, which from now on count what is asked of them."""
    store: CachedStore = site.store
    cache, origin = FaultyStore(store.cache), FaultyStore(store.origin)
    [(where, place)] = engines._places.items()
    both = CachedStore(cache, origin, after_commit=store._commit_hook)
    engines._places[where] = replace(place, store=both)
    engines._engines.clear()
    return cache, origin


@on_each
@pytest.mark.parametrize("passed", [0, LEASE])
def test_each_request_costs_the_round_trips_of_the_budget(
    site: Site, alice: User, bob: User, clock: FakeClock, passed: int
) -> None:
    budget = LAPSED if passed else WITHIN_THE_LEASE
    stores = watched(site)
    counted: dict[str, int] = {}
    for name, request in requests(site, alice, bob):
        clock.advance(passed)
        for store in stores:
            store.forget()
        assert request().status_code == 200
        counted[name] = sum(len(store.calls) for store in stores)
    assert {name: counted[name] for name in budget} == budget


@on_each
def test_C3_the_cache_hears_of_a_transaction_when_it_is_committed(site: Site) -> None:
    alias = site.store.origin.alias
    key = site.saved(a=1).session_key
    cache, _ = watched(site)
    assert site.stored(key) == {"a": 1}
    cache.forget()
    with transaction.atomic(using=alias):
        session = site.session(key)
        session["a"] = 2
        session.save()
        assert set(cache.counts) == {"load"}
    assert cache.counts["update"] == 1
    assert site.stored(key) == {"a": 2}
    with transaction.atomic(using=alias):
        site.session(key).flush()
    site.elsewhere()
    assert site.stored(key) == {}


@on_each
def test_C3_the_cache_never_hears_of_what_was_rolled_back(site: Site) -> None:
    alias = site.store.origin.alias
    key = site.saved(a=1).session_key
    with transaction.atomic(using=alias):
        session = site.session(key)
        session["a"] = 2
        session.save()
        other = site.saved(b=1).session_key
        site.session(key).flush()
        transaction.set_rollback(True, using=alias)
    assert site.stored(key) == {"a": 1}
    assert site.stored(other) == {}


@on_each
def test_C3_a_transaction_reads_what_it_has_done_and_not_the_copy_from_before(site: Site) -> None:
    alias = site.store.origin.alias
    key = site.saved(a=1).session_key
    with transaction.atomic(using=alias):
        session = site.session(key)
        session["a"] = 2
        session.save()
        assert site.stored(key) == {"a": 2}
        site.session(key).flush()
        assert site.stored(key) == {}
        transaction.set_rollback(True, using=alias)
    assert site.stored(key) == {"a": 1}


@on_each
def test_C3_in_a_test_cases_transaction_an_asynchronous_view_reads_what_a_synchronous_middleware_saved(
    site: Site,
) -> None:
    with transaction.atomic(using=site.store.origin.alias):
        session = site.session()
        session["a"] = 1
        async_to_sync(session.asave)()
        key = session.session_key
        again = site.session(key)
        again["a"] = 2
        again.save()
        assert async_to_sync(site.session(key).aget)("a") == 2


@on_one
def test_what_waited_for_a_commit_is_forgotten_after_it_and_in_time_after_a_rollback(
    site: Site, clock: FakeClock
) -> None:
    alias, waiting = site.store.origin.alias, site.store._copies.unsettled
    for is_undone in (False, True):
        with transaction.atomic(using=alias):
            site.saved(a=1)
            assert len(waiting) == 1
            transaction.set_rollback(is_undone, using=alias)
        assert len(waiting) == is_undone
    clock.advance(2 * LEASE)
    for number in range(1001):
        site.store._copies.unsettle(f"{number:064x}")
    assert len(waiting) == 1001


@on_each
def test_C1_a_view_in_a_transaction_signs_in_and_out(site: Site, alice: User) -> None:
    alias = site.store.origin.alias

    in_a_transaction: Any = transaction.atomic(using=alias)
    browser = Browser()
    assert browser.visit(in_a_transaction(sign_in(alice))).status_code == 200
    token = browser.token
    assert browser.visit(lambda request: request.user.get_username()).content == b"alice"
    assert browser.visit(in_a_transaction(sign_out)).status_code == 200
    assert site.stored(token) == {}


@on_each
def test_C3_rows_deleted_by_hand_end_their_sessions_within_the_lease(site: Site, clock: FakeClock) -> None:
    key = site.saved(a=1).session_key
    site.session_class.get_model_class()._default_manager.using(site.store.origin.alias).all().delete()
    clock.advance(LEASE)
    assert site.stored(key) == {}


def test_F1_a_dead_cache_costs_no_request_and_no_sign_in(make_site: Any, alice: User) -> None:
    make_site("db")
    site = make_site("db", SESSION_ENGINE=cached_db.__name__, SOJOURN={"STORE": "memcached://127.0.0.1:1/"})
    assert isinstance(site.store, CachedStore)
    browser = Browser()
    assert browser.visit(sign_in(alice)).status_code == 200
    for _ in range(3):
        assert browser.visit(lambda request: request.user.get_username()).content == b"alice"
    token = browser.token
    assert browser.visit(sign_out).status_code == 200
    assert site.stored(token) == {}


def test_C3_no_session_is_copied_into_the_memory_of_one_process(
    make_site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process would not hear of a sign-out."""
    site = make_site("db", SESSION_ENGINE=cached_db.__name__)
    assert isinstance(site.store, DatabaseStore)
    assert "is the memory of one process" in caplog.text
    assert site.stored(site.saved(a=1).session_key) == {"a": 1}


@pytest.mark.asks_for("memcached")
def test_a_cap_is_the_databases_to_keep_whatever_the_cache(make_site: Any, alice: User) -> None:
    site = make_site("cached_db on memcached", SOJOURN={"MAX_SESSIONS_PER_USER": 2})
    for _ in range(4):
        Browser().visit(sign_in(alice))
    assert site.count == 2


@pytest.mark.asks_for("memcached")
def test_copies_and_the_sessions_of_the_cache_engine_do_not_meet(make_site: Any) -> None:
    first = make_site("memcached")
    key = first.saved(a=1).session_key
    caches, prefix = settings.CACHES, first.store._prefix
    site = make_site("cached_db on memcached", CACHES=caches)
    assert site.stored(key) == {}
    assert site.store.cache._prefix == prefix + b"copy/"


@on_one
def test_without_its_settings_it_says_what_to_write(site: Site, change_settings: Any) -> None:
    change_settings(SESSION_CACHE_ALIAS="elsewhere")
    with pytest.raises(ImproperlyConfigured, match="CACHES has no 'elsewhere'"):
        site.engine  # noqa: B018
    apps = [app for app in settings.INSTALLED_APPS if app != "sojourn.django"]
    change_settings(SESSION_CACHE_ALIAS="default", INSTALLED_APPS=apps)
    with pytest.raises(ImproperlyConfigured, match=r"add 'sojourn\.django' to INSTALLED_APPS"):
        site.engine  # noqa: B018


@on_one
def test_C3_a_miss_that_refills_after_a_sign_out_revives_nothing_here(site: Site) -> None:
    session = site.saved(a=1)
    key, store = session.session_key, site.store
    record = session.loaded().record
    store.cache.delete(record.key)
    reader = Stopped(store.load_steps(record.key), after=2)
    site.session(key).flush()
    assert reader.go_on() is None
    assert site.stored(key) == {}


@on_one
def test_the_same_with_djangos_engine_for_the_record(
    site: Site, record_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the session is back, for as long as its cookie lives.  The report shows it."""
    theirs = import_module("django.contrib.sessions.backends.cached_db").SessionStore
    session = theirs()
    session["a"] = 1
    session.save()
    key = session.session_key
    session._cache.delete(session.cache_key)
    read = theirs._get_session_from_db

    def read_and_be_stopped(self: Any) -> Any:
        found = read(self)
        theirs(key).flush()
        return found

    monkeypatch.setattr(theirs, "_get_session_from_db", read_and_be_stopped)
    theirs(key).load()
    monkeypatch.undo()
    is_back = theirs(key).load() == {"a": 1}
    seconds = settings.SESSION_COOKIE_AGE if is_back else 0
    what = "a miss that refills after a delete"
    record_property("served", ["Django's cached_db", what, int(is_back), seconds])
