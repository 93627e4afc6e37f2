"""Workers die with -9 while users work; what was answered 200 is there afterwards."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.django.servers import on_servers, sites
from tests.live.server import Browser, Server, database_for

if TYPE_CHECKING:
    from pathlib import Path

REQUESTS = 1_000
BROWSERS = 20


@pytest.mark.parametrize(
    "site",
    sites("embedded", "db on postgresql", "cached_db on memcached and postgresql"),
)
def test_F5_no_sign_in_and_no_acknowledged_write_is_lost_when_workers_are_killed(  # noqa: PLR0915 - one story
    tmp_path: Path, request: pytest.FixtureRequest, site: str
) -> None:
    settings, _ = on_servers(site, request)
    server = Server(folder=tmp_path, caches=settings.get("CACHES"), database=database_for(site, request))
    server.migrate()
    killed: list[int] = []
    seen: set[int] = set()
    done = threading.Event()

    def kill_one_each_second() -> None:
        chance = random.Random(1)
        while not done.wait(1):
            victim = chance.choice(sorted(seen - set(killed)) or [0])
            if victim:
                killed.append(victim)
                os.kill(victim, signal.SIGKILL)

    def work(number: int) -> tuple[set[str], int]:
        """Return the keys one browser was told are kept, and how many answers it missed."""
        browser = browsers[number]
        kept: set[str] = set()
        missed = 0
        for turn in range(REQUESTS // BROWSERS):
            write = turn % 2 == 0
            path = f"/put/key{turn}/" if write else "/show/"
            try:
                status, answer = browser.get(path)
            except (OSError, http.client.HTTPException):
                missed += 1  # the worker died with it: whether it was kept is unknown
                continue
            assert (status, answer["user"]) == (200, f"user{number}")
            assert kept <= set(answer["keys"])
            seen.add(answer["pid"])
            if write:
                kept.add(f"key{turn}")
        return kept, missed

    killer = threading.Thread(target=kill_one_each_second)
    try:
        server.start(f"sojourn.django.backends.{site.partition(' on ')[0]}")
        browsers = [Browser(server.port) for _ in range(BROWSERS)]
        for number, browser in enumerate(browsers):
            seen.add(browser.get(f"/sign-in/user{number}/")[1]["pid"])
        killer.start()
        with ThreadPoolExecutor(BROWSERS) as pool:
            results = list(pool.map(work, range(BROWSERS)))
        done.set()
        killer.join()
        for number, (browser, (kept, _)) in enumerate(zip(browsers, results, strict=True)):
            _, answer = browser.get("/show/")
            assert answer["user"] == f"user{number}"
            assert kept <= set(answer["keys"])
    finally:
        done.set()
        server.stop()
    writes = sum(len(kept) for kept, _ in results)
    missed = sum(missed for _, missed in results)
    print(  # noqa: T201 - shown with pytest -s
        f"{site}: {REQUESTS} requests, {len(killed)} workers killed, {missed} unanswered, "
        f"{writes} writes all kept"
    )
    assert killed
    assert writes > REQUESTS // 4
