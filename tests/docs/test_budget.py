"""The budget table is what was counted, Sojourn's and Django's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from tests.django.site import Browser
from tests.django.test_budget import BUDGET, requests
from tests.django.test_cached_db import LAPSED, WITHIN_THE_LEASE
from tests.django.test_cookie_engine import COOKIE_BUDGET
from tests.django.test_on_servers import ON_THE_WIRE
from tests.docs.pages import DOCS

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.http import HttpRequest

    from tests.django.site import Site


def table() -> dict[str, dict[str, int]]:
    """Return the page's table: row → column → figure."""
    lines = (DOCS / "reference" / "budget.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head, _, *rows = cells
    return {row[0]: dict(zip(head[1:], map(int, row[1:]), strict=True)) for row in rows}


def test_the_row_of_sojourns_engines_is_the_budget_the_tests_hold_them_to() -> None:
    row = table()["Sojourn's `cache`, `embedded`, `file`"]
    assert row == {name: BUDGET[name] for name in row}
    row = table()["Sojourn's `signed_cookies` with {confval}`COOKIE_REVOCATIONS`"]
    assert row == {name: COOKIE_BUDGET[name] for name in row}
    assert set(table()["Sojourn's `signed_cookies`"].values()) == {0}
    row = table()["Sojourn's `cache` on memcached"]
    assert row == {name: ON_THE_WIRE["memcached"][name] for name in row}
    assert table()["Sojourn's `cached_db`, within the lease"] == WITHIN_THE_LEASE
    assert table()["Sojourn's `cached_db`, lease lapsed or no copy"] == LAPSED


@pytest.fixture
def cache_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []

    def counting(name: str) -> Callable[..., Any]:
        method = getattr(LocMemCache, name)

        def call(*arguments: Any, **more: Any) -> Any:
            calls.append(name)
            return method(*arguments, **more)

        return call

    for name in ("get", "set", "add", "delete", "has_key", "touch"):
        monkeypatch.setattr(LocMemCache, name, counting(name))
    return calls


def assign(request: HttpRequest) -> None:
    """Change the session so that Django's engines notice."""
    request.session["basket"] = ["apple"]


@pytest.mark.parametrize("engine", ["cache", "db", "cached_db"])
def test_the_rows_of_djangos_engines_are_what_they_cost(
    engine: str, page_site: Site, ada: User, grace: User, cache_calls: list[str]
) -> None:
    row = table()[f"Django's `{engine}`"]
    counted: dict[str, int] = {}
    with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"):
        modified = Browser(token=page_site.saved(basket=["pear"]).session_key)
        for name, request in [*requests(page_site, ada, grace), ("modified", lambda: modified.visit(assign))]:
            if name not in row:
                continue
            cache_calls.clear()
            with CaptureQueriesContext(connection) as queries:
                assert request().status_code == 200
            statements = [query for query in queries.captured_queries if "auth_user" not in query["sql"]]
            counted[name] = len(statements) + len(cache_calls)
    assert counted == row
