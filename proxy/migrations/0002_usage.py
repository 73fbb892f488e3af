"""The usage log in partitions by day, its totals, attempts without a valid key, and the spool's segments."""

import datetime

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now

COLUMNS = """
    request_id varchar(40) NOT NULL,
    at timestamptz NOT NULL,
    key_id bigint NOT NULL,
    user_id bigint NOT NULL,
    operation varchar(80) NOT NULL DEFAULT '',
    method varchar(16) NOT NULL,
    path varchar(1000) NOT NULL,
    object_kind varchar(20) NOT NULL DEFAULT '',
    object_name varchar(500) NOT NULL DEFAULT '',
    status smallint NOT NULL,
    reason varchar(40) NOT NULL DEFAULT '',
    bytes_in bigint NOT NULL DEFAULT 0,
    bytes_out bigint NOT NULL DEFAULT 0,
    duration_ms double precision NOT NULL,
    upstream_ms double precision NOT NULL DEFAULT 0,
    address inet,
    client varchar(100) NOT NULL DEFAULT '',
    client_version varchar(40) NOT NULL DEFAULT '',
"""

PARTITIONED = f"""
ALTER TABLE proxy_call RENAME TO proxy_call_before;
CREATE SEQUENCE proxy_call_ids AS bigint CACHE 100;
CREATE TABLE proxy_call (
    id bigint NOT NULL DEFAULT nextval('proxy_call_ids'),
    {COLUMNS}
    CONSTRAINT call_has_id PRIMARY KEY (id, at),
    CONSTRAINT call_once UNIQUE (request_id, at),
    CONSTRAINT call_has_http_status CHECK (status >= 100 AND status < 600)
) PARTITION BY RANGE (at);
ALTER SEQUENCE proxy_call_ids OWNED BY proxy_call.id;
-- Each leads a page of the log, latest first, that is filtered by its first column.
CREATE INDEX call_by_time ON proxy_call (at, id);
CREATE INDEX call_by_key ON proxy_call (key_id, at, id);
CREATE INDEX call_by_user ON proxy_call (user_id, at, id);
CREATE INDEX call_by_operation ON proxy_call (operation, at, id);
CREATE INDEX call_by_object ON proxy_call (object_name, at, id) WHERE object_name <> '';
CREATE INDEX call_that_failed ON proxy_call (at, id) WHERE status >= 400;
CREATE TABLE proxy_call_default PARTITION OF proxy_call DEFAULT;
INSERT INTO proxy_call (request_id, at, key_id, user_id, operation, method, path, status, reason, bytes_in,
                        bytes_out, duration_ms, upstream_ms, address, client)
    SELECT request_id, at, key_id, user_id, operation, method, path, status, reason, bytes_in,
           bytes_out, duration_ms, upstream_ms, address, client FROM proxy_call_before;
DROP TABLE proxy_call_before;
"""


def coming_days(apps, schema_editor):
    """As `proxy.usage.partitions.make` does from now on."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    for ahead in range(-1, 8):
        first, after = today + datetime.timedelta(ahead), today + datetime.timedelta(ahead + 1)
        name = f"proxy_call_{first:%Y%m%d}"
        schema_editor.execute(f"CREATE TABLE {name} (LIKE proxy_call INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        schema_editor.execute(
            f"WITH moved AS (DELETE FROM proxy_call_default WHERE at >= '{first} 00:00+00' AND at < '{after} "
            f"00:00+00' RETURNING *) INSERT INTO {name} SELECT * FROM moved"
        )
        schema_editor.execute(
            f"ALTER TABLE proxy_call ATTACH PARTITION {name} FOR VALUES FROM ('{first} 00:00+00') "
            f"TO ('{after} 00:00+00')"
        )


class Migration(migrations.Migration):

    dependencies = [
        ("proxy", "0001_initial"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(PARTITIONED),
                migrations.RunPython(coming_days),
            ],
            state_operations=[
                migrations.DeleteModel("Call"),
                migrations.CreateModel(
                    name="Call",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("request_id", models.CharField(max_length=40)),
                        ("at", models.DateTimeField(help_text="When the call came in.")),
                        ("operation", models.CharField(blank=True, max_length=80)),
                        ("method", models.CharField(max_length=16)),
                        ("path", models.CharField(max_length=1000)),
                        ("object_kind", models.CharField(blank=True, max_length=20)),
                        ("object_name", models.CharField(blank=True, max_length=500)),
                        ("status", models.PositiveSmallIntegerField()),
                        ("reason", models.CharField(blank=True, max_length=40)),
                        ("bytes_in", models.BigIntegerField(default=0)),
                        ("bytes_out", models.BigIntegerField(default=0)),
                        ("duration_ms", models.FloatField()),
                        ("upstream_ms", models.FloatField(default=0)),
                        ("address", models.GenericIPAddressField(null=True)),
                        ("client", models.CharField(blank=True, max_length=100)),
                        ("client_version", models.CharField(blank=True, max_length=40)),
                        ("key", models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.PROTECT, related_name="calls", to="keys.apikey")),
                        ("user", models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.PROTECT, related_name="calls", to=settings.AUTH_USER_MODEL)),
                    ],
                    options={"managed": False, "ordering": ["-at", "-id"]},
                ),
            ],
        ),
        migrations.CreateModel(
            name='CallTotal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('span', models.CharField(choices=[('day', 'Day'), ('hour', 'Hour')], max_length=4)),
                ('start', models.DateTimeField(help_text='UTC.')),
                ('operation', models.CharField(blank=True, max_length=80)),
                ('status_class', models.PositiveSmallIntegerField(help_text="The status's first digit.")),
                ('calls', models.BigIntegerField(default=0)),
                ('bytes_in', models.BigIntegerField(default=0)),
                ('bytes_out', models.BigIntegerField(default=0)),
                ('duration_ms', models.FloatField(default=0)),
                ('latencies', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), help_text='How many took up to each of LATENCIES_MS, and more than the last, not counting those before.', size=None)),
                ('key', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.PROTECT, related_name='call_totals', to='keys.apikey')),
                ('user', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.PROTECT, related_name='call_totals', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['span', 'start'], name='total_by_time'), models.Index(fields=['user', 'span', 'start'], name='total_by_user')],
                'constraints': [models.UniqueConstraint(fields=('key', 'span', 'start', 'user', 'operation', 'status_class'), name='one_total'), models.CheckConstraint(condition=models.Q(('calls__gte', 0)), name='total_of_some_calls'), models.CheckConstraint(condition=models.Q(('latencies__len', 16)), name='total_has_latencies')],
            },
        ),
        migrations.CreateModel(
            name='KeylessAttempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField()),
                ('reason', models.CharField(max_length=40)),
                ('network', models.CharField(blank=True, help_text='An IPv4 /24 or IPv6 /64; empty: one of too many to list, or unknown.', max_length=50)),
                ('count', models.BigIntegerField()),
            ],
            options={
                'ordering': ['-hour', '-count'],
                'constraints': [models.UniqueConstraint(fields=('hour', 'reason', 'network'), name='one_attempt_count')],
            },
        ),
        migrations.CreateModel(
            name='SpoolSegment',
            fields=[
                ('name', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('taken', models.BigIntegerField(help_text='Bytes.')),
                ('at', models.DateTimeField(db_default=Now())),
            ],
        ),
    ]
