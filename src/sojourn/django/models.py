"""The table of the ``db`` engine, as a model: for migrations, counts and the admin.

Sessions themselves go the shorter way of :mod:`sojourn.django.database`.  The table is that of
:class:`sojourn.stores.sql.SQLStore`; what its columns are for: :mod:`sojourn.stores.sql.statements`.
"""

from __future__ import annotations

from django.db import models

from sojourn.django.fields import DigestField, ShortBinaryField
from sojourn.record import public_id
from sojourn.stores.sql.statements import TABLE

__all__ = ["Session"]


class Session(models.Model):
    """One session.  Instants are milliseconds since the Unix epoch."""

    #: Digest of the token.
    lookup_key = DigestField(primary_key=True)
    created_at: models.BigIntegerField[int, int] = models.BigIntegerField()
    idle_deadline: models.BigIntegerField[int, int] = models.BigIntegerField()
    absolute_deadline: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(null=True)
    purge_at: models.BigIntegerField[int, int] = models.BigIntegerField()
    version_origin: models.BigIntegerField[int, int] = models.BigIntegerField()
    version_counter: models.BigIntegerField[int, int] = models.BigIntegerField()
    #: Keyed digest of whose session it is.
    subject = ShortBinaryField(max_length=64, null=True)
    #: Sealed.
    info = ShortBinaryField(max_length=256, null=True)
    #: Sealed.
    payload: models.BinaryField[bytes, bytes] = models.BinaryField()

    class Meta:
        """Names as everywhere else the table is made."""

        db_table = TABLE
        indexes = (
            models.Index(fields=["purge_at"], name=f"{TABLE}_purge_at"),
            models.Index(fields=["subject"], name=f"{TABLE}_subject"),
        )

    def __str__(self) -> str:
        """Show what may be shown of the key."""
        return public_id(self.lookup_key)
