"""A Horizon on Django's engine is switched while people use it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import TYPE_CHECKING

from tests.horizon.engines import on
from tests.horizon.keystone import PROJECTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.horizon.browser import Browser
    from tests.horizon.dashboard import Horizon
    from tests.horizon.engines import Engine
    from tests.horizon.keystone import Keystone

USERS = 5

#: What Horizon puts into a session, for those that Django's cache engines have pickled.
_LISTED = """\
    "ADOPT_CLASSES": [
        "openstack_auth.user.Token",
        "keystoneauth1.access.access.AccessInfoV3",
        "keystoneauth1.access.service_catalog.ServiceCatalogV3",
        "keystoneauth1.access.service_providers.ServiceProviders",
    ],
}
"""
CLASSES = f"""
SOJOURN = {{
{_LISTED}"""
#: From Django's cache to another engine.
TO_A_FILE = f"""
SESSION_ENGINE = "sojourn.django.backends.embedded"
SOJOURN = {{
    "PATH": "$folder/sessions/sessions.sqlite3",
    "ADOPT": "django.contrib.sessions.backends.cache",
{_LISTED}"""


@on(lambda engine: engine.djangos is not None and engine.has_room and engine.workers > 1)
def test_nobody_is_signed_out_by_the_switch_and_a_restart(
    engine: Engine, keystone: Keystone, new_horizon: Callable[..., Horizon]
) -> None:
    count = 50 if engine.name in ("cache in memcached", "cookies") else 10  # memcached is Horizon's default
    lines = CLASSES if 'backends.cache"' in engine.lines else ""
    assert_nobody_is_signed_out(engine, lines, keystone, new_horizon, count)


@on(lambda engine: engine.name == "cache in memcached")
def test_nobody_is_signed_out_on_the_way_from_djangos_cache_to_a_file(
    engine: Engine, keystone: Keystone, new_horizon: Callable[..., Horizon]
) -> None:
    assert_nobody_is_signed_out(engine, TO_A_FILE, keystone, new_horizon, 10)


def assert_nobody_is_signed_out(
    engine: Engine, lines: str, keystone: Keystone, new_horizon: Callable[..., Horizon], count: int
) -> None:
    """Switch from Django's engine to Sojourn's, with ``lines`` besides, while ``count`` browsers visit."""
    assert engine.djangos is not None
    horizon = new_horizon(engine.djangos)
    projects = ("small",) if engine.in_cookie else PROJECTS  # Django's cookie has no room for the large one
    users = [
        keystone.add_user(f"{horizon.port}-{number}", of_domain=number == 0, projects=projects)
        for number in range(USERS)
    ]
    with ThreadPoolExecutor(4) as pool:
        browsers = list(pool.map(horizon.browser, [users[number % USERS] for number in range(count)]))
    tokens = [str(browser.cookie()) for browser in browsers]
    switched = threading.Event()

    def browse(browser: Browser) -> int:
        """Visit pages until the switch is over; return how many were answered."""
        answered = 0
        while not switched.is_set():
            try:
                answer = browser.get("/")
            except (OSError, HTTPException):
                time.sleep(0.2)  # it is being restarted
                continue
            assert (answer.status, answer.location) == (302, "/project/")
            answered += 1
            time.sleep(0.5)
        return answered

    with ThreadPoolExecutor(count) as pool:
        browsing = [pool.submit(browse, browser) for browser in browsers]
        try:
            horizon.end()
            horizon.configure(engine, lines)
            horizon.start()
        finally:
            switched.set()
        assert sum(visits.result() for visits in browsing) > 0
    for number, browser in enumerate(browsers):
        answer = browser.get("/settings/")
        assert answer.status == 200, horizon.log.read_text()[-3000:]
        assert users[number % USERS].name in answer.body
        for _ in range(5):
            answer = browser.get("/")
        assert answer.cost.operations == {"load": 1}
    if not engine.in_cookie:
        assert [str(browser.cookie()) for browser in browsers] == tokens
