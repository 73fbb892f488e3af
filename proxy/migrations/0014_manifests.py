"""Manifests of versions, which nobody changes or deletes, and the public keys that signed them."""

import django.db.models.deletion
from django.db import migrations, models

KEEP = """
CREATE FUNCTION manifest_keep() RETURNS trigger LANGUAGE plpgsql AS $keep$
DECLARE
    has_rows boolean := true;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO has_rows;
    END IF;
    IF has_rows THEN
        RAISE EXCEPTION 'manifests are frozen: none is changed or deleted'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'manifest_append_only';
    END IF;
    RETURN NULL;
END
$keep$;
CREATE TRIGGER manifest_keep BEFORE UPDATE OR DELETE ON proxy_manifest
    FOR EACH ROW EXECUTE FUNCTION manifest_keep();
CREATE TRIGGER manifest_keep_all BEFORE TRUNCATE ON proxy_manifest
    FOR EACH STATEMENT EXECUTE FUNCTION manifest_keep();
"""
UNDO = """
DROP TRIGGER IF EXISTS manifest_keep_all ON proxy_manifest;
DROP TRIGGER IF EXISTS manifest_keep ON proxy_manifest;
DROP FUNCTION manifest_keep();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('proxy', '0013_artifact_events'),
    ]

    operations = [
        migrations.CreateModel(
            name='SigningKey',
            fields=[
                ('key_id', models.CharField(help_text='SHA-256 of the PEM.', max_length=64, primary_key=True, serialize=False)),
                ('public_pem', models.TextField()),
                ('at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['-at'],
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Manifest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField()),
                ('environment', models.CharField(choices=[('live', 'Live'), ('test', 'Test')], max_length=4)),
                ('object_name', models.CharField(max_length=500)),
                ('version', models.CharField(max_length=20)),
                ('root', models.TextField(help_text="The folder below MLflow's artifact root; empty: not in its own store.")),
                ('extent', models.CharField(choices=[('listed', 'All files'), ('unlisted', 'Files that passed through the portal'), ('no_files', 'No files')], max_length=10)),
                ('files', models.JSONField(default=list)),
                ('about', models.JSONField(default=dict, help_text='What a prompt is: the SHA-256 of its tags.')),
                ('digest', models.CharField(help_text='SHA-256 of the content.', max_length=64)),
                ('signature', models.TextField(blank=True, help_text='A Sigstore bundle; empty: not signed.')),
                ('registration', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='manifests', to='proxy.registration')),
                ('row', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='manifest_of_row', to='proxy.registration')),
            ],
            options={
                'ordering': ['-id'],
                'default_permissions': (),
                'indexes': [models.Index(fields=['object_name', 'version', '-id'], name='manifest_by_version')],
                'constraints': [models.CheckConstraint(condition=models.Q(('digest__regex', '^[0-9a-f]{64}$')), name='manifest_digest'), models.CheckConstraint(condition=models.Q(('extent__in', ['listed', 'unlisted', 'no_files'])), name='manifest_extent_known')],
            },
        ),
        migrations.RunSQL(KEEP, UNDO),
    ]
