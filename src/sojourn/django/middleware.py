"""``sojourn.django.middleware.SessionMiddleware`` in place of Django's: one line in ``MIDDLEWARE``.

It does what Django's does, for Sojourn's engines, and besides:

* It runs on either side of the fence: under ASGI it awaits the store, and no request takes a thread.
* It reads the Cookie header itself, so that no odd cookie hides the session's, and tries each of several.
* It writes the cookie itself, and refuses to start with settings that contradict each other.
* A store that does not answer is 503 with Retry-After, never a visitor nobody knows.
* A page that was made with the session is kept from shared caches.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangosSessionMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.utils.log import log_response

from sojourn.carriers.chunks import join_chunks
from sojourn.django.backends.base import SojournSession
from sojourn.django.headers import (
    cookie_settings,
    keep_from_caches,
    max_age_of,
    no_session_cookies,
    session_cookies,
)
from sojourn.errors import StoreUnavailableError
from sojourn.steps import run, run_async

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from sojourn.django.headers import SessionCookie
    from sojourn.steps import Steps

__all__ = ["RETRY_AFTER", "ServiceUnavailable", "SessionMiddleware"]

logger = logging.getLogger("sojourn")

#: Seconds after which a browser is told to come back when the store did not answer.
RETRY_AFTER: Final = 10

_OURS: Final = "sojourn.django.backends."
_SERVER_ERROR: Final = 500


class ServiceUnavailable(HttpResponse):
    """The answer when the store does not: 503, come back later."""

    status_code = 503

    def __init__(self) -> None:
        super().__init__(
            "The service is unavailable for the moment. Please try again in a few seconds.\n",
            content_type="text/plain; charset=utf-8",
            headers={
                "Retry-After": str(RETRY_AFTER),
                "Cache-Control": "private, no-store",
                "Vary": "Cookie",
            },
        )


class SessionMiddleware(DjangosSessionMiddleware):
    """Gives each request its ``session``, and each response what became of it.

    Raises ``ImproperlyConfigured`` at start-up if ``SESSION_ENGINE`` is not one of Sojourn's, or if the
    settings of the cookie contradict each other.
    """

    def __init__(self, get_response: Any) -> None:
        _check_engine()
        cookie_settings()
        super().__init__(get_response)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer under ASGI."""
        self.process_request(request)
        response: Any = await self.get_response(request)  # type: ignore[misc]
        return await run_async(self._finish(request, response))

    def process_request(self, request: HttpRequest) -> None:
        """Give the request its session, which is loaded when first touched.  No I/O."""
        store: Any = self.SessionStore
        request.session = store.of_cookies(join_chunks(_sent(request), cookie_settings().name))

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        """Save what the request changed, and say so."""
        return run(self._finish(request, response))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 503 if a view failed because the store did not answer."""
        if isinstance(exception, StoreUnavailableError):
            return _service_unavailable(request, str(exception))
        return None

    def _finish(self, request: HttpRequest, response: HttpResponseBase) -> Steps[HttpResponseBase]:
        session: object = getattr(request, "session", None)
        if not isinstance(session, SojournSession):
            return response
        touched = session.accessed
        cookies: list[SessionCookie] = []
        if session.unavailable is None:
            try:
                cookies = yield from self._settle(request, session, response)
            except StoreUnavailableError as error:
                session.unavailable = str(error)
        if session.unavailable is not None:
            # Also if the page looks fine: {% if user.is_superuser or … %} takes any error for "no".
            return _in_place_of(response, request, session.unavailable)
        for cookie in cookies:
            response.cookies[cookie.key] = cookie
        if cookies or touched:
            keep_from_caches(response, entirely=bool(cookies))
        return response

    def _settle(
        self, request: HttpRequest, session: SojournSession, response: HttpResponseBase
    ) -> Steps[list[SessionCookie]]:
        """Save if there is something to save; return the cookies to send, if any."""
        if session.flushed:
            return no_session_cookies(sent=_sent(request))
        if response.status_code >= _SERVER_ERROR:
            return []
        if not (session.modified or settings.SESSION_SAVE_EVERY_REQUEST):
            return []
        if session.session_key is not None:  # loaded if it was not yet: an unknown one is left alone
            yield (session.aloaded if self.async_mode else session.loaded,)
        if session.holds_nothing:
            return []
        max_age = max_age_of(session)
        try:
            yield (session.asave if self.async_mode else session.save,)
        except UpdateError as error:
            raise SessionInterrupted(
                "The request's session was deleted before the request completed. The user may have logged "
                "out in a concurrent request, for example."
            ) from error
        return session_cookies(str(session.session_key), max_age, sent=_sent(request))


def _check_engine() -> None:
    engine: str = settings.SESSION_ENGINE
    store: object = getattr(import_module(engine), "SessionStore", None)
    if isinstance(store, type) and issubclass(store, SojournSession):
        return
    name = engine.rpartition(".")[2]
    ours = _OURS + (name if name.isidentifier() and find_spec(_OURS + name) is not None else "embedded")
    raise ImproperlyConfigured(
        f"{__name__}.SessionMiddleware needs an engine of Sojourn's, and SESSION_ENGINE is {engine!r}: write "
        f"SESSION_ENGINE = {ours!r}, or have 'django.contrib.sessions.middleware.SessionMiddleware' in "
        "MIDDLEWARE"
    )


def _sent(request: HttpRequest) -> str | bytes:
    """Return the Cookie header the browser sent."""
    scope: Any = getattr(request, "scope", None)
    if scope is None:
        header: str = request.META.get("HTTP_COOKIE", "")
        return header
    # HTTP/2 sends a Cookie header for each cookie; Django's META would join them with commas.
    return b"; ".join(value for name, value in scope.get("headers", ()) if name == b"cookie")


def _service_unavailable(request: HttpRequest, reason: str) -> ServiceUnavailable:
    response = ServiceUnavailable()
    log_response(
        "The session store did not answer, so %s %s is answered 503: %s",
        request.method,
        request.path,
        reason,
        response=response,
        request=request,
        logger=logger,
    )
    return response


def _in_place_of(response: HttpResponseBase, request: HttpRequest, reason: str) -> HttpResponseBase:
    """Return the 503 for ``response``, which is closed with it."""
    if isinstance(response, ServiceUnavailable):
        return response
    replaced: Any = response
    answer: Any = _service_unavailable(request, reason)
    answer._resource_closers += replaced._resource_closers  # noqa: SLF001 - Django's handlers add to it, too
    unavailable: ServiceUnavailable = answer
    return unavailable
