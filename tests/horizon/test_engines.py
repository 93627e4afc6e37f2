"""What users do in Horizon, on every engine."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, groupby
from typing import TYPE_CHECKING, Any, TypeVar

from tests.horizon.engines import on
from tests.horizon.keystone import SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.horizon.browser import Browser
    from tests.horizon.dashboard import Horizon
    from tests.horizon.engines import Engine
    from tests.horizon.keystone import Keystone, User

T = TypeVar("T")

#: Pages that Keystone alone is enough for.  API Access lists the catalogue of the token in the session.
CATALOGUE = "/project/api_access/"
SETTINGS = "/settings/"
PAGES = (SETTINGS, CATALOGUE, "/identity/roles/")
SLOW_PAGES = ("/identity/", "/identity/users/")


def services_shown(browser: Browser) -> int:
    """Return how many services the token in the session gives access to."""
    answer = browser.get(CATALOGUE)
    assert answer.status == 200
    return len(re.findall(r'<tr[^>]*data-object-id="', answer.body))


def is_signed_in(browser: Browser) -> bool:
    answer = browser.get(SETTINGS)
    assert answer.status == 200 or answer.wants_sign_in
    return answer.status == 200


def total(operations: Mapping[str, int]) -> int:
    return sum(operations.values())


def unique(values: Iterable[T]) -> list[T]:
    return [value for value, _ in groupby(values)]


def switch_project(browser: Browser, project: str) -> None:
    assert browser.get(f"/auth/switch/{project}/?next={SETTINGS}").location == SETTINGS


@on(lambda _: True)
def test_who_has_signed_in_stays_so_on_every_worker_and_page(horizon: Horizon, user: User) -> None:
    browser = horizon.browser(user)
    workers = set()
    for page in (*PAGES, *SLOW_PAGES):
        answer = browser.get(page)
        assert (answer.status, user.name in answer.body) == (200, True)
        workers.add(answer.cost.worker)
    for _ in range(200):
        if len(workers) == horizon.engine.workers:
            break
        answer = browser.get("/")
        assert (answer.status, answer.wants_sign_in) == (302, False)
        workers.add(answer.cost.worker)
    assert len(workers) == horizon.engine.workers


@on()
def test_a_stranger_costs_nothing_and_a_failed_sign_in_leaves_one_a_stranger(
    horizon: Horizon, user: User
) -> None:
    browser = horizon.browser()
    page = browser.get("/auth/login/")
    assert (page.status, page.cost.operations, browser.cookie()) == (200, {}, None)
    assert browser.get(SETTINGS).wants_sign_in

    failed = browser.sign_in(user, "not the password")
    assert (failed.status, "Invalid credentials" in failed.body) == (200, True)
    assert browser.get(SETTINGS).wants_sign_in


@on()
def test_T3_the_session_of_a_failed_sign_in_gets_a_new_token_at_the_sign_in(
    horizon: Horizon, user: User
) -> None:
    browser = horizon.browser()
    browser.sign_in(user, "not the password")
    before = browser.copy()
    assert browser.sign_in(user).status == 302
    assert is_signed_in(browser)
    assert not is_signed_in(before)


@on(lambda engine: engine.can_end_sessions)
def test_L4_who_has_signed_out_stays_so_whatever_cookie_is_sent(horizon: Horizon, user: User) -> None:
    browser = horizon.browser(user)
    before = browser.copy()
    assert is_signed_in(before)
    assert browser.sign_out().wants_sign_in
    assert browser.cookie() is None
    for _ in range(2 * horizon.engine.workers):
        assert not is_signed_in(browser)
        assert not is_signed_in(before)


@on()
def test_the_token_comes_back_with_the_catalogue_of_the_project_switched_to(
    horizon: Horizon, keystone: Keystone, user: User
) -> None:
    browser = horizon.browser(user)
    for project, services in (("small", 2), ("large", SERVICES), ("small", 2)):
        switch_project(browser, keystone.project(project))
        assert services_shown(browser) == services


@on(lambda engine: engine.is_checked_in_full and not engine.in_cookie)
def test_C2_requests_in_parallel_keep_what_each_of_them_changed(horizon: Horizon, user: User) -> None:
    browser = horizon.browser(user)
    form = {"language": "en", "instance_log_length": "35"}
    token = browser.token(SETTINGS)
    regions = cycle(("RegionTwo", "RegionOne"))
    with ThreadPoolExecutor(6) as pool:
        for number in range(1, 9):
            region = next(regions)
            visits = [pool.submit(browser.get, "/") for _ in range(2)]
            settings = pool.submit(
                browser.request,
                SETTINGS,
                {**form, "csrfmiddlewaretoken": token, "timezone": "Asia/Tokyo", "pagesize": str(number)},
            )
            switch = pool.submit(browser.get, f"/auth/switch_services_region/{region}/?next={SETTINGS}")
            visits += [pool.submit(browser.get, "/") for _ in range(2)]
            assert settings.result().status == switch.result().status == 302
            assert not any(visit.result().wants_sign_in for visit in visits)

            # Horizon keeps these in cookies of their own as well: here is one that has the session only.
            other = browser.copy(only="sessionid")
            page = other.get(SETTINGS).body
            assert re.findall(r'name="pagesize" value="(\d+)"', page) == [str(number)]
            assert re.findall(r'value="([\w/]+)" selected', page) == ["en", "Asia/Tokyo"]
            assert set(re.findall(r'class="context-region">(\w+)', page)) == {region}


@on(lambda _: True)
def test_a_page_view_is_one_operation_and_writes_nothing(
    horizon: Horizon, user: User, keystone: Keystone, note_costs: Callable[..., None]
) -> None:
    """Although Horizon calls ``set_expiry()`` for each."""
    costs = measure(horizon, user, keystone)
    note_costs(horizon.engine.name, **costs)
    budget = horizon.engine.budget
    assert costs["writes"] == 0
    assert total(costs["page"]) == budget.page
    assert total(costs["sign-in"]) == budget.sign_in
    assert total(costs["sign-in after a failed one"]) == budget.sign_in_after_a_failed_one
    assert total(costs["sign-out"]) == budget.sign_out


@on(lambda engine: engine.djangos is not None and not (engine.in_cookie and engine.can_end_sessions))
def test_what_djangos_engine_in_the_same_place_costs(
    engine: Engine,
    user: User,
    keystone: Keystone,
    new_horizon: Callable[..., Horizon],
    note_costs: Callable[..., None],
) -> None:
    assert engine.djangos is not None
    costs = measure(new_horizon(engine.djangos), user, keystone)
    note_costs(engine.djangos.name, **costs)
    assert total(costs["page"]) > 1 or engine.in_cookie


def measure(horizon: Horizon, user: User, keystone: Keystone) -> dict[str, Any]:
    """Return what things cost, in operations, and how large a session and its cookie get."""
    browser = horizon.browser()
    costs = {"failed sign-in": browser.sign_in(user, "not the password").cost.operations}
    costs["sign-in after a failed one"] = browser.sign_in(user).cost.operations
    assert is_signed_in(browser)

    browser = horizon.browser()
    signed_in = browser.sign_in(user).cost
    costs["sign-in"] = signed_in.operations
    sizes = {}
    for project in ("large", "small") if horizon.engine.has_room else ("small",):
        answer = browser.get(f"/auth/switch/{keystone.project(project)}/?next={SETTINGS}")
        sizes[project] = answer.cost.size
    for page in PAGES:  # API Access numbers the services of the catalogue, inside the token, the first time
        assert browser.get(page).status == 200
    for _ in range(5):  # after a slow page the token's end comes nearer than was stored: that is stored once
        assert browser.get("/").status == 302
    views = [browser.get(page).cost for page in 2 * PAGES]
    [costs["page"]] = unique(view.operations for view in views)
    [writes] = unique(view.writes for view in views)
    cookie = browser.cookie()
    assert cookie is not None
    costs["sign-out"] = browser.sign_out().cost.operations
    length = len(f"{cookie.name}={cookie.value}")
    return {**costs, "writes": writes, "sizes": sizes, "cookie": length}


TIMEOUTS = """
SESSION_TIMEOUT = 15
SOJOURN = {**globals().get("SOJOURN", {}), "ANONYMOUS_TIMEOUT": 5}
"""


@on()
def test_L1_who_does_nothing_for_the_session_timeout_has_to_sign_in_again(
    engine: Engine, user: User, new_horizon: Callable[..., Horizon]
) -> None:
    horizon = new_horizon(engine, TIMEOUTS)
    early = horizon.browser(user)
    for _ in range(2 * engine.workers):
        early.get(SETTINGS)  # the first page of a worker takes longer than all others
    idle = horizon.browser(user)
    assert is_signed_in(idle)
    cookie = idle.cookie()
    assert cookie is not None
    assert cookie.expires is not None
    cookie.expires, cookie.discard = None, True  # the browser would send it no longer; the server has to know
    failed = horizon.browser()
    failed.sign_in(user, "not the password")
    active = horizon.browser(user)
    for _ in range(2):
        time.sleep(8)
        assert is_signed_in(active)
    assert not is_signed_in(idle)
    if not engine.in_cookie:
        operations = failed.sign_in(user).cost.operations
        assert ("load" in operations, "move" in operations) == (True, False), "its session is gone"


#: Sojourn's own middleware.
MIDDLEWARE = """
from openstack_dashboard.settings import MIDDLEWARE

