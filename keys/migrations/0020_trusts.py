"""Trusts, and the keys that are exchanged for their tokens."""

import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('keys', '0019_also_organisations'),
    ]

    operations = [
        migrations.AlterField(
            model_name='keyevent',
            name='kind',
            field=models.CharField(choices=[('issued', 'Issued'), ('changed', 'Changed'), ('paused', 'Paused'), ('resumed', 'Resumed'), ('rotated', 'Rotated'), ('collected', 'Secret collected'), ('requested', 'Requested'), ('request_declined', 'Request declined'), ('old_secret_ended', 'Old secret ended'), ('revoked', 'Revoked'), ('trusted', 'Trust set'), ('leaked', 'Found in the open'), ('canary_used', 'Canary used')], max_length=20),
        ),
        migrations.CreateModel(
            name='Trust',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('issuer', models.CharField(help_text='The claim iss, exactly as in the tokens, such as https://gitlab.com.', max_length=500)),
                ('audience', models.CharField(help_text='The claim aud must be it, or contain it.', max_length=500)),
                ('conditions', models.JSONField(help_text='Claims and their globs: each claim must match one of its globs.')),
                ('key_set', models.JSONField(blank=True, help_text="The issuer's JWK set, if the portal cannot fetch it.", null=True)),
                ('is_private', models.BooleanField(default=False, help_text="The portal may fetch the issuer's key set from a private address.")),
                ('ca', models.TextField(blank=True, help_text="PEM certificates that the issuer's server is verified with; empty: the system's.")),
                ('key', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='trust', to='keys.apikey')),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='ExchangedKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('digest', models.CharField(max_length=64, unique=True)),
                ('subject', models.CharField(max_length=500)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('expires_at', models.DateTimeField(db_index=True)),
                ('trust', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='exchanged_keys', to='keys.trust')),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.AddConstraint(
            model_name='trust',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('issuer', ''), _negated=True), models.Q(('audience', ''), _negated=True)), name='trust_names_issuer_and_audience'),
        ),
        migrations.AddConstraint(
            model_name='trust',
            constraint=models.CheckConstraint(condition=models.Q(('conditions', {}), _negated=True), name='trust_has_conditions'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='trust',
            trigger=pgtrigger.compiler.Trigger(name='announce_trust', sql=pgtrigger.compiler.UpsertTriggerSql(func="PERFORM pg_notify('hokusai_changes', 'trust:' || COALESCE(NEW.id, OLD.id)); RETURN NULL;", hash='1743472898db6a9ff4b2de0f615cf893a2a0d6bc', operation='INSERT OR UPDATE OR DELETE', pgid='pgtrigger_announce_trust_bb026', table='keys_trust', when='AFTER')),
        ),
        migrations.AddConstraint(
            model_name='exchangedkey',
            constraint=models.CheckConstraint(condition=models.Q(('digest__regex', '^[0-9a-f]{64}$')), name='exchanged_key_digest_is_hmac_sha256'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='exchangedkey',
            trigger=pgtrigger.compiler.Trigger(name='announce_exchanged_key', sql=pgtrigger.compiler.UpsertTriggerSql(func="PERFORM pg_notify('hokusai_changes', 'exchanged:' || OLD.digest); RETURN NULL;", hash='ee3b2800923ab03e631bb00674bf6ed8ea1fe0e4', operation='DELETE', pgid='pgtrigger_announce_exchanged_key_5ab8f', table='keys_exchangedkey', when='AFTER')),
        ),
    ]
