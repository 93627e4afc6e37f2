"""Every error Sojourn raises, as one tree.

::

    SessionError
    ├── ConfigurationError          a setting is wrong; says which and what to write instead
    ├── CodecError
    │   ├── EncodeError             a value cannot be stored; names its path
    │   │   └── PayloadTooLargeError
    │   └── DecodeError             stored bytes are not what we wrote
    └── StoreError
        ├── StoreUnavailableError   the store did not answer: *not* "there is no session"
        │   └── StoreTimeoutError   it did not answer in time
        ├── DuplicateKeyError       create: the key lives already
        ├── ConflictError           update, move: somebody else wrote in between
        └── SessionGoneError        update, move: the session was ended or has expired

A bad token is no error: it is no session.  No message shows a token, a full key or a payload.  What a module
tells apart for itself is a subclass of one of these, such as :class:`sojourn.sealing.UnknownSecretError`.
"""

from __future__ import annotations

__all__ = [
    "CodecError",
    "ConfigurationError",
    "ConflictError",
    "DecodeError",
    "DuplicateKeyError",
    "EncodeError",
    "PayloadTooLargeError",
    "SessionError",
    "SessionGoneError",
    "StoreError",
    "StoreTimeoutError",
    "StoreUnavailableError",
]


class SessionError(Exception):
    """Base of every error Sojourn raises on purpose."""


class ConfigurationError(SessionError):
    """A setting is missing, unknown or wrong.  The message gives the line to write instead."""


class CodecError(SessionError):
    """A session value or a stored payload could not be translated."""


class EncodeError(CodecError):
    """A session value cannot be stored.  The message names its path, never its content."""


class PayloadTooLargeError(EncodeError):
    """The encoded session exceeds the payload limit.

    The message names the size, the limit and the largest top-level keys.
    """


class DecodeError(CodecError):
    """Stored bytes are damaged, forged or sealed under a secret that is not listed any more."""


class StoreError(SessionError):
    """A store could not do what it was asked."""


class StoreUnavailableError(StoreError):
    """The store did not answer.  Whether the session exists is unknown: never treat it as absent."""


class StoreTimeoutError(StoreUnavailableError):
    """The store did not answer before the operation's deadline."""


class DuplicateKeyError(StoreError):
    """``create`` found a living record under the key."""


class ConflictError(StoreError):
    """The record is not at the expected version: somebody else has written it since."""


class SessionGoneError(StoreError):
    """The record to update or move is absent or expired: the session has ended.  It stays dead."""
