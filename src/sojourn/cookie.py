"""Cookie header → values; settings → Set-Cookie.

"RFC 6265bis" is draft-ietf-httpbis-rfc6265bis-22, the revision of RFC 6265 that browsers follow.  Both
directions are written out here: the standard library's ``http.cookies`` drops every cookie for one odd
name, raises for another, and writes line breaks it is given into the header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sojourn.errors import ConfigurationError, EncodeError, PayloadTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MAX_AGE",
    "MAX_ATTRIBUTE",
    "MAX_COOKIE",
    "MAX_HEADER",
    "CookieSettings",
    "delete_cookie",
    "parse_cookies",
    "set_cookie",
]

#: Longest lifetime of a cookie, in seconds: 400 days (RFC 6265bis 5.5).
MAX_AGE: Final = 400 * 24 * 60 * 60

#: Longest name and value together, in octets; browsers drop longer cookies (RFC 6265bis 5.6).
MAX_COOKIE: Final = 4096

#: Longest value of an attribute, in octets; browsers ignore longer ones (RFC 6265bis 5.6).
MAX_ATTRIBUTE: Final = 1024

#: How much of a Cookie header is read, in octets.
MAX_HEADER: Final = 64 * 1024

#: What a browser strips from names and values (RFC 6265bis 5.6).  Not ``str.strip()``'s idea of white
#: space: to take U+0085, U+00A0 or U+2000 off a name makes a protected one of it.
_WHITE_SPACE: Final = " \t"

#: RFC 9110 5.6.2: token.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

#: What a server must not call a cookie: older parsers, ``http.cookies`` among them, take it for an attribute.
_ATTRIBUTE: Final = re.compile(
    "comment|domain|expires|httponly|max-age|partitioned|path|samesite|secure|version", re.IGNORECASE
)

#: RFC 6265bis 4.1.1: cookie-octet.  No white space, quote, comma, semicolon or backslash.
_VALUE: Final = re.compile(r"[\x21\x23-\x2B\x2D-\x3A\x3C-\x5B\x5D-\x7E]*")

#: RFC 6265bis 4.1.1: path-value, without spaces.
_PATH: Final = re.compile(r"/[\x21-\x3A\x3C-\x7E]*")

#: RFC 1123 2.1, underscores tolerated; a browser ignores the leading dot (RFC 6265bis 5.6.3).
_DOMAIN: Final = re.compile(r"\.?[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*")

#: Prefix of a name → what browsers then ask for (RFC 6265bis 4.1.3; draft-ietf-httpbis-layered-cookies
#: for those with "Http").  The longer of two prefixes comes first.
_PREFIXES: Final[dict[str, tuple[str, ...]]] = {
    "__Host-Http-": ("secure", "httponly", "path", "domain"),
    "__Host-": ("secure", "path", "domain"),
    "__Http-": ("secure", "httponly"),
    "__Secure-": ("secure",),
}


# --- reading -----------------------------------------------------------------------------------------


def parse_cookies(header: str | bytes, name: str, *, limit: int = MAX_HEADER) -> list[str]:
    """Return the values of all cookies called exactly ``name``, in the order of the header.

    ``header`` is the Cookie header as it came: bytes, or the ``str`` that WSGI makes of them.  Never
    raises and takes linear time.  A pair that no browser sends for a cookie of this name, and a value
    that :func:`set_cookie` does not write, are passed over; they do not hide the good ones.  Names are
    compared with their case, so ``__host-x`` is not ``__Host-x``.  Only the first ``limit`` octets are
    read, up to the last whole pair.  Several values are no error: cookies of one name may differ in path,
    domain or partition, and the first need not be yours.
    """
    text = header.decode("latin-1") if isinstance(header, bytes) else header
    pairs = text[: limit + 1].split(";")
    if len(text) > limit:
        del pairs[-1]  # cut, or beyond the limit
    values: list[str] = []
    for pair in pairs:
        found, equals, value = pair.partition("=")
        if equals and found.strip(_WHITE_SPACE) == name:
            value = value.strip(_WHITE_SPACE)
            if _VALUE.fullmatch(value):
                values.append(value)
    return values


# --- writing -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CookieSettings:
    """How the session's cookie is written.  The defaults are the safest that work for most sites.

    Raises ``ConfigurationError`` for settings that contradict each other or that a browser would ignore;
    the message names each and what to write instead.
    """

    #: ``__Host-``: browsers take it from this host alone, over HTTPS.  ``__Host-Http-``: and not from
    #: scripts.  Over plain HTTP neither prefix works.
    name: str = "__Host-session"
    #: The cookie is sent to this path and what lies below it.
    path: str = "/"
    #: ``None``: this host alone.  A domain: all its subdomains as well.
    domain: str | None = None
    #: Whether the cookie is sent over HTTPS alone.
    secure: bool = True
    #: Whether the cookie is hidden from scripts.
    httponly: bool = True
    #: Whether requests from other sites carry the cookie: ``"Strict"``: never; ``"Lax"``: when the user
    #: follows a link; ``"None"``: always; ``None``: the attribute is left out and the browser decides.
    samesite: Literal["Strict", "Lax", "None"] | None = "Lax"
    #: Whether the cookie is kept apart for each site that embeds this one (CHIPS).
    partitioned: bool = False

    def __post_init__(self) -> None:
        problems = "; ".join(self._problems())
        if problems:
            raise ConfigurationError(f"the session's cookie cannot be set like this: {problems}")

    def _problems(self) -> Iterator[str]:
        yield from self._malformed()
        yield from self._contradictions()

    def _malformed(self) -> Iterator[str]:
        if not _TOKEN.fullmatch(self.name):
            yield f"name {self.name!a:.60} must be letters, digits and !#$%&'*+-.^_`|~ only"
        if _ATTRIBUTE.fullmatch(self.name):
            yield f"name {self.name!a} must be another: that is an attribute of cookies"
        if len(self.name) > MAX_ATTRIBUTE:
            yield f"name has {len(self.name)} characters, the limit is {MAX_ATTRIBUTE}"
        if not _PATH.fullmatch(self.path):
            yield (
                f"path {self.path!a:.60} must start with / and have no space, semicolon, control or "
                "non-ASCII character (percent-encode it)"
            )
        if len(self.path) > MAX_ATTRIBUTE:
            yield f"path has {len(self.path)} characters, the limit is {MAX_ATTRIBUTE}"
        if self.domain is not None:
            if not _DOMAIN.fullmatch(self.domain):
                yield f"domain {self.domain!a:.60} must be a host name (in its xn-- form) or None"
            if len(self.domain) > MAX_ATTRIBUTE:
                yield f"domain has {len(self.domain)} characters, the limit is {MAX_ATTRIBUTE}"
        if self.samesite not in {"Strict", "Lax", "None", None}:
            yield f"samesite {self.samesite!a:.60} must be 'Strict', 'Lax', 'None' or, to leave it out, None"

    def _contradictions(self) -> Iterator[str]:
        for prefix, needs in _PREFIXES.items():
            if self.name.lower().startswith(prefix.lower()):  # as browsers compare
                if not self.name.startswith(prefix):
                    yield f"name {self.name!a:.60} must have its prefix written {prefix}"
                yield from self._missing(f"a name that starts with {prefix}", needs)
                break
        if self.samesite == "None":
            yield from self._missing("samesite='None'", ("secure",))
        if self.partitioned:
            yield from self._missing("partitioned=True", ("secure",))

    def _missing(self, subject: str, needs: tuple[str, ...]) -> Iterator[str]:
        if "secure" in needs and not self.secure:
            yield f"{subject} needs secure=True"
        if "httponly" in needs and not self.httponly:
            yield f"{subject} needs httponly=True"
        if "path" in needs and self.path != "/":
            yield f"{subject} needs path='/'"
        if "domain" in needs and self.domain is not None:
            yield f"{subject} needs domain=None"


def set_cookie(settings: CookieSettings, value: str, max_age: int | None) -> str:
    """Return the value of the Set-Cookie header that sets the cookie.

    ``max_age`` is the lifetime in seconds, from 1 to ``MAX_AGE``; ``None``: until the browser is closed.
    It is written as Max-Age alone, which every browser prefers to Expires (RFC 6265bis 5.7) and
    which does not depend on its clock.

    Raises ``PayloadTooLargeError`` beyond ``MAX_COOKIE``, ``EncodeError`` for a value a cookie cannot
    carry, and ``ConfigurationError`` for a lifetime out of range: browsers would cut it short without a
    word.
    """
    size = len(settings.name) + len(value)
    if not _VALUE.fullmatch(value):
        raise EncodeError(
            f"the value of cookie {settings.name} ({len(value)} characters) must be printable ASCII without "
            'space, ", comma, ; and \\; encode it as base64url'
        )
    if size > MAX_COOKIE:
        raise PayloadTooLargeError(
            f"cookie {settings.name} has {size} octets in name and value, browsers drop it beyond "
            f"{MAX_COOKIE}; keep less in the session, or keep it in a store instead of the cookie"
        )
    if max_age is None:
        return _header(settings, value, "")
    if not 0 < max_age <= MAX_AGE:
        raise ConfigurationError(
            f"the lifetime of cookie {settings.name} is {max_age} seconds; write 1 to {MAX_AGE} (400 days), "
            "the most that browsers keep, or None for a cookie that ends with the browser"
        )
    return _header(settings, value, f"; Max-Age={max_age}")


def delete_cookie(settings: CookieSettings) -> str:
    """Return the value of the Set-Cookie header that deletes the cookie :func:`set_cookie` set.

    All attributes are the same: a browser replaces only the cookie with the same name, domain and path,
    and takes prefixed and partitioned ones only with what they ask for (RFC 6265bis 5.7).
    """
    return _header(settings, "", "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT")


def _header(settings: CookieSettings, value: str, lifetime: str) -> str:
    parts = [f"{settings.name}={value}{lifetime}; Path={settings.path}"]
    if settings.domain is not None:
        parts.append(f"Domain={settings.domain}")
    if settings.secure:
        parts.append("Secure")
    if settings.httponly:
        parts.append("HttpOnly")
    if settings.samesite is not None:
        parts.append(f"SameSite={settings.samesite}")
    if settings.partitioned:
        parts.append("Partitioned")
    return "; ".join(parts)
