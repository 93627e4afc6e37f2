"""The table of the ``db`` engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import migrations, models

from sojourn.django.fields import DigestField, ShortBinaryField
from sojourn.stores.sql.statements import POSTGRESQL_SETTINGS, TABLE

if TYPE_CHECKING:
    from django.apps.registry import Apps
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def set_up_postgresql(_: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Leave room for HOT updates, and payloads as they are."""
    if editor.connection.vendor == "postgresql":
        for setting in POSTGRESQL_SETTINGS:
            editor.execute(setting.format(table=TABLE))


class Migration(migrations.Migration):
    """Make the table."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="Session",
            fields=[
                ("lookup_key", DigestField(primary_key=True, serialize=False)),
                ("created_at", models.BigIntegerField()),
                ("idle_deadline", models.BigIntegerField()),
                ("absolute_deadline", models.BigIntegerField(null=True)),
                ("purge_at", models.BigIntegerField()),
                ("version_origin", models.BigIntegerField()),
                ("version_counter", models.BigIntegerField()),
                ("subject", ShortBinaryField(max_length=64, null=True)),
                ("info", ShortBinaryField(max_length=256, null=True)),
                ("payload", models.BinaryField()),
            ],
            options={
                "db_table": "sojourn_session",
                "indexes": [
                    models.Index(fields=["purge_at"], name="sojourn_session_purge_at"),
                    models.Index(fields=["subject"], name="sojourn_session_subject"),
                ],
            },
        ),
        migrations.RunPython(set_up_postgresql, migrations.RunPython.noop, elidable=False),
    )
