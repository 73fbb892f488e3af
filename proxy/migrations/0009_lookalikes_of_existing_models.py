"""Models that were registered before can be compared with later ones."""

from itertools import islice

from django.db import migrations

from keys.formatting.lookalikes import make_skeleton


def fill(apps, schema_editor):
    owners = apps.get_model('proxy', 'Owner').objects
    rows = owners.filter(kind='registered_model', skeleton='').only('name').iterator()
    while batch := list(islice(rows, 1000)):
        for row in batch:
            row.skeleton = make_skeleton(row.name)
        owners.bulk_update(batch, ['skeleton'])


class Migration(migrations.Migration):

    dependencies = [
        ('proxy', '0008_lookalikes'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
