"""The demo as a person meets it: over HTTP, under gunicorn, stopped and started again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("django")
pytest.importorskip("gunicorn")

SERVE = Path(__file__).parents[2] / "examples" / "demo" / "serve.py"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)


class Page(NamedTuple):
    """What a browser shows after following redirects."""

    status: int
    url: str
    text: str

    @property
    def worker(self) -> str:
        found = re.search(r'id="worker">(\d+)<', self.text)
        assert found is not None
        return found[1]

    @property
    def is_signed_in(self) -> bool:
        return 'action="/sign-out/"' in self.text


class Browser:
    """Keeps cookies, follows redirects and fills in the CSRF token of the form it sends."""

    def __init__(self, site: Site, user_agent: str) -> None:
        self.site = site
        self.cookies = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )
        self._opener.addheaders = [("User-Agent", user_agent)]

    def get(self, path: str) -> Page:
        return self._open(urllib.request.Request(self.site.address + path))  # noqa: S310 - our own address

    def post(self, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> Page:
        csrf = next((cookie.value for cookie in self.cookies if cookie.name == "csrftoken"), None) or ""
        body = urlencode({"csrfmiddlewaretoken": csrf, **fields}).encode()
        return self._open(urllib.request.Request(self.site.address + path, body, headers or {}))  # noqa: S310

    def sign_in(self) -> Page:
        self.get("/sign-in/")
        page = self.post("/sign-in/", username="demo", password=self.site.password)
        assert page.is_signed_in
        return page

    def _open(self, request: urllib.request.Request) -> Page:
        try:
            answer = self._opener.open(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return Page(answer.status, answer.url, answer.read().decode())


class Site:
    """The demo with its state in a folder of its own, started and stopped as often as one likes."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.log = state.parent / "demo.log"
        self.password = ""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, str(SERVE), "--port", str(self.port), "--state", str(self.state)]
        with self.log.open("wb") as log:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 30
        while self.log.read_text().count("Booting worker") < 2:
            assert self._server.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        found = re.search(r"password +(\S+)", self.log.read_text())
        assert found is not None
        self.password = found[1]

    def stop(self) -> None:
        """Press Ctrl-C, and see that it ends in peace and nothing stays behind."""
        if self._server is None:
            return
        server, self._server = self._server, None
        os.killpg(server.pid, signal.SIGINT)
        try:
            assert server.wait(timeout=10) == 0, self.log.read_text()
        finally:
            had_leftovers = _kill_group(server.pid)
        assert not had_leftovers
        assert "Internal Server Error" not in self.log.read_text(), self.log.read_text()


def _kill_group(group: int) -> bool:
    """Kill what is left of a process group; return whether there was anything."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "state")
    site.start()
    yield site
    site.stop()


def test_session_and_basket_survive_a_restart(site: Site) -> None:
    browser = Browser(site, FIREFOX)
    browser.get("/")
    assert "Added to your basket: Enamel mug." in browser.post("/basket/add/", product="mug").text
    browser.sign_in()
    browser.post("/basket/add/", product="mug")
    browser.post("/basket/add/", product="lantern")

    site.stop()
    site.start()

    page = browser.get("/")
    assert page.is_signed_in
    assert "€ 66" in page.text  # two mugs and a lantern
    assert "× 2" in page.text
    assert "€ 54" in browser.post("/basket/remove/", product="mug").text


def test_revoking_from_a_second_browser_signs_the_first_out(site: Site) -> None:
    first, second, third = (Browser(site, agent) for agent in (FIREFOX, CHROME, FIREFOX))
    for browser in (first, second):
        browser.sign_in()
    listing = second.get("/sessions/").text
    assert "Firefox" in listing
    assert "Chrome" in listing
    (other,) = re.findall(r'name="session" value="(\w+)"', listing)

    assert "That browser is signed out." in second.post("/sessions/revoke/", session=other).text
    assert not first.get("/").is_signed_in
    assert first.get("/sessions/").url.endswith("/sign-in/?next=/sessions/")
    assert second.get("/").is_signed_in

    first.sign_in()
    third.sign_in()
    assert "Signed out 2 other browsers." in second.post("/sessions/revoke-others/").text
    assert not first.get("/").is_signed_in
    assert not third.get("/").is_signed_in
    assert second.get("/").is_signed_in


def test_both_workers_answer_from_the_same_sessions(site: Site) -> None:
    browser = Browser(site, FIREFOX)
    browser.sign_in()
    workers: set[str] = set()
    deadline = time.monotonic() + 10
    with ThreadPoolExecutor(4) as pool:
        while len(workers) < 2 and time.monotonic() < deadline:
            pages = list(pool.map(browser.get, ["/"] * 8))
            assert all(page.is_signed_in for page in pages)
            workers.update(page.worker for page in pages)
    assert len(workers) == 2


def test_T13_sign_out_is_refused_by_get_from_elsewhere_and_without_the_token(site: Site) -> None:
    browser = Browser(site, FIREFOX)
    browser.sign_in()
    browser.get("/sessions/")

    assert browser.get("/sign-out/").status == 405
    assert browser.get("/sessions/revoke-others/").status == 405
    for elsewhere in ("cross-site", "same-site"):
        for path in ("/sign-out/", "/sessions/revoke/", "/sessions/revoke-others/"):
            assert browser.post(path, headers={"Sec-Fetch-Site": elsewhere}).status == 403
    assert browser.post("/sign-out/", csrfmiddlewaretoken="").status == 403
    assert browser.get("/").is_signed_in

    page = browser.post("/sign-out/", headers={"Sec-Fetch-Site": "same-origin"})
    assert page.status == 200
    assert not page.is_signed_in


def test_a_taken_port_is_explained(site: Site, tmp_path: Path) -> None:
    command = [sys.executable, str(SERVE), "--port", str(site.port), "--state", str(tmp_path / "other")]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert f"port {site.port} cannot be used" in second.stderr
    assert not (tmp_path / "other").exists()


def test_the_state_is_readable_by_its_owner_alone(site: Site) -> None:
    Browser(site, FIREFOX).sign_in()
    assert site.state.stat().st_mode & 0o777 == 0o700
    for name in ("secret_key", "password", "users.sqlite3"):
        assert (site.state / name).stat().st_mode & 0o777 == 0o600
