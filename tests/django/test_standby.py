"""A site whose PostgreSQL fails over to a standby, with both servers in its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.django.databases import entry_for, sessions_in
from tests.django.site import Browser, Site, sign_in, sign_out
from tests.servers.process import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User

    from tests.servers.postgresql import PostgreSQL, Standby

OURS = "sojourn.django.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


def test_F1_F5_users_stay_signed_in_when_a_standby_takes_over_and_meanwhile_nobody_is_taken_for_anonymous(
    new_postgresql: Callable[..., PostgreSQL],
    new_standby: Callable[[int], Standby],
    make_site: Any,
    alice: User,
) -> None:
    primary = new_postgresql()
    standby = new_standby(primary.port)
    entry = entry_for(primary) | {
        "HOST": f"{HOST},{HOST}",
        "PORT": f"{primary.port},{standby.port}",
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"target_session_attrs": "read-write"},
    }
    site: Site = make_site("db", MIDDLEWARE=[OURS, AUTHENTICATION])
    with sessions_in(entry):
        site.elsewhere()
        stays, leaves = Browser(), Browser()
        for browser in (stays, leaves):
            browser.visit(sign_in(alice))
        former = leaves.token
        standby.is_waited_for(primary)
        leaves.visit(sign_out)
        primary.kill()

        answers = [Browser(token=stays.token).visit(name) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [503] * 3
        assert not any(answer.cookies for answer in answers)

        standby.promote()
        assert stays.visit(name).content == b"alice"
        assert Browser(token=former).visit(name).content == b""
        stays.visit(sign_out)
        assert site.count == 0
        site.elsewhere()


def name(request: Any) -> str:
    return str(request.user.get_username())
