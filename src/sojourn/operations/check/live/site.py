"""Whether what is before the application lets cookies as large as sessions are through."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from sojourn.errors import ConfigurationError
from sojourn.operations.check.finding import Kind, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.operations.check.finding import Finding

__all__ = ["site_findings"]

#: What servers answer to a header that is too long; 494 is nginx's own.
_REFUSALS: Final = frozenset({400, 413, 414, 431, 494})
_PATIENCE: Final = 10.0
#: Octets of one cookie (RFC 6265bis, 5.6), and of all others that a site sets.
_COOKIE: Final = 4_096
_OTHERS: Final = 1_024
_KIBIBYTE: Final = 1_024
_NO_ADDRESS: Final = (
    "the site's address has to be that of a page, in ASCII, such as https://www.example.org:8443/sign-in"
)

CUT_OFF: Final = Kind(
    id="sojourn.W114",
    severity=Severity.WARNING,
    title="A proxy or server refuses cookies as large as sessions may be",
    happens="Who has much in the session gets an error 400 or 431 on every page, signing out included, until "
    "the cookies are deleted by hand.",
)
NO_SITE: Final = Kind(
    id="sojourn.E104",
    severity=Severity.ERROR,
    title="The site does not answer",
    happens="Users see no page at all.",
)


def site_findings(url: str, *, cookies: int) -> Iterator[Finding]:
    """Ask for the page at ``url`` without cookies, then with as many as ``cookies`` of 4 KiB.

    Raises ``ConfigurationError`` for what is no address of a page.
    """
    try:
        yield from _findings(url, cookies)
    except ValueError as error:  # a port of letters, a name too long, what is not ASCII: none shown
        raise ConfigurationError(_NO_ADDRESS) from error


def _findings(url: str, cookies: int) -> Iterator[Finding]:
    size = cookies * _COOKIE + _OTHERS
    try:
        without = _status(url, 0)
    except (OSError, http.client.HTTPException) as error:
        yield NO_SITE.found(
            f"There is no answer from {_shown(url)}: {type(error).__name__}.",
            where="--site",
            corrected="# Start the site, or correct its address",
        )
        return
    try:
        status: int | None = _status(url, size)
    except (OSError, http.client.HTTPException):
        status = None  # it hung up while it was sent
    if status is None or (status in _REFUSALS and status != without):
        said = "hangs up" if status is None else f"answers {status}"
        kibibytes = max(32, -(-2 * size // _KIBIBYTE))
        yield CUT_OFF.found(
            f"{_shown(url)} {said} when a browser sends {size:,} B of cookies; without "
            f"any it answers {without}.",
            where="--site",
            corrected=f"large_client_header_buffers 4 {kibibytes}k;  # nginx\n"
            f"LimitRequestFieldSize {kibibytes * _KIBIBYTE}  # Apache\n"
            f"--limit-request-field_size {kibibytes * _KIBIBYTE}  # gunicorn",
        )


def _shown(url: str) -> str:
    parts = urlsplit(url)
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def _status(url: str, size: int) -> int:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(_NO_ADDRESS)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_PATIENCE)
    try:
        connection.request(
            "GET", parts.path or "/", headers={"Cookie": f"probe={'x' * size}"} if size else {}
        )
        return connection.getresponse().status
    finally:
        connection.close()
