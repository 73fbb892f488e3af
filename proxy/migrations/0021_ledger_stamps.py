"""Time-stamps of the ledger's heads, which nobody changes or deletes."""

from django.db import migrations, models

KEEP = """
CREATE FUNCTION ledger_stamp_keep() RETURNS trigger LANGUAGE plpgsql AS $keep$
DECLARE
    has_rows boolean := true;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO has_rows;
    END IF;
    IF has_rows THEN
        RAISE EXCEPTION 'time-stamps are evidence: none is changed or deleted'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'ledger_stamp_append_only';
    END IF;
    RETURN NULL;
END
$keep$;
CREATE TRIGGER ledger_stamp_keep BEFORE UPDATE OR DELETE ON proxy_ledgerstamp
    FOR EACH ROW EXECUTE FUNCTION ledger_stamp_keep();
CREATE TRIGGER ledger_stamp_keep_all BEFORE TRUNCATE ON proxy_ledgerstamp
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_stamp_keep();
"""
UNDO = """
DROP TRIGGER IF EXISTS ledger_stamp_keep_all ON proxy_ledgerstamp;
DROP TRIGGER IF EXISTS ledger_stamp_keep ON proxy_ledgerstamp;
DROP FUNCTION ledger_stamp_keep();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('proxy', '0020_subjects'),
    ]

    operations = [
        migrations.CreateModel(
            name='LedgerStamp',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sequence', models.BigIntegerField(help_text='The last row of the chain at that time.', unique=True)),
                ('hash', models.CharField(help_text='Of that row; the authority stamps it as ASCII.', max_length=64)),
                ('at', models.DateTimeField(auto_now_add=True)),
                ('stamped_at', models.DateTimeField(help_text="By the authority's clock.")),
                ('authority', models.CharField(help_text='Its URL.', max_length=500)),
                ('response', models.BinaryField(help_text='As it came: DER, for `openssl ts -verify -in`.')),
            ],
            options={
                'ordering': ['sequence'],
                'default_permissions': (),
                'constraints': [models.CheckConstraint(condition=models.Q(('hash__regex', '^[0-9a-f]{64}$')), name='ledger_stamp_hash')],
            },
        ),
        migrations.RunSQL(KEEP, UNDO),
    ]
