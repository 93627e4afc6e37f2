"""Under an ASGI server a session takes no thread, and who waits makes nobody else wait."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.django.servers import on_servers, sites
from tests.live.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENTS = 500
THREADS = 4


@pytest.fixture(params=sites("cache", "embedded", "memcached", "redis"))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    settings, keepers = on_servers(request.param, request)
    server = Server(folder=tmp_path, asgi=True, caches=settings.get("CACHES"))
    server.start(f"sojourn.django.backends.{'cache' if keepers else request.param}")
    yield server
    server.stop()


async def get(server: Server, path: str, token: str | None = None) -> tuple[dict[str, Any], str | None]:
    """Return the answer and the session cookie of one request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    cookie = "" if token is None else f"Cookie: sessionid={token}\r\n"
    request = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n{cookie}\r\n"
    writer.write(request.encode())
    await writer.drain()
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    assert status.split()[1] == str(int(http.client.OK)), status
    for line in lines:
        name, _, value = line.partition(": ")
        if name.lower() == "set-cookie":
            token = value.partition(";")[0].partition("=")[2]
    return json.loads(body), token


def test_five_hundred_requests_with_sessions_are_under_way_at_once(server: Server) -> None:
    async def meet() -> list[dict[str, Any]]:
        newcomers = await asyncio.gather(*(get(server, "/visit/") for _ in range(CLIENTS)))
        tokens = [token for _, token in newcomers]
        assert len(set(tokens)) == CLIENTS
        answers = await asyncio.gather(*(get(server, f"/meet/{CLIENTS}/", token) for token in tokens))
        return [answer for answer, _ in answers]

    assert asyncio.run(meet()) == [{"visits": 2, "met": CLIENTS}] * CLIENTS


def test_a_session_in_memory_or_on_a_server_starts_no_thread_and_one_in_a_file_a_bounded_number(
    server: Server,
) -> None:
    async def started_by(path: str, tokens: list[str | None]) -> tuple[list[str], list[str | None]]:
        before, _ = await get(server, "/threads/")
        answers = await asyncio.gather(*(get(server, path, token) for token in tokens))
        after, _ = await get(server, "/threads/")
        return after["started"][len(before["started"]) :], [token for _, token in answers]

    async def started() -> list[str]:
        nobody: list[str | None] = [None] * 100
        without, _ = await started_by("/threads/", nobody)
        new, tokens = await started_by("/visit/", nobody)
        known, _ = await started_by("/visit/", tokens)
        assert len(set(tokens)) == len(nobody)
        # Django itself starts threads for its signals: so many for each request, with a session or without.
        extra = [name for name in new + known if name.startswith("sojourn")]
        assert len(new + known) - len(extra) == 2 * len(without)
        return extra

    extra = asyncio.run(started())
    in_a_file = (server.folder / ".sojourn").exists()
    assert len(extra) <= (THREADS if in_a_file else 0)
    assert in_a_file == bool(extra)
