"""``SOJOURN = {"PARTITION_BY": "day"}``: a site whose table is partitioned."""

from __future__ import annotations

import io
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from sojourn.django import engine as engines
from sojourn.django.checks import check_table
from sojourn.django.models import Session
from sojourn.record import day_of
from tests.django.databases import entry_for, sessions_in
from tests.django.site import Browser, sign_in, sign_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.contrib.auth.models import User

    from sojourn.testing import FakeClock
    from tests.django.site import Site
    from tests.servers.postgresql import PostgreSQL

DAY = 86_400
PARTITIONED = {"PARTITION_BY": "day", "ABSOLUTE_TIMEOUT": 3 * DAY}


@pytest.fixture
def alias(postgresql: PostgreSQL) -> Iterator[str]:
    """A database of this test's own, with the table that migrations make."""
    name = f"partitions_{secrets.token_hex(6)}"
    postgresql.sql(f"CREATE DATABASE {name}")
    with sessions_in(entry_for(postgresql, NAME=name)) as made:
        yield made
    postgresql.sql(f"DROP DATABASE {name} WITH (FORCE)", database="postgres")


@pytest.fixture
def make(make_site: Any, alias: str) -> Callable[..., Site]:
    def make(**more: Any) -> Site:
        engines._places.clear()  # made once in the life of a process
        given = {"DATABASE": alias, **more}
        made: Site = make_site("in its database", SESSION_ENGINE="sojourn.django.backends.db", SOJOURN=given)
        return made

    return make


@pytest.fixture
def site(make: Callable[..., Site]) -> Site:
    site = make(**PARTITIONED)
    call_command("sojourn_partition", stdout=io.StringIO())
    return site


def parts(alias: str) -> dict[str, int]:
    """Return how many rows each partition has that has some."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, count(*) FROM sojourn_session GROUP BY 1")
        return {name.removeprefix("sojourn_session_"): rows for name, rows in cursor.fetchall()}


def test_a_user_signs_in_browses_and_signs_out(site: Site, alias: str, alice: User, clock: FakeClock) -> None:
    browser = Browser()
    browser.visit(lambda request: request.session.update({"basket": ["apple"]}))
    browser.visit(sign_in(alice))
    assert browser.token is not None
    assert browser.token.startswith(".")
    [row] = Session.objects.using(alias).all()
    assert day_of(row.lookup_key) == (clock.now() // 1000 + 3 * DAY) // DAY
    assert len(parts(alias)) == 1
    assert site.stored(browser.token)["basket"] == ["apple"]
    browser.visit(sign_out)
    assert parts(alias) == {}


def test_the_table_is_partitioned_while_users_are_signed_in(
    make: Callable[..., Site], alias: str, alice: User
) -> None:
    site = make()
    before = site.saved(number=1)
    site = make(**PARTITIONED)
    out = io.StringIO()
    for _ in range(2):
        call_command("sojourn_partition", stdout=out)
    assert out.getvalue() == "The table is partitioned by day now.\nIt is partitioned already.\n"
    assert parts(alias) == {"undated": 1}
    assert site.stored(before.session_key) == {"number": 1}
    before = site.session(before.session_key)
    before.cycle_key()
    [(name, rows)] = parts(alias).items()
    assert name.isdecimal()
    assert rows == 1


def test_D6_sojourn_purge_drops_days_that_are_over(site: Site, alias: str, clock: FakeClock) -> None:
    for number in range(3):
        site.saved(number=number)
    clock.advance(5 * DAY)
    living = site.saved(number=3)
    out = io.StringIO()
    call_command("sojourn_purge", stdout=out)
    assert out.getvalue().startswith("3 expired sessions removed")
    assert sum(parts(alias).values()) == 1
    assert site.stored(living.session_key) == {"number": 3}


def test_in_a_transaction_of_the_application_no_partition_is_made_or_dropped(
    site: Site, alias: str, clock: FakeClock
) -> None:
    with transaction.atomic(using=alias):
        saved = site.saved(number=1)
        assert site.stored(saved.session_key) == {"number": 1}
    assert parts(alias) == {"default": 1}
    assert site.stored(saved.session_key) == {"number": 1}
    site.saved(number=2)  # of the same day, which has its place by now
    assert parts(alias) == {"default": 2}
    clock.advance(DAY)
    site.saved(number=3)
    assert len(parts(alias)) == 2


def test_users_sign_in_while_the_table_is_not_yet_partitioned(
    make: Callable[..., Site], alias: str, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    make(**PARTITIONED)
    browsers = [Browser() for _ in range(2)]
    for browser in browsers:
        browser.visit(lambda request: request.session.update({"basket": ["apple"]}))
        browser.visit(sign_in(alice))
    [warned] = [record for record in caplog.records if record.name == "sojourn"]
    assert warned.levelname == "WARNING"
    assert "run manage.py sojourn_partition" in warned.getMessage()
    call_command("sojourn_partition", stdout=io.StringIO())
    assert parts(alias) == {"undated": 2}
    for browser in browsers:
        answer = browser.visit(lambda request: request.session["basket"][0])
        assert answer.content == b"apple"


def test_without_an_absolute_timeout_it_is_refused(make: Callable[..., Site]) -> None:
    site = make(PARTITION_BY="day")
    with pytest.raises(ImproperlyConfigured, match=r"SOJOURN\['ABSOLUTE_TIMEOUT'\]"):
        site.saved(number=1)


def test_on_another_database_it_is_refused(make_site: Any) -> None:
    site = make_site("db", SOJOURN=PARTITIONED)
    with pytest.raises(ImproperlyConfigured, match="needs PostgreSQL, and this is sqlite"):
        site.saved(number=1)


def test_checks_of_the_database_say_that_the_table_is_not_partitioned(
    make: Callable[..., Site], alias: str
) -> None:
    make()
    assert check_table(databases=[alias]) == []
    make(**PARTITIONED)
    [message] = check_table(databases=[alias])
    assert message.id == "sojourn.W015"
    assert "manage.py sojourn_partition" in str(message.hint)
    call_command("sojourn_partition", stdout=io.StringIO())
    assert check_table(databases=[alias]) == []


def test_the_table_may_be_partitioned_before_the_setting_is_there(
    make: Callable[..., Site], alias: str
) -> None:
    site = make()
    before = site.saved(number=1)
    out = io.StringIO()
    call_command("sojourn_partition", stdout=out)
    assert out.getvalue().splitlines()[1].startswith("Set SOJOURN['PARTITION_BY'] = 'day' and restart")
    site.saved(number=2)
    assert parts(alias) == {"undated": 2}
    site = make(**PARTITIONED)
    assert site.stored(before.session_key) == {"number": 1}
    site.saved(number=3)
    assert parts(alias).pop("undated") == 2
    assert len(parts(alias)) == 2


def test_sojourn_partition_says_what_it_needs(
    make: Callable[..., Site], make_site: Any, change_settings: Callable[..., None]
) -> None:
    make_site("db")
    with pytest.raises(CommandError, match="needs PostgreSQL, and this is sqlite"):
        call_command("sojourn_partition")
    make()
    change_settings(SESSION_ENGINE="sojourn.django.backends.signed_cookies", SOJOURN={})
    with pytest.raises(CommandError, match="keeps no table"):
        call_command("sojourn_partition")
