"""A user with a real browser: Horizon's own pages and scripts, and what the browser keeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.horizon.engines import on
from tests.horizon.keystone import SERVICES

if TYPE_CHECKING:
    from tests.horizon.dashboard import Horizon
    from tests.horizon.keystone import Keystone, User
    from tests.servers.chromium import Chromium

#: Seconds a page may take on a busy machine.
PATIENCE = 120.0


def wait_for(chromium: Chromium, path: str) -> None:
    """Wait until the browser shows the page at ``path`` with its scripts loaded."""
    deadline = time.monotonic() + PATIENCE
    while chromium.run("return document.readyState + location.pathname") != f"complete{path}":
        assert time.monotonic() < deadline, chromium.run("return location.href + document.body.innerText")
        time.sleep(0.1)


@on(lambda engine: engine.name in ("embedded", "cookies"))
def test_a_user_signs_in_browses_and_signs_out(
    horizon: Horizon, keystone: Keystone, user: User, chromium: Chromium
) -> None:
    site = f"http://{horizon.address}"
    chromium.visit(f"{site}/auth/login/?next=/settings/")
    chromium.run(
        f"document.querySelector('#id_username').value = '{user.name}';"
        f"document.querySelector('#id_password').value = '{user.password}';"
        "document.querySelector('#loginBtn').click();"
    )
    wait_for(chromium, "/settings/")
    assert "sessionid" in chromium.cookies

    for project, services in (("large", SERVICES), ("small", 2)):
        chromium.visit(f"{site}/auth/switch/{keystone.project(project)}/?next=/project/api_access/")
        wait_for(chromium, "/project/api_access/")
        assert chromium.run("return document.querySelectorAll('tr[data-object-id]').length") == services
        assert user.name in chromium.visit(f"{site}/identity/users/")

    chromium.run("document.querySelector('form[action*=\"/auth/logout/\"]').requestSubmit()")
    wait_for(chromium, "/auth/login/")
    assert "sessionid" not in chromium.cookies
    chromium.visit(f"{site}/settings/")
    wait_for(chromium, "/auth/login/")
