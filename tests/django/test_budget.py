"""What a request costs: round trips to the store, and for SQLite statements on the wire.

Through Django's own session middleware, with real ``login()`` and ``logout()``.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.django.backends import embedded
from sojourn.stores.embedded import EmbeddedStore
from tests.django.site import Browser, in_process, sign_in, sign_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.contrib.auth.models import User
    from django.http import HttpRequest

    from sojourn.testing import FakeClock
    from tests.django.site import Site

#: The row "single store" of the design's table.
BUDGET = {
    "untouched": 0,
    "read": 1,
    "modified": 2,
    "new": 1,
    "login, no session before": 2,
    "login, with one": 3,
    "logout": 2,
    "Horizon page": 1,
    "login again": 2,
    "login as somebody else": 3,
    "unknown cookie": 1,
    "malformed cookie": 0,
}

HOUR = 3600


def untouched(request: HttpRequest) -> None:
    pass


def read(request: HttpRequest) -> Any:
    return request.session.get("basket")


def modify(request: HttpRequest) -> None:
    request.session.setdefault("basket", []).append("apple")


def new(request: HttpRequest) -> None:
    request.session["basket"] = ["apple"]


def horizon(request: HttpRequest, *, seconds: int = HOUR) -> str:
    request.session.set_expiry(seconds)
    return request.user.get_username()


class Traced(sqlite3.Connection):
    """A connection that notes every statement, BEGIN and COMMIT included."""

    statements: list[str]

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.set_trace_callback(self.statements.append)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that SQLite carries out for the embedded engine from now on."""
    noted: list[str] = []
    traced = type("TracedHere", (Traced,), {"statements": noted})
    monkeypatch.setattr(embedded, "EmbeddedStore", partial(EmbeddedStore, factory=traced))
    return iter([noted])


def requests(site: Site, alice: User, bob: User) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each kind of request, made ready up to the request itself."""

    def browser(*, user: User | None = None, **values: Any) -> Browser:
        made = Browser(token=site.saved(**values).session_key if values else None)
        if user is not None:
            made.visit(sign_in(user))
        return made

    yield "untouched", partial(browser(basket=[]).visit, untouched)
    yield "read", partial(browser(basket=[]).visit, read)
    yield "modified", partial(browser(basket=["pear"]).visit, modify)
    yield "new", partial(browser().visit, new)
    yield "login, no session before", partial(browser().visit, sign_in(alice))
    yield "login, with one", partial(browser(basket=[]).visit, sign_in(alice))
    yield "logout", partial(browser(user=alice).visit, sign_out)
    on_horizon = browser(user=alice)
    on_horizon.visit(horizon)
    yield "Horizon page", partial(on_horizon.visit, horizon)
    yield "login again", partial(browser(user=alice).visit, sign_in(alice))
    yield "login as somebody else", partial(browser(user=alice).visit, sign_in(bob))
    yield "unknown cookie", partial(Browser(token="U" * 40).visit, read)
    yield "malformed cookie", partial(Browser(token="not a token").visit, read)


def table(title: str, counted: dict[str, int]) -> str:
    lines = [f"{name:26}{count:3} of {BUDGET[name]}" for name, count in counted.items()]
    return "\n".join([title, *lines])


def test_each_request_costs_the_round_trips_of_the_budget(site: Site, alice: User, bob: User) -> None:
    store = site.watch()
    counted: dict[str, int] = {}
    for name, request in requests(site, alice, bob):
        store.forget()
        assert request().status_code == 200
        counted[name] = len(store.calls)
    print(table(f"round trips on {site.name}", counted))  # noqa: T201 - for the record
    assert counted == BUDGET


@pytest.mark.parametrize("engine", ["embedded", "file"])
def test_each_request_costs_the_statements_of_the_budget_on_the_wire(
    engine: str, make_site: Any, alice: User, bob: User, statements: Iterator[list[str]]
) -> None:
    site: Site = make_site(engine)
    noted = next(statements)
    counted: dict[str, int] = {}
    sent: dict[str, list[str]] = {}
    Browser(token=site.saved(x=1).session_key).visit(sign_out)  # opens the connections
    for name, request in requests(site, alice, bob):
        noted.clear()
        assert request().status_code == 200
        counted[name] = len(noted)
        sent[name] = list(noted)
    print(table(f"statements on {engine}", counted))  # noqa: T201 - for the record
    assert counted == BUDGET, sent


@pytest.mark.parametrize("shrinking", [False, True])
@in_process
def test_a_horizon_page_writes_at_most_once_per_touch_interval(
    site: Site, alice: User, clock: FakeClock, shrinking: bool
) -> None:
    store = site.watch()
    browser = Browser()
    browser.visit(sign_in(alice))
    pages, apart, interval = 240, 20, 300
    browser.visit(partial(horizon, seconds=2 * HOUR))
    until = clock.now() // 1000 + 2 * HOUR
    store.forget()
    for _ in range(pages):
        clock.advance(apart)
        left = until - clock.now() // 1000 if shrinking else 2 * HOUR
        response = browser.visit(partial(horizon, seconds=left))
        assert response.content == b"alice"
        assert response.cookies["sessionid"]["max-age"] == left
    writes = len(store.calls) - store.counts["load"]
    assert store.counts["load"] == pages
    assert 0 < writes <= pages * apart // interval


@in_process
def test_a_page_that_only_reads_never_writes(site: Site, alice: User, clock: FakeClock) -> None:
    store = site.watch()
    browser = Browser()
    browser.visit(sign_in(alice))
    store.forget()
    for _ in range(20):
        clock.advance(HOUR)
        assert browser.visit(lambda request: request.user.get_username()).content == b"alice"
    assert store.counts == {"load": 20}


@in_process
def test_a_page_that_only_reads_touches_once_per_interval_if_sliding(
    site: Site, alice: User, clock: FakeClock, change_settings: Any
) -> None:
    change_settings(SOJOURN={"PATH": site.folder / "private" / "sessions.sqlite3", "SLIDING": True})
    store = site.watch()
    browser = Browser()
    browser.visit(sign_in(alice))
    store.forget()
    for _ in range(60):
        clock.advance(20)
        browser.visit(lambda request: request.user.get_username())
    assert store.counts == {"load": 60, "touch": 60 * 20 // 300}
