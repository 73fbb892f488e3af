"""The marks of quarantined versions are read before each registry write, and are few among the ledger's rows."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('proxy', '0006_failed_calls'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='registration',
            index=models.Index(condition=models.Q(('actor', 'quarantine')), fields=['environment', 'id'], name='registration_quarantine'),
        ),
    ]
