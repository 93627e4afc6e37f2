"""A browser for the real Horizon: it keeps cookies, fills in forms and follows no redirect by itself."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from copy import copy
from dataclasses import dataclass
from http.cookiejar import Cookie, CookieJar
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.horizon.keystone import User

__all__ = ["Answer", "Browser", "Cost"]

#: Seconds a page may take on a busy machine.
PATIENCE = 120.0

_HIDDEN_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


class _FollowsNothing(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a request's session cost."""

    #: How often the store was asked for what.
    operations: Mapping[str, int]
    writes: int
    #: Bytes of the session, if it was stored.
    size: int
    #: The process that served it.
    worker: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    #: Path of a redirect; empty if it is none.
    location: str
    body: str
    #: Whether it says when to come back.
    retry_after: bool
    #: What it cost; see ``served.py``.
    cost: Cost

    @property
    def wants_sign_in(self) -> bool:
        return self.location.startswith("/auth/login/")


class Browser:
    """Keeps cookies.  Its requests may run in parallel, as a browser's do."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.jar = CookieJar()
        self._opener = urllib.request.build_opener(
            _FollowsNothing, urllib.request.HTTPCookieProcessor(self.jar), urllib.request.ProxyHandler({})
        )

    def request(self, path: str, fields: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """Return the answer to a GET, or to a POST of the form's ``fields``."""
        data = None if fields is None else urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(f"http://{self._address}{path}", data, headers)
        try:
            response = self._opener.open(request, timeout=PATIENCE)
        except HTTPError as error:  # which is a response, too
            response = error
        with response:
            location = urllib.parse.urlsplit(response.headers.get("Location", ""))
            return Answer(
                response.status,
                urllib.parse.urlunsplit(("", "", *location[2:])),
                response.read().decode(),
                "Retry-After" in response.headers,
                Cost(**json.loads(response.headers["X-Cost"])),
            )

    def get(self, path: str) -> Answer:
        return self.request(path)

    def post(self, path: str, *, form_at: str | None = None, **fields: str) -> Answer:
        """Fill in the form on the page ``form_at`` (by default the one it is sent to) and send it."""
        token = self.token(path if form_at is None else form_at)
        return self.request(path, {"csrfmiddlewaretoken": token, **fields})

    def token(self, path: str) -> str:
        """Return the token against forged requests of the form on a page."""
        [token, *_] = _HIDDEN_TOKEN.findall(self.get(path).body)
        return str(token)

    def sign_in(self, user: User, password: str | None = None, **more: str) -> Answer:
        """Fill in the form on the sign-in page."""
        return self.request("/auth/login/", self.sign_in_form(user, password, **more))

    def sign_in_form(self, user: User, password: str | None = None, **more: str) -> Mapping[str, str]:
        """Open the sign-in page; return its form, filled in."""
        password = user.password if password is None else password
        form = {"csrfmiddlewaretoken": self.token("/auth/login/"), "region": "default"}
        return {**form, "username": user.name, "password": password, **more}

    def sign_out(self) -> Answer:
        """Press the button, which every page has."""
        return self.post("/auth/logout/", form_at="/settings/")

    def cookie(self, name: str = "sessionid") -> Cookie | None:
        """Return the cookie of this name."""
        return next((cookie for cookie in self.jar if cookie.name == name), None)

    def copy(self, *, only: str | None = None) -> Browser:
        """Return another browser with the cookies this one has now, or only that of a name."""
        twin = Browser(self._address)
        for cookie in self.jar:
            if only in (None, cookie.name):
                twin.jar.set_cookie(copy(cookie))
        return twin
