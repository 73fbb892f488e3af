"""The alert about a time-stamp authority that fails."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('keys', '0023_withdrawn_requests'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='alert',
            name='alert_is_about_key_or_disk',
        ),
        migrations.AlterField(
            model_name='alert',
            name='ended_at',
            field=models.DateTimeField(help_text='When a nearly full disk had room again, or a time-stamp came.', null=True),
        ),
        migrations.AlterField(
            model_name='alert',
            name='kind',
            field=models.CharField(choices=[('leaked', 'Found in the open'), ('canary_used', 'Canary used'), ('expiring', 'Expires soon'), ('expired', 'Expired'), ('quota', 'Monthly limit'), ('unused', 'Not used'), ('new_network', 'New network'), ('disk_nearly_full', 'Disk nearly full'), ('artifact_changed', 'Artifact changed'), ('organisation_quota', 'Monthly limit of an organisation'), ('timestamp_failed', 'No time-stamp')], max_length=20),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['disk_nearly_full', 'artifact_changed', 'organisation_quota', 'timestamp_failed']), ('key__isnull', False), _connector='XOR'), name='alert_is_about_key_or_disk'),
        ),
    ]
