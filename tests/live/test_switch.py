"""A site on Django's engine is switched while its users are signed in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.django.servers import on_servers
from tests.live.server import Browser, Server, database_for

if TYPE_CHECKING:
    from pathlib import Path

PARALLEL = 6


DJANGOS = "django.contrib.sessions.backends"


@pytest.mark.parametrize(
    ("former", "site", "count"),
    [
        ("file", "file", 200),
        ("db", "embedded", 40),
        pytest.param("cache", "memcached nodes", 30, marks=pytest.mark.asks_for("memcached_nodes")),
        pytest.param("cache", "redis", 30, marks=pytest.mark.asks_for("valkey")),
        pytest.param("cache", "django-redis", 10, marks=pytest.mark.asks_for("valkey")),
        pytest.param("db", "db on postgresql", 20, marks=pytest.mark.asks_for("postgresql")),
        pytest.param(
            "cached_db",
            "cached_db on memcached and postgresql",
            20,
            marks=pytest.mark.asks_for("memcached", "postgresql"),
        ),
    ],
    ids=["file", "db to embedded", "memcached", "Redis", "django-redis", "db", "cached_db"],
)
def test_nobody_is_signed_out_by_the_switch_and_a_logout_ends_both_records(
    tmp_path: Path, request: pytest.FixtureRequest, former: str, site: str, count: int
) -> None:
    settings, servers = on_servers(site, request)
    engine = "cache" if servers else site.partition(" on ")[0]
    ours = f"sojourn.django.backends.{engine}"
    sojourn = {"ADOPT": f"{DJANGOS}.db"} if engine == "embedded" else {}
    former = f"{DJANGOS}.{former}"
    server = Server(folder=tmp_path, caches=settings.get("CACHES"), database=database_for(site, request))
    server.migrate()
    try:
        server.start(former)
        browsers = [Browser(server.port) for _ in range(count)]
        with ThreadPoolExecutor(8) as pool:
            signed_in = pool.map(lambda number: browsers[number].get(f"/sign-in/user{number}/"), range(count))
            assert [status for status, _ in signed_in] == [200] * count
        server.stop()

        server.start(ours, **sojourn)
        with ThreadPoolExecutor(12) as pool:
            for number, browser in enumerate(browsers):
                answers = list(pool.map(browser.get, [f"/put/key{key}/" for key in range(PARALLEL)]))
                assert [(status, answer.get("user")) for status, answer in answers] == [
                    (200, f"user{number}")
                ] * PARALLEL
        for number, browser in enumerate(browsers):
            _, answer = browser.get("/show/")
            assert answer["user"] == f"user{number}"
            assert answer["basket"] == {"items": [f"user{number}"]}
            assert answer["keys"] == ["basket", *(f"key{key}" for key in range(PARALLEL))]

        tokens = [browser.token for browser in browsers]
        for browser in browsers[: count // 2]:
            assert browser.get("/sign-out/")[1]["user"] is None
            assert browser.token is None
        for token in tokens[: count // 2]:
            assert Browser(server.port, token).get("/show/")[1]["user"] is None
        server.stop()

        server.start(former)
        for token in tokens[: count // 2]:
            assert Browser(server.port, token).get("/show/")[1]["user"] is None
        for number, token in enumerate(tokens[count // 2 :], count // 2):
            assert Browser(server.port, token).get("/show/")[1]["user"] == f"user{number}"
    finally:
        server.stop()
