"""What is fuzzed: each function takes any bytes and has to answer without an error.

``python -m fuzz`` runs them under atheris; ``tests/core/test_fuzz_corpus.py`` replays the corpus without it.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Final

from sojourn import Keyring
from sojourn.carriers.chunks import MOST_COOKIES, join_chunks, split_value, stale_chunks
from sojourn.carriers.sealed import LARGEST, SealedCarrier
from sojourn.cookie import parse_cookies
from sojourn.manager import CookieManager

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TARGETS"]

_NAME: Final = "__Host-session"
_KEYRING: Final = Keyring(["a secret for fuzzing: 0123456789 ABCDEFGHIJKLMNOPQRSTUV"], cookie_name=_NAME)
_CARRIER: Final = SealedCarrier(keyring=_KEYRING)
_MANAGER: Final = CookieManager(_KEYRING)


class BrokenPromiseError(AssertionError):
    """A target answered what it must not."""


def _check(*, holds: bool, that: str) -> None:
    if not holds:
        raise BrokenPromiseError(that)


def header(data: bytes) -> None:
    """Read a Cookie header; only values that a browser may send for this name come out."""
    for given in (data, data.decode("latin-1")):
        for value in parse_cookies(given, _NAME):
            _check(holds=value.isascii() and not set(value) & set(' ";,\\'), that="a value we never write")


def chunks(data: bytes) -> None:
    """Join the cookies of a header; what is split comes back."""
    for value in join_chunks(data, _NAME):
        _MANAGER.open(value)
    stale_chunks(data, _NAME, kept=1)
    value = urlsafe_b64encode(data[: MOST_COOKIES * 20]).rstrip(b"=").decode()
    if value:
        parts = split_value(value, room=max(40, len(value) // 10))
        sent = "; ".join(f"{_NAME}{f'-{n}' if n > 1 else ''}={part}" for n, part in enumerate(parts, start=1))
        _check(holds=join_chunks(sent, _NAME) == [value], that="what was split does not come back")


def value(data: bytes) -> None:
    """Open a cookie's value of any text: nothing but what was sealed here is a session."""
    sent = data.decode("latin-1")
    _check(holds=_CARRIER.read(sent) is None, that="a made-up cookie is accepted")
    _check(holds=_MANAGER.open(sent).record is None, that="a made-up cookie is a session")


def envelope(data: bytes) -> None:
    """Open an envelope of any octets, with a key id that is listed."""
    for form in (b"\x02", b"\x03"):
        sent = form + _KEYRING.sealing.key_id + data
        _check(holds=_CARRIER.read(_text(sent)) is None, that="a made-up envelope is accepted")


def content(data: bytes) -> None:
    """Open what was sealed here but is no record: no error, and nothing larger than it may be."""
    envelopes = _CARRIER.envelopes
    for protect in (envelopes.seal, envelopes.sign):
        sent = protect(data)
        _check(holds=envelopes.open(sent) == data, that="an envelope does not open")
        found = _CARRIER.read(_text(sent))
        _check(holds=found is None or len(found[1].payload) <= max(LARGEST, len(data)), that="a bomb")
        _MANAGER.open(_text(sent))


def _text(sent: bytes) -> str:
    return urlsafe_b64encode(sent).rstrip(b"=").decode("ascii")


#: By the name of the folder with its corpus.
TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target for target in (header, chunks, value, envelope, content)
}
