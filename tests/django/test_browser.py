"""Sessions in cookies in a real browser: what Chromium keeps, drops and sends back."""

from __future__ import annotations

import random
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from sojourn.cookie import MAX_COOKIE
from tests.django.wire import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.django.site import Site
    from tests.servers.chromium import Chromium

HOST_HTTP = {"SESSION_COOKIE_NAME": "__Host-Http-session", "SESSION_COOKIE_SECURE": True}
SUBJECT = "tests.django.test_browser.member"


def member(session: Mapping[str, Any]) -> str | None:
    return session.get("member")


# --- the site ----------------------------------------------------------------------------------------


def fill(request: HttpRequest, octets: int) -> HttpResponse:
    request.session["filling"] = random.Random(octets).randbytes(octets // 2).hex()
    return HttpResponse("filled")


def look(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.session.get('member')} {len(request.session.get('filling', ''))}")


def sign_in(request: HttpRequest) -> HttpResponse:
    request.session.cycle_key()
    request.session["member"] = "ann"
    return HttpResponse("hello")


def sign_out(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse("bye")


def everywhere_else(request: HttpRequest) -> HttpResponse:
    session: Any = request.session
    session.get_engine().manager.revoke_subject("ann", except_session=session.loaded())
    return HttpResponse("done")


def expire(request: HttpRequest, seconds: int) -> HttpResponse:
    request.session["member"] = "ann"
    request.session.set_expiry(seconds)
    return HttpResponse("soon")


def octets(_request: HttpRequest, count: int) -> HttpResponse:
    """Set a cookie whose name and value have that many octets, whatever we would say of it."""
    response = HttpResponse("set")
    response.set_cookie("raw", "x" * (count - len("raw")))
    return response


urlpatterns = [
    path("fill/<int:octets>/", fill),
    path("look/", look),
    path("in/", sign_in),
    path("out/", sign_out),
    path("everywhere-else/", everywhere_else),
    path("expire/<int:seconds>/", expire),
    path("octets/<int:count>/", octets),
]


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.0"

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(256 * 1024)
        if not self.parse_request():
            return
        written: Any = self.wfile
        handler = ServerHandler(self.rfile, written, self.get_stderr(), self.get_environ(), multithread=True)
        handler.run(WSGIHandler())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        port = str(self.server_port)
        self.base_environ = {"SERVER_NAME": "localhost", "SERVER_PORT": port, "SCRIPT_NAME": ""}


@pytest.fixture
def serve(make_site: Any, tmp_path: Any) -> Iterator[Callable[..., str]]:
    """Serve a site with sessions in cookies on a port of its own; return its address."""
    servers: list[_Server] = []

    def start(*, spills: bool = False, **more: Any) -> str:
        sojourn = {"COOKIE_REVOCATIONS": f"sqlite://{tmp_path}/private/ended.sqlite3", "SUBJECT": SUBJECT}
        if spills:
            sojourn["COOKIE_SPILL"] = f"sqlite://{tmp_path}/private/large.sqlite3"
        sojourn |= more.pop("SOJOURN", {})
        chosen = {"ROOT_URLCONF": "tests.django.test_browser", "MIDDLEWARE": [OURS], "ALLOWED_HOSTS": ["*"]}
        site: Site = make_site("signed_cookies", SOJOURN=sojourn, **chosen | more)
        site.engine  # noqa: B018 - starts it
        server = _Server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://localhost:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# --- what a browser does -----------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "kept"), [(4095, True), (4096, True), (4097, False)])
def test_T6_a_browser_keeps_4096_octets_of_name_and_value_and_drops_what_is_longer(
    serve: Callable[..., str], chromium: Chromium, count: int, kept: bool
) -> None:
    assert (count <= MAX_COOKIE) is kept
    assert chromium.visit(f"{serve()}/octets/{count}/") == "set"
    assert ("raw" in chromium.cookies) is kept


def test_T6_the_longest_session_there_is_room_for_is_kept_and_comes_back(
    serve: Callable[..., str], chromium: Chromium
) -> None:
    site = serve(SOJOURN={"COOKIE_COMPRESS": False})
    fits, too_long = 2000, 4000
    while too_long - fits > 2:
        middle = (fits + too_long) // 4 * 2
        if chromium.visit(f"{site}/fill/{middle}/") == "filled":
            fits = middle
        else:
            too_long = middle
    chromium.visit(f"{site}/fill/{fits}/")
    assert chromium.visit(f"{site}/look/") == f"None {fits}"
    assert chromium.visit(f"{site}/fill/{too_long}/") != "filled"
    assert chromium.visit(f"{site}/look/") == f"None {fits}", "the former cookie stays good"


def test_T5_a_script_can_neither_read_nor_set_a_cookie_with_the_prefix_Host_Http(
    serve: Callable[..., str], chromium: Chromium
) -> None:
    site = serve(**HOST_HTTP)
    assert chromium.visit(f"{site}/in/") == "hello"
    kept = chromium.cookies["__Host-Http-session"]
    assert (kept["secure"], kept["httpOnly"], kept["path"], kept["sameSite"]) == (True, True, "/", "Lax")
    assert chromium.run("return document.cookie") == ""
    chromium.run("document.cookie = '__Host-Http-session=evil; Path=/; Secure'")
    assert chromium.cookies["__Host-Http-session"]["value"] == kept["value"]
    assert chromium.visit(f"{site}/look/") == "ann 0"
    chromium.visit(f"{site}/out/")
    assert "__Host-Http-session" not in chromium.cookies, "L4: the same attributes delete it"
    chromium.run("document.cookie = '__Host-Http-session=evil; Path=/; Secure'")
    assert "__Host-Http-session" not in chromium.cookies


def test_T10_a_partitioned_cookie_is_kept_apart_for_the_site_it_is_embedded_in(
    serve: Callable[..., str], chromium: Chromium
) -> None:
    site = serve(
        SESSION_COOKIE_SECURE=True, SESSION_COOKIE_SAMESITE="None", SOJOURN={"COOKIE_PARTITIONED": True}
    )
    chromium.visit(f"{site}/in/")
    assert "partitionKey" in chromium.cookies["sessionid"]
    assert chromium.visit(f"{site}/look/") == "ann 0"


def test_T7_a_browser_forgets_a_cookie_whose_session_has_expired(
    serve: Callable[..., str], chromium: Chromium
) -> None:
    site = serve()
    chromium.visit(f"{site}/expire/3600/")
    kept = chromium.cookies["sessionid"]
    assert not kept["session"]
    assert chromium.visit(f"{site}/look/") == "ann 0"
    chromium.visit(f"{site}/expire/1/")
    for _ in range(300):  # the browser's clock decides when a second is over
        if "sessionid" not in chromium.cookies:
            break
        threading.Event().wait(0.1)
    assert "sessionid" not in chromium.cookies
    assert chromium.visit(f"{site}/look/") == "None 0"


def test_a_session_over_several_cookies_is_kept_sent_back_and_cleared_away(
    serve: Callable[..., str], chromium: Chromium
) -> None:
    site = serve(SOJOURN={"MAX_COOKIES": 4})
    for count, names in ((100, 1), (12_000, 3), (18_000, 4), (6_000, 2), (100, 1)):
        assert chromium.visit(f"{site}/fill/{count}/") == "filled"
        assert len(chromium.cookies) == names
        assert chromium.visit(f"{site}/look/") == f"None {count}"
    chromium.visit(f"{site}/fill/12000/")
    chromium.visit(f"{site}/out/")
    assert not chromium.cookies


def test_a_session_of_20_KB_spills_and_comes_back_and_ends_everywhere(
    serve: Callable[..., str], chromium: Chromium, other_chromium: Chromium
) -> None:
    site = serve(spills=True, **HOST_HTTP)
    for browser in (chromium, other_chromium):
        browser.visit(f"{site}/in/")

    def length() -> int:
        return len(chromium.cookies["__Host-Http-session"]["value"])

    for count in (20_000, 25_000, 100, 20_000):
        assert chromium.visit(f"{site}/fill/{count}/") == "filled"
        assert chromium.visit(f"{site}/look/") == f"ann {count}"
        assert (length() == 40) == (count > 100)
    spilled = chromium.cookies["__Host-Http-session"]["value"]
    other_chromium.visit(f"{site}/everywhere-else/")
    assert chromium.visit(f"{site}/look/") == "None 0"
    assert chromium.cookies["__Host-Http-session"]["value"] == spilled, "left alone"
    assert other_chromium.visit(f"{site}/look/") == "ann 0"
    chromium.visit(f"{site}/in/")
    assert chromium.visit(f"{site}/look/") == "ann 0"
    chromium.visit(f"{site}/out/")
    assert not chromium.cookies
