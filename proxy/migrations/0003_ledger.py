"""The ledger of registrations, append-only and chained by PostgreSQL itself."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# The lock's number is "hoku". A volatile function's query sees what was committed while it waited for the
# lock, and the rows that its own statement has written before (PostgreSQL 18, 36.7 and 37.2). The table is
# named in full, so that no temporary one can stand in for it.
SEAL = """
CREATE FUNCTION registration_seal() RETURNS trigger LANGUAGE plpgsql AS $seal$
DECLARE
    completion CONSTANT text[] := ARRAY['outcome', 'status', 'reason', 'completed_at', 'created_ms',
        'digest', 'sequence', 'hash', 'object_name', 'version', 'run_id'];
    previous RECORD;
BEGIN
    IF TG_OP = 'UPDATE' AND (
        OLD.outcome <> 'pending' OR NEW.outcome = 'pending'
        OR (OLD.object_name <> '' AND OLD.object_name <> NEW.object_name)
        OR (OLD.version <> '' AND OLD.version <> NEW.version)
        OR (OLD.run_id <> '' AND OLD.run_id <> NEW.run_id)
        OR to_jsonb(OLD) - completion IS DISTINCT FROM to_jsonb(NEW) - completion
    ) THEN
        RAISE EXCEPTION 'the ledger is append-only: the one allowed change is the completion of a pending row'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'registration_append_only';
    END IF;
    IF NEW.outcome = 'pending' THEN
        RETURN NEW;
    END IF;
    PERFORM pg_advisory_xact_lock(1752132469);
    EXECUTE format('SELECT sequence, hash FROM %I.%I WHERE sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1',
        TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO previous;
    NEW.sequence := COALESCE(previous.sequence, 0) + 1;
    NEW.hash := encode(sha256(convert_to(
        COALESCE(previous.hash, repeat('0', 64)) || ' ' || NEW.sequence || ' ' || NEW.digest, 'UTF8')), 'hex');
    RETURN NEW;
END
$seal$;
CREATE TRIGGER registration_seal BEFORE INSERT OR UPDATE ON proxy_registration
    FOR EACH ROW EXECUTE FUNCTION registration_seal();
"""

# To empty what is empty loses nothing, and is how Django's tests clean up.
KEEP = """
CREATE FUNCTION registration_keep() RETURNS trigger LANGUAGE plpgsql AS $keep$
DECLARE
    has_rows boolean := true;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO has_rows;
    END IF;
    IF has_rows THEN
        RAISE EXCEPTION 'the ledger is append-only: nothing is deleted from it'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'registration_append_only';
    END IF;
    RETURN NULL;
END
$keep$;
CREATE TRIGGER registration_keep BEFORE DELETE ON proxy_registration
    FOR EACH ROW EXECUTE FUNCTION registration_keep();
CREATE TRIGGER registration_keep_all BEFORE TRUNCATE ON proxy_registration
    FOR EACH STATEMENT EXECUTE FUNCTION registration_keep();
"""

UNDO = """
DROP TRIGGER IF EXISTS registration_keep_all ON proxy_registration;
DROP TRIGGER IF EXISTS registration_keep ON proxy_registration;
DROP TRIGGER IF EXISTS registration_seal ON proxy_registration;
DROP FUNCTION registration_keep();
DROP FUNCTION registration_seal();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('keys', '0001_initial'),
        ('proxy', '0002_usage'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Registration',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('request_id', models.CharField(max_length=40)),
                ('at', models.DateTimeField(help_text='When it was asked for.')),
                ('actor', models.CharField(blank=True, help_text="The portal's own command, where no key did it.", max_length=100)),
                ('environment', models.CharField(choices=[('live', 'Live'), ('test', 'Test')], max_length=4)),
                ('operation', models.CharField(max_length=80)),
                ('kind', models.CharField(help_text='registered_model, model_version or logged_model.', max_length=20)),
                ('is_prompt', models.BooleanField(default=False, help_text='Said to be a prompt when it was made.')),
                ('object_name', models.CharField(blank=True, help_text="A logged model's id.", max_length=500)),
                ('new_name', models.CharField(blank=True, help_text='Of a renamed model.', max_length=500)),
                ('version', models.CharField(blank=True, max_length=20)),
                ('run_id', models.CharField(blank=True, max_length=500)),
                ('source', models.TextField(blank=True)),
                ('tags', models.JSONField(default=dict, help_text='As they went to MLflow; null: deleted.')),
                ('detail', models.JSONField(default=dict, help_text='Alias, stage, description, …')),
                ('address', models.GenericIPAddressField(null=True)),
                ('outcome', models.CharField(choices=[('pending', 'Pending'), ('done', 'Done'), ('refused_by_mlflow', 'Refused by MLflow'), ('not_done', 'Not done'), ('unknown', 'Unknown'), ('imported', 'Imported')], default='pending', max_length=20)),
                ('status', models.PositiveSmallIntegerField(help_text="MLflow's answer.", null=True)),
                ('reason', models.CharField(blank=True, help_text="MLflow's error code; “reconciled” if no answer was seen.", max_length=80)),
                ('completed_at', models.DateTimeField(null=True)),
                ('created_ms', models.BigIntegerField(help_text='When MLflow made the object, in its own words: milliseconds since 1970.', null=True)),
                ('digest', models.CharField(blank=True, editable=False, max_length=64)),
                ('sequence', models.BigIntegerField(editable=False, null=True)),
                ('hash', models.CharField(blank=True, editable=False, max_length=64)),
                ('key', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='registrations', to='keys.apikey')),
                ('user', models.ForeignKey(help_text='Empty: unknown.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='registrations', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['user', '-id'], name='registration_by_user'), models.Index(fields=['key', '-id'], name='registration_by_key'), models.Index(fields=['object_name', '-id'], name='registration_by_name'), models.Index(condition=models.Q(('new_name', ''), _negated=True), fields=['new_name'], name='registration_by_new_name'), models.Index(fields=['at'], name='registration_by_time'), models.Index(condition=models.Q(('outcome', 'pending')), fields=['id'], name='registration_pending')],
                'constraints': [models.UniqueConstraint(fields=('request_id',), name='registration_of_one_request'), models.UniqueConstraint(fields=('sequence',), name='registration_place_in_chain'), models.CheckConstraint(condition=models.Q(('outcome__in', ['pending', 'done', 'refused_by_mlflow', 'not_done', 'unknown', 'imported'])), name='registration_outcome_known'), models.CheckConstraint(condition=models.Q(models.Q(('completed_at', None), ('digest', ''), ('hash', ''), ('outcome', 'pending'), ('sequence', None)), models.Q(('completed_at__isnull', False), ('sequence__isnull', False), ('digest__regex', '^[0-9a-f]{64}$'), ('hash__regex', '^[0-9a-f]{64}$'), models.Q(('outcome', 'pending'), _negated=True)), _connector='OR'), name='registration_sealed_when_completed'), models.CheckConstraint(condition=models.Q(models.Q(('actor', ''), ('key__isnull', False), ('user__isnull', False)), models.Q(('key', None), models.Q(('actor', ''), _negated=True)), _connector='OR'), name='registration_has_key_or_actor')],
            },
        ),
        migrations.RunSQL(SEAL + KEEP, UNDO),
    ]
