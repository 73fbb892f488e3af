"""The usage log and the ledger keep the subject of the token with which a trust was used."""

from django.db import migrations, models

HELP = "The claim sub of the signed token with which a trust was used."


class Migration(migrations.Migration):

    dependencies = [
        ("proxy", "0019_publications"),
    ]

    operations = [
        migrations.AddField(
            model_name="registration",
            name="subject",
            field=models.CharField(blank=True, db_default="", default="", help_text=HELP, max_length=500),
        ),
        migrations.RunSQL(
            "ALTER TABLE proxy_call ADD COLUMN subject varchar(500) NOT NULL DEFAULT '';",
            "ALTER TABLE proxy_call DROP COLUMN subject;",
            state_operations=[
                migrations.AddField(
                    model_name="call",
                    name="subject",
                    field=models.CharField(blank=True, default="", help_text=HELP, max_length=500),
                ),
            ],
        ),
    ]
