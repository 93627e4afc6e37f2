"""What ``cache`` has beyond the tests of all engines where ``CACHES`` names ``DatabaseCache``."""

from __future__ import annotations

import base64
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.sessions.backends.cache import KEY_PREFIX
from django.core import checks
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections, transaction

from sojourn.django.backends import cached_db
from sojourn.django.checks import check_table
from sojourn.django.database import DatabaseStore
from sojourn.operations.check import Settings
from tests.django.databases import entry_for, sessions_in
from tests.django.servers import DATABASE_CACHE, IN_CACHES, sites
from tests.django.test_adoption import djangos

if TYPE_CHECKING:
    from pathlib import Path

    from tests.django.site import Site

CACHES = {"default": {"BACKEND": DATABASE_CACHE, "LOCATION": "django_cache"}}
UNKNOWN = "0123456789abcdef0123456789abcdef"

on_each = pytest.mark.parametrize("site", sites(*IN_CACHES), indirect=True)


@pytest.fixture
def site(request: pytest.FixtureRequest, make_site: Any) -> Site:
    made: Site = make_site(request.param)
    return made


@on_each
def test_sessions_are_in_the_table_of_sessions_in_the_database_that_the_cache_is_in(site: Site) -> None:
    assert isinstance(site.store, DatabaseStore)
    assert site.stored(site.saved(a=1).session_key) == {"a": 1}
    with connections[site.store.alias].cursor() as cursor:
        for table, rows in (("sojourn_session", 1), ("django_cache", 0)):
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone() == (rows,), table


def test_a_database_that_SOJOURN_names_goes_before_that_of_the_cache(make_site: Any, tmp_path: Path) -> None:
    with sessions_in(entry_for(tmp_path / "named.sqlite3")) as named:
        site: Site = make_site("cache on db", SOJOURN={"DATABASE": named})
        assert site.store.alias == named


def test_the_engines_in_a_database_share_its_table(make_site: Any, change_settings: Any) -> None:
    site: Site = make_site("cache on db")
    key = site.saved(a=1).session_key
    change_settings(SESSION_ENGINE="sojourn.django.backends.db")
    assert site.stored(key) == {"a": 1}


@on_each
def test_S4_what_djangos_engine_pickled_into_the_table_runs_nothing(site: Site, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    theirs = djangos(site)
    theirs.save()
    assert theirs.cache_key == KEY_PREFIX + theirs.session_key
    cache: Any = caches["default"]
    pickled = base64.b64encode(pickle.dumps({"a": Hostile()})).decode()
    with connections[site.store.alias].cursor() as cursor:
        name = cache.make_and_validate_key(theirs.cache_key)
        cursor.execute("UPDATE django_cache SET value = %s WHERE cache_key = %s", [pickled, name])
        assert cursor.rowcount == 1
    assert site.stored(theirs.session_key) == {}
    assert not (tmp_path / "ran").exists()


@on_each
def test_a_project_that_never_made_the_table_of_the_cache_has_nothing_to_take_over(site: Site) -> None:
    alias = site.store.alias
    with connections[alias].cursor() as cursor:
        cursor.execute("DROP TABLE django_cache")
    with transaction.atomic(using=alias):  # which an error would spoil
        assert site.stored(UNKNOWN) == {}
        site.session(UNKNOWN).flush()
        kept = site.saved(a=1)
    assert site.stored(kept.session_key) == {"a": 1}


def test_without_the_app_the_engine_and_the_checks_say_which_line_is_missing(make_site: Any) -> None:
    apps = [app for app in settings.INSTALLED_APPS if app != "sojourn.django"]
    site: Site = make_site("cache on db", INSTALLED_APPS=apps)
    with pytest.raises(ImproperlyConfigured, match=r"add 'sojourn\.django' to INSTALLED_APPS, then run"):
        site.session()
    errors = [error.id for error in checks.run_checks() if str(error.id).startswith("sojourn.E")]
    assert errors == ["sojourn.E010"]


def test_without_the_table_the_first_request_and_the_checks_say_so(make_site: Any) -> None:
    site: Site = make_site("cache on db")
    alias = site.store.alias
    assert check_table(databases=[alias]) == []
    call_command("migrate", "sojourn", "zero", database=alias, verbosity=0)
    with pytest.raises(ImproperlyConfigured, match=f"run manage.py migrate --database {alias}"):
        site.stored("U" * 40)
    assert [warning.id for warning in check_table(databases=[alias])] == ["sojourn.W002"]


def test_a_cache_that_is_no_database_has_no_table_to_warn_of(make_site: Any) -> None:
    make_site("cache")
    assert check_table(databases=["default"]) == []


def test_no_session_is_copied_from_one_table_into_another(
    make_site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    site: Site = make_site("db", SESSION_ENGINE=cached_db.__name__, CACHES=CACHES)
    assert isinstance(site.store, DatabaseStore)
    assert "is a table in a database" in caplog.text
    assert site.stored(site.saved(a=1).session_key) == {"a": 1}


@pytest.mark.parametrize(
    ("engine", "alias"),
    [("sojourn.django.backends.cache", "default"), ("django.contrib.sessions.backends.cache", None)],
)
def test_the_doctor_looks_at_the_database_under_our_engine_alone(engine: str, alias: str | None) -> None:
    assert Settings(given={"SESSION_ENGINE": engine, "CACHES": CACHES}).database_alias == alias
