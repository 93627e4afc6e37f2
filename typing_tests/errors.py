"""Which error is which."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from sojourn.errors import (
    CodecError,
    ConfigurationError,
    ConflictError,
    DecodeError,
    DuplicateKeyError,
    EncodeError,
    PayloadTooLargeError,
    SessionError,
    SessionGoneError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
)


def tree() -> None:
    any_error: list[type[SessionError]] = [ConfigurationError, CodecError, StoreError]
    codec: list[type[CodecError]] = [EncodeError, DecodeError]
    encode: list[type[EncodeError]] = [PayloadTooLargeError]
    store: list[type[StoreError]] = [
        StoreUnavailableError,
        DuplicateKeyError,
        ConflictError,
        SessionGoneError,
    ]
    unavailable: list[type[StoreUnavailableError]] = [StoreTimeoutError]
    unavailable.append(SessionGoneError)  # type: ignore[arg-type]
    encode.append(DecodeError)  # type: ignore[arg-type]
    codec.append(ConfigurationError)  # type: ignore[arg-type]
    store.append(EncodeError)  # type: ignore[arg-type]
    any_error.append(ValueError)  # type: ignore[arg-type]


def caught() -> None:
    try:
        tree()
    except StoreUnavailableError as error:
        assert_type(error, StoreUnavailableError)
    except (ConflictError, SessionGoneError) as error:
        assert_type(error, ConflictError | SessionGoneError)
