"""The whole way of a request through Django: handler, session middleware, view, response."""

from __future__ import annotations

import random
from importlib.util import find_spec
from io import BytesIO
from statistics import median
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

from bench.contenders import EMBEDDED, MEMORY, DjangoEngine
from bench.data import SIZES, signed_in
from bench.networked import KEPT_OPEN, MEMCACHED, RAW_MEMCACHED, RAW_REDIS, REDIS
from bench.operations import microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.contenders import Contender
    from bench.operations import Medians

__all__ = ["NONE", "PAGES", "measure", "own"]

PAGES = ("page", "saving page")

_PATHS = {"page": "/reads/", "saving page": "/writes/"}
NONE = "Django without sessions"
_STOCK = "django.contrib.sessions.middleware.SessionMiddleware"
_OURS = "sojourn.django.middleware.SessionMiddleware"
_BATCH = 10


def measure(contenders: Mapping[str, Contender], *, rounds: int) -> Medians:
    """Return the median of what a page takes that reads a session, and one that also saves it."""
    engines = {name: one for name, one in contenders.items() if isinstance(one, DjangoEngine)}
    engines.pop(KEPT_OPEN, None)  # a request closes it
    handlers = {name: _handler(engine.engine, _STOCK) for name, engine in engines.items()}
    behind_own = [name for name in (MEMORY, EMBEDDED, MEMCACHED, REDIS) if name in engines]
    for name in behind_own if find_spec("sojourn.django.middleware") else ():
        handlers[own(name)] = _handler(engines[name].engine, _OURS)
        engines[own(name)] = engines[name]
    clients = {name: contenders[name] for name in (RAW_MEMCACHED, RAW_REDIS) if name in contenders}
    for name in (NONE, *clients):
        handlers[name] = _handler(settings.SESSION_ENGINE, None)
    known = {**engines, **clients}
    cookies = {
        (size, name): known[name].new(signed_in(size)) if name in known else ""
        for size in SIZES
        for name in handlers
    }
    samples: dict[str, dict[int, dict[str, list[float]]]] = {
        page: {size: {name: [] for name in handlers} for size in SIZES} for page in PAGES
    }
    turns = [(page, size, name) for page in PAGES for size in SIZES for name in handlers]
    for _ in range(rounds):
        random.shuffle(turns)
        for page, size, name in turns:
            cookie = cookies[size, name]
            if name in clients:
                visit = _visitor(handlers[name], "/raw/", "", _work(clients[name], page, cookie))
            else:
                visit = _visitor(handlers[name], _PATHS[page] if name in engines else "/neither/", cookie)
            samples[page][size][name] += microseconds(visit, [""] * _BATCH)
    return {
        page: {
            size: {name: median(taken) for name, taken in of_size.items()}
            for size, of_size in of_page.items()
        }
        for page, of_page in samples.items()
    }


def own(name: str) -> str:
    """Return the name of ``name`` behind Sojourn's own middleware."""
    return f"{name}, own middleware"


def _handler(engine: str, middleware: str | None) -> WSGIHandler:
    """Return a Django that looks for sessions in ``engine``: the middleware asks once, when made."""
    settings.SESSION_ENGINE = engine
    settings.MIDDLEWARE = [] if middleware is None else [middleware]
    return WSGIHandler()


def _work(client: Contender, page: str, key: str) -> Callable[[], object]:
    """Return what a view does that asks ``client`` itself: the least that a page with a session can add."""
    if page == "page":
        return lambda: client.read(key)
    return lambda: client.save(client.open(key))


def _visitor(
    handler: WSGIHandler, path: str, cookie: str, work: Callable[[], object] | None = None
) -> Callable[[object], None]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.multiprocess": False,
        "HTTP_COOKIE": f"{settings.SESSION_COOKIE_NAME}={cookie}",
        "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "bench.work": work,
    }

    def start_response(status: str, _: object, __: object = None) -> Any:
        if status != "200 OK":
            raise RuntimeError(f"{path} answered {status}")

    def visit(_: object) -> None:
        response = handler({**environ, "wsgi.input": BytesIO()}, start_response)
        b"".join(response)
        response.close()

    return visit
