"""The usage log tells which calls used a key's old secret. The index has only these, which are few."""

from django.db import migrations, models

COLUMN = """
ALTER TABLE proxy_call ADD COLUMN is_previous_secret boolean NOT NULL DEFAULT false;
CREATE INDEX call_with_old_secret ON proxy_call (key_id, at, id) WHERE is_previous_secret;
"""
BACK = "ALTER TABLE proxy_call DROP COLUMN is_previous_secret;"


class Migration(migrations.Migration):

    dependencies = [
        ("proxy", "0011_uncalled_requests"),
    ]

    operations = [
        migrations.RunSQL(
            COLUMN,
            BACK,
            state_operations=[
                migrations.AddField(
                    model_name="call",
                    name="is_previous_secret",
                    field=models.BooleanField(
                        default=False,
                        help_text="The key was used with its secret from before the last rotation.",
                    ),
                ),
            ],
        ),
    ]
