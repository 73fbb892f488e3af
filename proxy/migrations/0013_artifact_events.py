"""Events of the files in MLflow's artifact store: append-only, except that PostgreSQL lets go of what is superseded."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

KEEP = """
CREATE FUNCTION artifact_event_keep() RETURNS trigger LANGUAGE plpgsql AS $keep$
DECLARE
    is_allowed boolean := false;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I.%I)', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO is_allowed;
    ELSIF TG_OP = 'DELETE' THEN
        is_allowed := OLD.kind IN ('deleted', 'different');
        IF NOT is_allowed THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I WHERE environment = $1 AND path = $2 '
                'AND (at, id) > ($3, $4) AND kind <> ''different'')', TG_TABLE_SCHEMA, TG_TABLE_NAME)
                INTO is_allowed USING OLD.environment, OLD.path, OLD.at, OLD.id;
        END IF;
    END IF;
    IF NOT is_allowed THEN
        RAISE EXCEPTION 'events of artifacts are append-only: only superseded ones are removed'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'artifact_event_append_only';
    END IF;
    RETURN OLD;
END
$keep$;
CREATE TRIGGER artifact_event_keep BEFORE UPDATE OR DELETE ON proxy_artifactevent
    FOR EACH ROW EXECUTE FUNCTION artifact_event_keep();
CREATE TRIGGER artifact_event_keep_all BEFORE TRUNCATE ON proxy_artifactevent
    FOR EACH STATEMENT EXECUTE FUNCTION artifact_event_keep();
"""
UNDO = """
DROP TRIGGER IF EXISTS artifact_event_keep_all ON proxy_artifactevent;
DROP TRIGGER IF EXISTS artifact_event_keep ON proxy_artifactevent;
DROP FUNCTION artifact_event_keep();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('keys', '0015_key_requests'),
        ('proxy', '0012_old_secrets'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ArtifactEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('environment', models.CharField(choices=[('live', 'Live'), ('test', 'Test')], max_length=4)),
                ('path', models.TextField(db_collation='C', help_text='As MLflow stores it, below its artifact root.')),
                ('kind', models.CharField(choices=[('uploaded', 'Uploaded'), ('read', 'Read later'), ('pending', 'Being written'), ('kept', 'Not changed'), ('direct', 'Written directly'), ('deleted', 'Deleted'), ('different', 'Differs in the store')], max_length=10)),
                ('at', models.DateTimeField()),
                ('size', models.BigIntegerField(help_text='Bytes.', null=True)),
                ('sha256', models.CharField(blank=True, max_length=64)),
                ('request_id', models.CharField(blank=True, max_length=40)),
                ('key', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='keys.apikey')),
                ('user', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-id'],
                'default_permissions': (),
                'indexes': [models.Index(fields=['environment', 'path', '-at', '-id'], name='artifact_event_by_path'), models.Index(fields=['key', '-at'], name='artifact_event_by_key'), models.Index(fields=['at'], name='artifact_event_by_time')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('kind__in', ['uploaded', 'read', 'kept', 'different']), ('sha256__regex', '^[0-9a-f]{64}$'), ('size__gte', 0)), models.Q(('kind__in', ['pending', 'direct', 'deleted']), ('sha256', ''), ('size', None)), _connector='OR'), name='artifact_event_has_digest')],
            },
        ),
        migrations.RunSQL(KEEP, UNDO),
    ]
