"""A server goes away while people use Horizon, and comes back: what they see of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tests.horizon.engines import on
from tests.horizon.test_engines import MIDDLEWARE, SETTINGS
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.horizon.browser import Answer, Browser
    from tests.horizon.dashboard import Horizon
    from tests.horizon.engines import Engine, Need
    from tests.horizon.keystone import Keystone, User

#: How many are signed in.
USERS = 3
#: Seconds in which Sojourn has to answer, and everything to be as before: a busy machine is no fault.
PATIENCE = 120.0
#: Seconds after which those who may get no answer are not waited for.
IMPATIENCE = 8.0
#: Seconds for which a copy in a cache is good.
LEASE = 30.0

PAGE = "the page"
UNAVAILABLE = "503, try again"
SIGN_IN = "the sign-in page"
NOTHING = "no answer"


@dataclass(frozen=True, slots=True)
class Outage:
    """A way in which a server is away for a while, and what has to be seen on Sojourn's engine."""

    server: Need
    how: Literal["does not answer", "cannot be reached", "is killed and started again"]
    #: Meanwhile by those who are signed in.
    seen: str
    #: By who signs in meanwhile, if somebody does.
    sign_in: str | None = None
    #: By those who were signed in, when it is back.
    afterwards: str = PAGE


#: By engine.  Who signs in is left out where Horizon's own cache is on the same server: it is an error there.
OUTAGES = {
    "cache in memcached": (
        Outage("memcached", "does not answer", UNAVAILABLE),
        Outage("memcached", "cannot be reached", UNAVAILABLE),
        Outage("memcached", "is killed and started again", UNAVAILABLE, afterwards=SIGN_IN),
    ),
    "cache in Redis": (
        Outage("valkey", "does not answer", UNAVAILABLE),
        Outage("valkey", "is killed and started again", UNAVAILABLE),
    ),
    "db in PostgreSQL": (
        Outage("postgresql", "does not answer", UNAVAILABLE, UNAVAILABLE),
        Outage("postgresql", "is killed and started again", UNAVAILABLE, UNAVAILABLE),
    ),
    "cached_db in PostgreSQL and memcached": (
        Outage("memcached", "does not answer", PAGE, PAGE),
        Outage("memcached", "is killed and started again", PAGE, PAGE),
        Outage("postgresql", "does not answer", PAGE),
        Outage("postgresql", "is killed and started again", PAGE, UNAVAILABLE),
    ),
}
#: One that is not written anew while the test runs.
TIMEOUT = """
SESSION_TIMEOUT = 3000
"""
LINES = MIDDLEWARE + TIMEOUT


@on(lambda engine: engine.name in OUTAGES)
def test_F1_nobody_is_signed_out_because_a_server_is_away(
    engine: Engine,
    keystone: Keystone,
    new_horizon: Callable[..., Horizon],
    note_outage: Callable[..., None],
) -> None:
    with place(engine) as (there, proxy), ThreadPoolExecutor(USERS + 1) as pool:
        horizon = new_horizon(there, LINES)
        users = add_users(keystone, horizon)
        for outage in OUTAGES[engine.name]:
            began = time.monotonic()
            browsers = list(pool.map(horizon.browser, users))
            tokens = [str(browser.cookie()) for browser in browsers]
            for browser in browsers:
                while browser.get(SETTINGS).cost.writes:
                    pass  # the first page notes how long the session lasts
            stranger = horizon.browser()
            form = stranger.sign_in_form(users[0])

            with away(outage, engine, proxy):
                visits = [pool.submit(visit, browser) for browser in browsers]
                seen = {one.result() for one in visits}
                if time.monotonic() < began + LEASE:
                    assert seen == {outage.seen}
                if outage.sign_in is not None:
                    assert name_of(stranger.request("/auth/login/", form)) == outage.sign_in

            assert set(pool.map(visit_in_the_end, browsers)) == {outage.afterwards}
            assert [str(browser.cookie()) for browser in browsers] == tokens
            assert visit(horizon.browser(users[0])) == PAGE
            note_outage(engine.name, outage, seen, outage.afterwards)


@on(lambda engine: engine.name in OUTAGES)
def test_what_users_on_djangos_engine_see_when_a_server_is_away(
    engine: Engine,
    keystone: Keystone,
    new_horizon: Callable[..., Horizon],
    note_outage: Callable[..., None],
) -> None:
    with place(engine) as (there, proxy), ThreadPoolExecutor(USERS) as pool:
        assert there.djangos is not None
        horizon = new_horizon(there.djangos, TIMEOUT)
        users = add_users(keystone, horizon)
        for outage in OUTAGES[engine.name]:
            browsers = list(pool.map(horizon.browser, users))
            assert set(pool.map(visit, browsers)) == {PAGE}
            with away(outage, engine, proxy):
                visits = [pool.submit(visit, browser) for browser in browsers]
                wait(visits, IMPATIENCE)
                seen = {one.result() if one.done() else NOTHING for one in visits}
            wait(visits)
            note_outage(there.djangos.name, outage, seen, *set(pool.map(visit, browsers)))


def add_users(keystone: Keystone, horizon: Horizon) -> list[User]:
    return [keystone.add_user(f"{horizon.port}-{number}") for number in range(USERS)]


@contextmanager
def place(engine: Engine) -> Iterator[tuple[Engine, Proxy | None]]:
    """Have a proxy before a memcached that has to keep its sessions through an outage."""
    memcached = engine.servers.get("memcached")
    if memcached is None or not any(outage.how == "cannot be reached" for outage in OUTAGES[engine.name]):
        yield engine, None
        return
    with Proxy(memcached.port) as proxy:
        yield replace(engine, lines=engine.lines.replace(memcached.address, proxy.address)), proxy


@contextmanager
def away(outage: Outage, engine: Engine, proxy: Proxy | None) -> Iterator[None]:
    """Have the server away."""
    server = engine.servers[outage.server]
    if outage.how == "does not answer":
        server.stop()
        yield
        server.resume()
    elif outage.how == "cannot be reached":
        assert proxy is not None
        proxy.fail("refuse")
        yield
        proxy.heal()
    else:
        server.kill()
        yield
        server.start()


def visit(browser: Browser) -> str:
    return name_of(browser.get(SETTINGS))


def visit_in_the_end(browser: Browser) -> str:
    """Return what is seen as soon as it is something else than "try again"."""
    deadline = time.monotonic() + PATIENCE
    while (seen := visit(browser)) == UNAVAILABLE:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return seen


def name_of(answer: Answer) -> str:
    if answer.status == 503:
        assert answer.retry_after
        return UNAVAILABLE
    if answer.status not in (200, 302):
        return str(answer.status)
    return SIGN_IN if answer.wants_sign_in else PAGE
