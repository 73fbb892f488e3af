"""What the files of versions can do when they are loaded."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('proxy', '0015_organisations'),
    ]

    operations = [
        migrations.CreateModel(
            name='VersionScan',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(auto_now_add=True)),
                ('rating', models.CharField(choices=[('harmless', 'Harmless'), ('unusual', 'Unusual'), ('dangerous', 'Dangerous')], max_length=10)),
                ('scanner', models.CharField(blank=True, help_text='Empty: there was no pickle, or no scanner.', max_length=40)),
                ('files', models.JSONField(default=list)),
                ('manifest', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='scan', to='proxy.manifest')),
            ],
            options={
                'default_permissions': (),
                'constraints': [models.CheckConstraint(condition=models.Q(('rating__in', ['harmless', 'unusual', 'dangerous'])), name='scan_rating_known')],
            },
        ),
    ]
