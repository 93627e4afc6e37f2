"""A site whose sessions are in Django's cookies is switched while its users go on browsing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from threading import Event
from typing import TYPE_CHECKING, Any

from tests.live.server import Browser, Server

if TYPE_CHECKING:
    from pathlib import Path

DJANGOS = "django.contrib.sessions.backends.signed_cookies"
OURS = "sojourn.django.backends.signed_cookies"
BROWSERS = 12
BEFORE, AFTER = 3, 3


class User:
    """Signs in and browses, one page after the other; remembers the last cookie that was Django's."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.browser = Browser(port)
        self.djangos: str | None = None
        self.visits = 0

    def get(self, path: str) -> dict[str, Any]:
        """Return the answer; ask again if none came, since the server was being restarted."""
        give_up = time.monotonic() + 60
        while True:
            try:
                status, answer = self.browser.get(path)
            except (OSError, HTTPException):
                assert time.monotonic() < give_up, "the server does not come back"
                time.sleep(0.05)
                continue
            assert status == 200
            if ":" in (self.browser.token or ""):
                self.djangos = self.browser.token
            return answer

    def visit(self) -> None:
        """Count one visit, on top of all that were acknowledged, and still be the same user."""
        assert self.get("/visit/") == {"visits": self.visits + 1}
        self.visits += 1
        answer = self.get("/show/")
        assert (answer["user"], answer["basket"]) == (self.name, {"items": [self.name]})

    def browse(self, begun: Event, switched: Event) -> None:
        assert self.get(f"/sign-in/{self.name}/")["user"] == self.name
        for _ in range(BEFORE):
            self.visit()
        begun.set()
        while not switched.is_set():
            self.visit()
        for _ in range(AFTER):
            self.visit()


def test_L5_nobody_is_signed_out_and_nothing_lost_by_the_switch_and_a_logout_ends_both_cookies(
    tmp_path: Path,
) -> None:
    server = Server(folder=tmp_path)
    server.migrate()
    users = [User(server.port, f"user{number}") for number in range(BROWSERS)]
    begun, switched = [Event() for _ in users], Event()
    try:
        server.start(DJANGOS)
        with ThreadPoolExecutor(BROWSERS) as pool:
            browsing = [
                pool.submit(user.browse, has, switched) for user, has in zip(users, begun, strict=True)
            ]
            try:
                assert all(has.wait(60) for has in begun)
                server.stop()
                server.start(OURS, COOKIE_REVOCATIONS=f"sqlite:///{tmp_path}/ended.sqlite3")
            finally:
                switched.set()
            for done in browsing:
                done.result()
        assert all(user.djangos for user in users)
        ours = [user.browser.token or "" for user in users]
        assert all(token and ":" not in token for token in ours)

        leaving = BROWSERS // 2
        for user in users[:leaving]:
            assert user.get("/sign-out/")["user"] is None
            assert user.browser.token is None
        for number, user in enumerate(users):
            for copy in (ours[number], user.djangos):
                still = Browser(server.port, copy).get("/show/")[1]["user"]
                assert still == (None if number < leaving else user.name)
    finally:
        server.stop()
