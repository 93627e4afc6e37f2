"""Requests by the byte to the project behind Sojourn's middleware: WSGI and ASGI, raw headers in and out."""

from __future__ import annotations

import asyncio
import io
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.decorators import sync_and_async_middleware

from sojourn.django import engine as engines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.django.site import Site

    #: What a request does.  Written once: its session's methods are to be awaited, whichever the server.
    View: TypeAlias = Callable[[HttpRequest, "Hand"], Awaitable[object]]

__all__ = ["KINDS", "OURS", "Answer", "Hand", "Wire", "touch_first"]

KINDS = ("wsgi", "asgi")
OURS = "sojourn.django.middleware.SessionMiddleware"

_views: dict[int, View] = {}
_numbers = itertools.count()


class Hand:
    """A session whose methods are awaited: under WSGI they are the plain ones."""

    def __init__(self, session: Any, *, use_async: bool) -> None:
        self.session = session
        self._use_async = use_async

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if self._use_async:
            asynchronous: Callable[..., Awaitable[Any]] = getattr(self.session, f"a{name}")
            return asynchronous
        plain = getattr(self.session, {"set": "__setitem__"}.get(name, name))

        async def call(*args: Any, **kwargs: Any) -> Any:
            return plain(*args, **kwargs)

        return call


def _response(answer: object) -> HttpResponseBase:
    return answer if isinstance(answer, HttpResponseBase) else HttpResponse(str(answer))


def _plain(request: HttpRequest, number: int) -> HttpResponseBase:
    view: Any = _views[number](request, Hand(getattr(request, "session", None), use_async=False))
    try:
        view.send(None)
    except StopIteration as stop:
        return _response(stop.value)
    raise AssertionError("a plain view waits for something")


async def _asynchronous(request: HttpRequest, number: int) -> HttpResponseBase:
    return _response(await _views[number](request, Hand(getattr(request, "session", None), use_async=True)))


urlpatterns = [path("wsgi/<int:number>/", _plain), path("asgi/<int:number>/", _asynchronous)]


@sync_and_async_middleware
def touch_first(get_response: Any) -> Any:
    """Touch the session before the view, as other middleware does."""
    if asyncio.iscoroutinefunction(get_response):

        async def asynchronous(request: Any) -> Any:
            await request.session.aget("anything")
            return await get_response(request)

        return asynchronous

    def plain(request: Any) -> Any:
        request.session.get("anything")
        return get_response(request)

    return plain


@dataclass(frozen=True)
class Answer:
    """A response as it went over the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: str

    def all(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header.lower() == name.lower()]

    def __getitem__(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, values
        return values[0] if values else None

    @property
    def cookie(self) -> str | None:
        """The one cookie that is set."""
        return self["Set-Cookie"]

    @property
    def token(self) -> str:
        assert self.cookie is not None
        return self.cookie.partition(";")[0].partition("=")[2]

    @property
    def cache_control(self) -> set[str]:
        return set((self["Cache-Control"] or "").split(", ")) - {""}


@dataclass(frozen=True)
class Wire:
    """A browser's end of the wire to ``site``, which is served by WSGI or ASGI."""

    site: Site
    kind: str

    async def get(
        self,
        view: View,
        *,
        cookie: str | list[str] | None = None,
        gone: Awaitable[object] | None = None,
    ) -> Answer:
        """Return the answer to a request that ``view`` serves and that carries the Cookie headers.

        Under ASGI the browser may have ``gone`` before there is one: then its status is 0.
        """
        number = next(_numbers)
        _views[number] = view
        cookies = [cookie] if isinstance(cookie, str) else cookie or []
        try:
            if self.kind == "wsgi":
                return self._wsgi(f"/wsgi/{number}/", cookies)
            return await self._asgi(f"/asgi/{number}/", cookies, gone)
        finally:
            del _views[number]

    def _wsgi(self, where: str, cookies: list[str]) -> Answer:
        environ: dict[str, Any] = {
            "PATH_INFO": where,
            "REQUEST_METHOD": "GET",
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            "wsgi.input": io.BytesIO(),
            "wsgi.url_scheme": "http",
        }
        if cookies:
            environ["HTTP_COOKIE"] = "; ".join(cookies)
        started: list[Any] = []
        handler: Any = WSGIHandler()
        response = handler(environ, lambda *arguments: started.extend(arguments))
        body = b"".join(response)
        response.close()
        return Answer(int(started[0].split()[0]), started[1], body.decode())

    async def _asgi(self, where: str, cookies: list[str], gone: Awaitable[object] | None = None) -> Answer:
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": where,
            "query_string": b"",
            "server": ("testserver", 80),
            "headers": [(b"cookie", cookie.encode("latin-1")) for cookie in cookies],
        }
        coming: list[dict[str, Any]] = [{"type": "http.request", "body": b""}]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not coming:
                await (asyncio.Future() if gone is None else gone)
                return {"type": "http.disconnect"}
            return coming.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        handler: Any = ASGIHandler()
        await handler(scope, receive, send)
        if not sent:
            return Answer(0, [], "")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        body = b"".join(message["body"] for message in sent[1:])
        return Answer(sent[0]["status"], headers, body.decode())

    def watch(self) -> Any:
        """Return the store that serves these requests: from now on it counts, and fails as planned."""
        self.site.watch()
        [place] = engines._places.values()
        return place.store if self.kind == "wsgi" else place.async_store
