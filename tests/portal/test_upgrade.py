"""A database and a spool of commit fc760ae, which had the folders of before, are used by this portal as they are.

Of the spool, `tests/proxy/usage/test_record.py` holds a copy of the format.
"""

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from keys.credentials import authentication, tokens
from keys.models import ApiKey, User

# The migrations of that commit, whose names a database keeps as applied.
MIGRATIONS = {
    "keys": [
        "0001_initial",
        "0002_limits",
        "0003_management_api",
        "0004_activity",
        "0005_invitation",
        "0006_alerts",
        "0007_history_kept",
        "0008_networks",
        "0009_replayed_headers",
    ],
    "proxy": [
        "0001_initial",
        "0002_usage",
        "0003_ledger",
        "0004_browsers",
        "0005_pages",
        "0006_failed_calls",
    ],
}
# The last migrations of the previous release, whose portals run beside this schema while they are replaced.
PREVIOUS = [("keys", "0015_key_requests"), ("proxy", "0012_old_secrets")]
REQUIRED = """
    SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'
    AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO' AND is_generated = 'NEVER'
"""
PEPPER = "a pepper of the tests, 32 characters"
RANDOM = "UpgradeTestNotARealKey0000"
DIGEST = "80774f1e91e719dbfb781709cb054b743b6aec8a07192fa76198a376a1ff7baf"  # made by that commit's code

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.mark.parametrize("app", MIGRATIONS)
def test_the_migrations_that_a_database_has_applied_keep_their_names(app):
    names = sorted(name for label, name in MigrationLoader(connection).disk_migrations if label == app)
    assert names[: len(MIGRATIONS[app])] == MIGRATIONS[app]


def test_the_previous_release_works_with_the_tables_of_this_one():
    """It neither misses a column nor has to fill one that it does not know."""
    loader = MigrationLoader(connection)
    previous, present = loader.project_state(PREVIOUS), loader.project_state().apps
    with connection.cursor() as cursor:
        cursor.execute(REQUIRED)
        required = set(cursor.fetchall())
    for old in previous.apps.get_models():
        table, columns = old._meta.db_table, {field.column for field in old._meta.local_fields}
        new = present.get_model(old._meta.app_label, old._meta.model_name)

        assert columns <= {field.column for field in new._meta.local_fields}, f"{table} has lost a column"
        assert {name for of, name in required if of == table} <= columns, (
            f"{table} has a column without a default"
        )


def test_a_key_that_an_older_portal_issued_is_known(settings):
    settings.KEY_PEPPERS = ["a newer pepper, of 32 characters at least", PEPPER]
    body = f"hk_live_{RANDOM}"
    secret = body + tokens.checksum(body)
    ApiKey.objects.create(
        owner=User.objects.create(username="alice"),
        name="laptop",
        public_id="key_old",
        digest=DIGEST,
        prefix="hk_live_Upgr",
        last4="MjNE",
    )

    caller = authentication.authenticate({"HTTP_AUTHORIZATION": f"Bearer {secret}"})

    assert (caller.key_id, caller.user.username) == ("key_old", "alice")
