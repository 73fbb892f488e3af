"""Calls and totals without a key: those of a signed-in user's browser, in MLflow's pages."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("keys", "0001_initial"),
        ("proxy", "0003_ledger"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE proxy_call ALTER COLUMN key_id DROP NOT NULL",
                    "ALTER TABLE proxy_call ALTER COLUMN key_id SET NOT NULL",
                ),
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="call",
                    name="key",
                    field=models.ForeignKey(
                        db_constraint=False,
                        help_text="Empty: the user's browser, in MLflow's pages.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="calls",
                        to="keys.apikey",
                    ),
                ),
            ],
        ),
        migrations.AlterField(
            model_name="calltotal",
            name="key",
            field=models.ForeignKey(
                db_constraint=False,
                help_text="Empty: browsers.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="call_totals",
                to="keys.apikey",
            ),
        ),
        migrations.RemoveConstraint(model_name="calltotal", name="one_total"),
        migrations.AddConstraint(
            model_name="calltotal",
            constraint=models.UniqueConstraint(
                name="one_total",
                fields=["key", "span", "start", "user", "operation", "status_class"],
                nulls_distinct=False,
            ),
        ),
        migrations.AlterField(
            model_name="registration",
            name="actor",
            field=models.CharField(
                blank=True,
                help_text="The portal's own command, or the browser, where no key did it.",
                max_length=100,
            ),
        ),
    ]
