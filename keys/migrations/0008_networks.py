"""The networks that keys are used from. Of keys that are in use, the network of the last use counts as the first."""

import django.db.models.deletion
from django.db import migrations, models

SEED = """
INSERT INTO keys_keynetwork (key_id, network, at, is_first, is_told)
SELECT id, network(set_masklen(last_used_address, CASE family(last_used_address) WHEN 4 THEN 24 ELSE 64 END))::text,
       last_used_at, true, false
FROM keys_apikey WHERE last_used_at IS NOT NULL AND last_used_address IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [
        ("keys", "0007_history_kept"),
    ]

    operations = [
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[
                    ("leaked", "Found in the open"),
                    ("canary_used", "Canary used"),
                    ("expiring", "Expires soon"),
                    ("expired", "Expired"),
                    ("quota", "Monthly limit"),
                    ("unused", "Not used"),
                    ("new_network", "New network"),
                ],
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="KeyNetwork",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "network",
                    models.CharField(help_text="The caller's /24 (IPv4) or /64 (IPv6).", max_length=50),
                ),
                ("at", models.DateTimeField(help_text="The first call from there.")),
                ("is_first", models.BooleanField(default=False, help_text="Of this key: nobody is told.")),
                ("is_told", models.BooleanField(default=False)),
                (
                    "key",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="used_networks",
                        to="keys.apikey",
                    ),
                ),
            ],
            options={
                "ordering": ["at", "id"],
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=models.Q(("is_first", False), ("is_told", False)),
                        fields=["id"],
                        name="key_network_untold",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("key", "network"), name="one_network_of_a_key"),
                    models.UniqueConstraint(
                        condition=models.Q(("is_first", True)),
                        fields=("key",),
                        name="one_first_network_of_a_key",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("network", ""), _negated=True), name="key_network_not_empty"
                    ),
                ],
            },
        ),
        migrations.RunSQL(SEED, migrations.RunSQL.noop),
    ]
