"""The tutorial, step by step: real commands in a new folder, a real server, a browser."""

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
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.docs.pages import blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

#: The first block makes an environment; these tests run in one, which ``make test`` has made.
INSTALLATION = """\
$ python3 -m venv .venv
$ . .venv/bin/activate
$ pip install '../sojourn[django]'
"""


def commands(text: str) -> list[tuple[str, str]]:
    """Return each command of a console block, and what is shown to answer."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif line.startswith(">") and not found[-1][1]:
            found[-1] = (found[-1][0] + line[1:].removeprefix(" "), "")
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


class Reader:
    """Does what the page says: in a terminal, in an editor, and in a browser."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blocks = iter(blocks_of("docs/tutorial.md", "console", "python"))
        self.servers: list[subprocess.Popen[bytes]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.cookies = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )
        self._opener.addheaders = [("User-Agent", FIREFOX)]
        environment = {**os.environ, "PYTHONWARNINGS": "default"}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        self.environment = {**environment, "PATH": path}

    def types(self) -> None:
        """Type the next block into the terminal; what is shown there is what is printed."""
        block = next(self.blocks)
        assert block.language == "console"
        for command, shown in commands(block.text):
            if command.startswith("cd "):
                self.folder /= command[3:].strip()
                continue
            done = subprocess.run(
                ["sh", "-c", command],  # noqa: S607 - as the page says
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.stdout, done.stderr) == (shown, ""), f"{block}: {command}"

    def starts_the_server(self) -> None:
        block = next(self.blocks)
        assert block.text == "$ python manage.py runserver\n"
        # Started in the background, the tests and what they start would ignore Ctrl-C.
        heeding = ["env", "--default-signal=INT"]
        server = subprocess.Popen(
            [*heeding, *block.text[2:].split(), str(self.port), "--noreload"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.servers.append(server)
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                assert server.poll() is None, "the server did not start"
                assert time.monotonic() < deadline, "the server did not start in time"
                time.sleep(0.05)

    def stops_the_server(self) -> None:
        server = self.servers.pop()
        server.send_signal(signal.SIGINT)
        server.wait(15)

    def adds_to(self, path: str) -> None:
        block = next(self.blocks)
        assert block.language == "python"
        with (self.folder / path).open("a") as file:
            file.write(block.text)

    def opens(self, path: str, **form: str) -> str:
        """Return the page's title."""
        address = f"http://127.0.0.1:{self.port}{path}"
        body: bytes | None = None
        if form:
            csrf = next(str(cookie.value) for cookie in self.cookies if cookie.name == "csrftoken")
            body = urlencode({**form, "csrfmiddlewaretoken": csrf}).encode()
        request = urllib.request.Request(address, body, {"Referer": address})
        with self._opener.open(request, timeout=30) as answer:
            title = re.search("<title>(.*?)[|]", answer.read().decode(), re.DOTALL)
        assert title is not None
        return title[1].strip()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    for server in made.servers:
        server.kill()
        server.wait()


def test_the_tutorial_does_what_it_says(reader: Reader) -> None:
    assert next(reader.blocks).text == INSTALLATION
    reader.types()
    reader.adds_to("mysite/settings.py")
    reader.types()

    reader.starts_the_server()
    assert reader.opens("/admin/") == "Log in"
    signed_in = reader.opens("/admin/login/?next=/admin/", username="ada", password="correct-horse")
    assert signed_in == "Site administration"
    reader.types()
    reader.types()

    reader.stops_the_server()
    reader.starts_the_server()
    assert reader.opens("/admin/") == "Site administration"

    reader.types()
    reader.types()
    assert reader.opens("/admin/") == "Log in"
    assert next(reader.blocks, None) is None
