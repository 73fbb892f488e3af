"""A key's history is kept by PostgreSQL's own triggers: pgtrigger's can be silenced by a setting."""

import pgtrigger.migrations
from django.db import migrations

# To empty what is empty loses nothing.
KEEP = """
CREATE FUNCTION keyevent_keep() RETURNS trigger LANGUAGE plpgsql AS $keep$
DECLARE
    has_rows boolean := true;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO has_rows;
    END IF;
    IF has_rows THEN
        RAISE EXCEPTION 'the history of keys is append-only'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'keyevent_append_only';
    END IF;
    RETURN NULL;
END
$keep$;
CREATE TRIGGER keyevent_keep BEFORE UPDATE OR DELETE ON keys_keyevent
    FOR EACH ROW EXECUTE FUNCTION keyevent_keep();
CREATE TRIGGER keyevent_keep_all BEFORE TRUNCATE ON keys_keyevent
    FOR EACH STATEMENT EXECUTE FUNCTION keyevent_keep();
"""
UNDO = """
DROP TRIGGER keyevent_keep_all ON keys_keyevent;
DROP TRIGGER keyevent_keep ON keys_keyevent;
DROP FUNCTION keyevent_keep();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("keys", "0006_alerts"),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(model_name="keyevent", name="append_only"),
        migrations.RunSQL(KEEP, UNDO),
    ]