MIDDLEWARE = [name.replace("django.contrib.sessions.", "sojourn.django.") for name in MIDDLEWARE]
"""

#: Settings that are off by default.
MORE = f"""
{MIDDLEWARE}
SIMULTANEOUS_SESSIONS = "disconnect"
OPENSTACK_KEYSTONE_MULTIDOMAIN_SUPPORT = True
"""


@on()
def test_a_second_sign_in_disconnects_the_first_if_horizon_is_told_so(
    engine: Engine, user: User, keystone: Keystone, new_horizon: Callable[..., Horizon]
) -> None:
    horizon = new_horizon(engine, MORE)
    first, second = horizon.browser(), horizon.browser()
    for browser in (first, second):
        assert browser.sign_in(user, domain=user.domain).location == "/"
        assert is_signed_in(browser)
    assert not is_signed_in(first)
    assert is_signed_in(second)

    # In the same place, for it takes a while to start: users of several domains.
    stranger = keystone.add_user(f"{user.name}-of-research", "Research", of_domain=True)
    browser = horizon.browser()
    assert browser.sign_in(stranger, domain="Default").status == 200
    assert not is_signed_in(browser)
    assert browser.sign_in(stranger, domain="Research").location == "/"
    # Both ask with the domain's token in the session, which Horizon leaves out if that is a cookie.
    for page, with_cookie in (("/identity/domains/", 403), ("/identity/users/", 200)):
        answer = browser.get(page)
        assert answer.status == (with_cookie if engine.in_cookie else 200)
        assert "Research" in answer.body
    assert is_signed_in(second)
