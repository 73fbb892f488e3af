"""Organisations, and the one of users without any, to which existing keys belong."""

import django.db.models.deletion
import keys.models.organisations
import pgtrigger.compiler
import pgtrigger.migrations
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('keys', '0016_artifact_alerts'),
    ]

    operations = [
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('member', 'Member'), ('maintainer', 'Maintainer'), ('owner', 'Owner')], default='member', max_length=10)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['organisation', 'user'],
            },
        ),
        migrations.CreateModel(
            name='Organisation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.CharField(help_text='Its name in addresses and at MLflow: 2 to 63 characters from a-z, 0-9 and -. It never changes.', max_length=63, unique=True, validators=[keys.models.organisations.validate_slug])),
                ('name', models.CharField(help_text='The name that people read.', max_length=100)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('closed_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('requests_per_minute', models.IntegerField(blank=True, help_text='Calls a minute of all keys together; empty: no limit.', null=True)),
                ('monthly_requests', models.BigIntegerField(blank=True, help_text='Calls a calendar month (UTC) of all keys together; empty: no limit.', null=True)),
                ('monthly_bytes', models.BigIntegerField(blank=True, help_text='Bytes in and out a calendar month (UTC); empty: no limit.', null=True)),
            ],
            options={
                'ordering': ['slug'],
            },
        ),
        # Its number is 1: the table's first row.
        migrations.RunSQL(
            "INSERT INTO keys_organisation (slug, name, created_at) VALUES ('shared', 'Shared', now())",
            migrations.RunSQL.noop,
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='apikey',
            name='announce_key',
        ),
        migrations.AddField(
            model_name='apikey',
            name='only_own',
            field=models.BooleanField(db_default=False, default=False, help_text='May write only what its own user created, not what others of the organisation did.'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='apikey',
            trigger=pgtrigger.compiler.Trigger(name='announce_key', sql=pgtrigger.compiler.UpsertTriggerSql(func="PERFORM pg_notify('hokusai_changes', 'key:' || OLD.id); RETURN NULL;", hash='6a86d47154918539d13c266df26837c18fceed42', operation='UPDATE OF "digest", "previous_digest", "previous_ends_at", "owner_id", "scopes", "networks", "patterns", "any_owner", "only_own", "requests_per_minute", "monthly_requests", "monthly_bytes", "name", "environment", "expires_at", "paused_at", "revoked_at" OR DELETE', pgid='pgtrigger_announce_key_13eb2', table='keys_apikey', when='AFTER')),
        ),
        migrations.AddField(
            model_name='membership',
            name='created_by',
            field=models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='membership',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='organisation',
            name='created_by',
            field=models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='membership',
            name='organisation',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='memberships', to='keys.organisation'),
        ),
        migrations.AddField(
            model_name='apikey',
            name='organisation',
            field=models.ForeignKey(db_default=models.Value(1), default=1, help_text='To which everything that the key creates belongs. It never changes.', on_delete=django.db.models.deletion.PROTECT, related_name='api_keys', to='keys.organisation'),
        ),
        migrations.AddConstraint(
            model_name='organisation',
            constraint=models.CheckConstraint(condition=models.Q(('slug__regex', '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])$'), models.Q(('slug__in', ['ajax-api', 'api', 'default', 'static-files', 'workspaces']), _negated=True)), name='organisation_slug_fits_mlflow'),
        ),
        migrations.AddConstraint(
            model_name='organisation',
            constraint=models.CheckConstraint(condition=models.Q(('name', ''), _negated=True), name='organisation_name_not_empty'),
        ),
        migrations.AddConstraint(
            model_name='organisation',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('pk', 1), ('slug', 'shared')), models.Q(models.Q(('pk', 1), _negated=True), models.Q(('slug', 'shared'), _negated=True)), _connector='OR'), name='organisation_shared_is_first'),
        ),
        migrations.AddConstraint(
            model_name='organisation',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('pk', 1), _negated=True), ('closed_at', None), _connector='OR'), name='organisation_shared_stays_open'),
        ),
        migrations.AddConstraint(
            model_name='organisation',
            constraint=models.CheckConstraint(condition=models.Q(('requests_per_minute', None), ('requests_per_minute__gte', 1), _connector='OR'), name='organisation_requests_per_minute_positive'),
        ),
        migrations.AddConstraint(
            model_name='organisation',
            constraint=models.CheckConstraint(condition=models.Q(('monthly_requests', None), ('monthly_requests__gte', 1), _connector='OR'), name='organisation_monthly_requests_positive'),
        ),
        migrations.AddConstraint(
            model_name='organisation',
            constraint=models.CheckConstraint(condition=models.Q(('monthly_bytes', None), ('monthly_bytes__gte', 1), _connector='OR'), name='organisation_monthly_bytes_positive'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='organisation',
            trigger=pgtrigger.compiler.Trigger(name='organisation_stays', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot delete rows from % table', TG_TABLE_NAME;", hash='97fe55be67452b088d2db37943c6e1a2c33f0f2c', operation='DELETE', pgid='pgtrigger_organisation_stays_9f9df', table='keys_organisation', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='organisation',
            trigger=pgtrigger.compiler.Trigger(name='organisation_keeps_slug', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD.slug IS DISTINCT FROM NEW.slug)', func="RAISE EXCEPTION 'pgtrigger: Cannot update rows from % table', TG_TABLE_NAME;", hash='066874a6afaefadafaa81b67e8c79bbf9fbe1796', operation='UPDATE', pgid='pgtrigger_organisation_keeps_slug_119e0', table='keys_organisation', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='organisation',
            trigger=pgtrigger.compiler.Trigger(name='announce_organisation', sql=pgtrigger.compiler.UpsertTriggerSql(func="PERFORM pg_notify('hokusai_changes', 'organisation:' || OLD.id); RETURN NULL;", hash='1f337b4f0c2163cc86477ec6b43498aeb84e31bc', operation='UPDATE', pgid='pgtrigger_announce_organisation_df5ad', table='keys_organisation', when='AFTER')),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(fields=('organisation', 'user'), name='membership_once'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.CheckConstraint(condition=models.Q(('role__in', ['member', 'maintainer', 'owner'])), name='membership_role_known'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='apikey',
            trigger=pgtrigger.compiler.Trigger(name='key_keeps_organisation', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD.organisation_id IS DISTINCT FROM NEW.organisation_id)', func="RAISE EXCEPTION 'pgtrigger: Cannot update rows from % table', TG_TABLE_NAME;", hash='a93371c9d6302c5fbcbefd4f174854bb065bc14d', operation='UPDATE', pgid='pgtrigger_key_keeps_organisation_f3ac4', table='keys_apikey', when='BEFORE')),
        ),
    ]
