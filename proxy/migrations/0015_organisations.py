"""Owners and registrations belong to an organisation, the existing ones to that of users without any."""

import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('keys', '0017_organisations'),
        ('proxy', '0014_manifests'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(
            model_name='owner',
            name='announce_owner',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='registration',
            name='announce_quarantine',
        ),
        migrations.RemoveConstraint(
            model_name='owner',
            name='owner_of_one_object',
        ),
        migrations.RemoveIndex(
            model_name='owner',
            name='owner_skeleton',
        ),
        migrations.RemoveIndex(
            model_name='registration',
            name='registration_quarantine',
        ),
        migrations.AddField(
            model_name='owner',
            name='organisation',
            field=models.ForeignKey(db_default=models.Value(1), default=1, help_text='To which it belongs: only its keys and members can read it.', on_delete=django.db.models.deletion.PROTECT, related_name='objects_owned', to='keys.organisation'),
        ),
        migrations.AddField(
            model_name='registration',
            name='organisation',
            field=models.ForeignKey(db_default=models.Value(1), default=1, help_text='In whose registry.', on_delete=django.db.models.deletion.PROTECT, related_name='registrations', to='keys.organisation'),
        ),
        migrations.AddIndex(
            model_name='owner',
            index=models.Index(condition=models.Q(('kind', 'registered_model')), fields=['environment', 'organisation', 'skeleton'], name='owner_skeletons'),
        ),
        migrations.AddIndex(
            model_name='registration',
            index=models.Index(condition=models.Q(('actor', 'quarantine')), fields=['environment', 'organisation', 'id'], name='registration_quarantines'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='owner',
            trigger=pgtrigger.compiler.Trigger(name='announce_owner', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n                    PERFORM pg_notify(\n                        'hokusai_changes',\n                        'owner:' || OLD.environment || ' ' || OLD.organisation_id || ' ' || OLD.kind || ' '\n                        || OLD.name\n                    );\n                    RETURN NULL;\n                ", hash='7d32d7e9249e261c4c5b57647ead94f8c16d783f', operation='UPDATE OR DELETE', pgid='pgtrigger_announce_owner_54a3f', table='proxy_owner', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='registration',
            trigger=pgtrigger.compiler.Trigger(name='announce_quarantine', sql=pgtrigger.compiler.UpsertTriggerSql(condition="WHEN (NEW.actor = 'quarantine')", func="\n                    PERFORM pg_notify(\n                        'hokusai_changes', 'quarantine:' || NEW.environment || ' ' || NEW.organisation_id\n                    );\n                    RETURN NULL;\n                ", hash='57d0c2a133e4e57dc1304092a5ffb0f8a3dc185b', operation='INSERT OR UPDATE', pgid='pgtrigger_announce_quarantine_db776', table='proxy_registration', when='AFTER')),
        ),
        migrations.AddConstraint(
            model_name='owner',
            constraint=models.UniqueConstraint(fields=('environment', 'organisation', 'kind', 'name'), name='owner_of_one_object'),
        ),
    ]
