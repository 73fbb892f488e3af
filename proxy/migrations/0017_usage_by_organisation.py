"""Calls and totals state their organisation. The default is that of the calls of before, and of processes that still run
the previous version.

Such processes cannot add to totals from here on: their calls wait in the spool, and the first new process on the machine
writes them.
"""

import django.db.models.deletion
from django.db import migrations, models

COLUMN = """
ALTER TABLE proxy_call ADD COLUMN organisation_id bigint NOT NULL DEFAULT 1;
CREATE INDEX call_by_organisation ON proxy_call (organisation_id, at, id) WHERE organisation_id <> 1;
"""
BACK = "ALTER TABLE proxy_call DROP COLUMN organisation_id;"


class Migration(migrations.Migration):

    dependencies = [
        ("keys", "0017_organisations"),
        ("proxy", "0016_scans"),
    ]

    operations = [
        migrations.RunSQL(
            COLUMN,
            BACK,
            state_operations=[
                migrations.AddField(
                    model_name="call",
                    name="organisation",
                    field=models.ForeignKey(
                        db_constraint=False,
                        default=1,
                        help_text="In whose workspace; of the key, or chosen by the browser's user.",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="calls",
                        to="keys.organisation",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="calltotal",
            name="organisation",
            field=models.ForeignKey(
                db_constraint=False,
                db_default=models.Value(1),
                default=1,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="call_totals",
                to="keys.organisation",
            ),
        ),
        migrations.RemoveConstraint(model_name="calltotal", name="one_total"),
        migrations.AddConstraint(
            model_name="calltotal",
            constraint=models.UniqueConstraint(
                fields=("key", "span", "start", "user", "operation", "status_class", "organisation"),
                name="one_total",
                nulls_distinct=False,
            ),
        ),
        migrations.AddIndex(
            model_name="calltotal",
            index=models.Index(
                condition=models.Q(("organisation", 1), _negated=True),
                fields=["organisation", "span", "start"],
                name="total_by_organisation",
            ),
        ),
    ]
