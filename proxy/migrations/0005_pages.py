"""What the admin's pages are read from: calls by address and reason, and totals by hour of all keys together."""

import django.contrib.postgres.fields
from django.db import migrations, models


# A page of the log, latest first, by what auditors ask for; what redirected beside what failed.
INDEXES = """
CREATE INDEX call_by_address ON proxy_call (address, at, id);
CREATE INDEX call_by_reason ON proxy_call (reason, at, id) WHERE reason <> '';
DROP INDEX call_that_failed;
CREATE INDEX call_that_failed ON proxy_call (at, id) WHERE status >= 300;
"""
BACK = """
DROP INDEX call_by_address;
DROP INDEX call_by_reason;
DROP INDEX call_that_failed;
CREATE INDEX call_that_failed ON proxy_call (at, id) WHERE status >= 400;
"""
# Days whose hours are gone stand in their first hour.
FILL = f"""
INSERT INTO proxy_hourtotal (start, status_class, calls, bytes_in, bytes_out, duration_ms, latencies)
SELECT start, status_class, sum(calls), sum(bytes_in), sum(bytes_out), sum(duration_ms),
       ARRAY[{", ".join(f"sum(latencies[{n}])" for n in range(1, 17))}]
FROM proxy_calltotal total
WHERE span = 'hour' OR NOT EXISTS (
    SELECT FROM proxy_calltotal hour
    WHERE hour.span = 'hour' AND hour.start >= total.start AND hour.start < total.start + interval '1 day')
GROUP BY start, status_class
"""


class Migration(migrations.Migration):

    dependencies = [
        ('proxy', '0004_browsers'),
    ]

    operations = [
        migrations.CreateModel(
            name='HourTotal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('start', models.DateTimeField(help_text='UTC.')),
                ('status_class', models.PositiveSmallIntegerField(help_text="The status's first digit.")),
                ('calls', models.BigIntegerField(default=0)),
                ('bytes_in', models.BigIntegerField(default=0)),
                ('bytes_out', models.BigIntegerField(default=0)),
                ('duration_ms', models.FloatField(default=0)),
                ('latencies', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), help_text='As in CallTotal.', size=None)),
            ],
            options={
                'default_permissions': (),
                'constraints': [models.UniqueConstraint(fields=('start', 'status_class'), name='one_hour_total'), models.CheckConstraint(condition=models.Q(('latencies__len', 16)), name='hour_total_has_latencies')],
            },
        ),
        migrations.RunSQL(INDEXES, BACK),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
