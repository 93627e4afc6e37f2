"""Columns of bytes short enough to be keys, which Django's ``BinaryField`` are not on every database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["DigestField", "ShortBinaryField"]


class ShortBinaryField(models.BinaryField):  # type: ignore[type-arg]  # generic for type checkers only
    """At most ``max_length`` bytes, which may be indexed."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the column's type: MySQL and Oracle cannot index a BLOB."""
        if connection.vendor == "mysql":
            return f"varbinary({self.max_length})"
        if connection.vendor == "oracle":
            return f"raw({self.max_length})"
        return super().db_type(connection)


class DigestField(ShortBinaryField):
    """32 bytes, which Python sees as 64 hexadecimal digits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_length"] = 32
        super().__init__(*args, **kwargs)

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the column's type."""
        return "binary(32)" if connection.vendor == "mysql" else super().db_type(connection)

    def from_db_value(self, value: Any, *_: object) -> str | None:
        """Return the digits."""
        return None if value is None else bytes(value).hex()

    def to_python(self, value: Any) -> Any:
        """Return the digits of bytes; digits as they are."""
        return bytes(value).hex() if isinstance(value, bytes | memoryview) else value

    def get_prep_value(self, value: Any) -> Any:
        """Return the bytes of digits; bytes as they are."""
        return bytes.fromhex(value) if isinstance(value, str) else value
