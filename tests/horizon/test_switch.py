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
CLASSES = """
SOJOURN = {
    "ADOPT_CLASSES": [
        "openstack_auth.user.Token",
        "keystoneauth1.access.access.AccessInfoV3",
        "keystoneauth1.access.service_catalog.ServiceCatalogV3",
        "keystoneauth1.access.service_providers.ServiceProviders",
    ],
}
"""


@on(lambda engine: engine.djangos is not None and engine.has_room and engine.workers > 1)
def test_nobody_is_signed_out_by_the_switch_and_a_restart(
    engine: Engine, keystone: Keystone, new_horizon: Callable[..., Horizon]
) -> None:
    assert engine.djangos is not None
    count = 50 if engine.name in ("cache in memcached", "cookies") else 10  # memcached is Horizon's default
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
            horizon.configure(engine, CLASSES if 'backends.cache"' in engine.lines else "")
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
