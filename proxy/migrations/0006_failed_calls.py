"""What failed and what redirected are few among what was refused, and have their own ways to be found."""

from django.db import migrations

INDEXES = """
CREATE INDEX call_that_broke ON proxy_call (at, id) WHERE status >= 500;
CREATE INDEX call_redirected ON proxy_call (at, id) WHERE status >= 300 AND status < 400;
"""
BACK = "DROP INDEX call_that_broke; DROP INDEX call_redirected;"


class Migration(migrations.Migration):

    dependencies = [
        ("proxy", "0005_pages"),
    ]

    operations = [
        migrations.RunSQL(INDEXES, BACK),
    ]
