"""PostgreSQL keeps the ledger: no change but the completion, and only rows that make sense."""

import pytest
from django.db import IntegrityError, connection, transaction

from proxy.ledger import writer
from proxy.models import Registration
from tests.proxy.ledger_rows import pending, row

pytestmark = pytest.mark.postgresql


@pytest.fixture
def as_table_owner(db):
    """SQL by the owner of the ledger's table, who is not a superuser."""
    with connection.cursor() as cursor:
        cursor.execute("create role ledger_owner")
        cursor.execute("grant all on all tables in schema public to ledger_owner")
        cursor.execute("grant all on schema public to ledger_owner")
        cursor.execute("alter table proxy_registration owner to ledger_owner")
        cursor.execute("set local role ledger_owner")
        yield cursor
        cursor.execute("reset role")


@pytest.mark.parametrize(
    "statement",
    [
        "update proxy_registration set source = 'x' where outcome = 'done'",
        "update proxy_registration set outcome = 'not_done' where outcome = 'done'",
        "update proxy_registration set outcome = 'pending' where outcome = 'done'",
        "update proxy_registration set user_id = null, key_id = null, actor = 'me' where outcome = 'done'",
        "update proxy_registration set digest = repeat('0', 64) where outcome = 'done'",
        "update proxy_registration set source = 'x' where outcome = 'pending'",
        "update proxy_registration set outcome = 'done', address = '10.0.0.1' where outcome = 'pending'",
        "update proxy_registration set outcome = 'done', object_name = 'x' where outcome = 'pending'",
        "update proxy_registration set outcome = 'done', id = 5 where outcome = 'pending'",
        "delete from proxy_registration where outcome = 'done'",
        "delete from proxy_registration where outcome = 'pending'",
        "truncate proxy_registration cascade",
        "set local pgtrigger.ignore = '{proxy_registration:registration_keep}'; delete from proxy_registration",
    ],
)
def test_not_even_the_tables_owner_changes_or_deletes_a_row(statement, key, as_table_owner):
    row(key, "registered-models.create", "m")
    pending(key, "registered-models.create", "n")
    as_table_owner.execute(
        "set constraints all immediate"
    )  # PostgreSQL truncates nothing that waits for checks

    with pytest.raises(IntegrityError, match="append-only") as refused, transaction.atomic():
        as_table_owner.execute(statement)

    assert refused.value.__cause__.diag.constraint_name == "registration_append_only"
    assert set(Registration.objects.values_list("outcome", flat=True)) == {"done", "pending"}


def test_a_pending_row_is_completed_once(key):
    begun = pending(key, "registered-models.create", "m")

    assert writer.close(begun, outcome="done", created_ms=1)
    assert not writer.close(begun, outcome="not_done")
    assert Registration.objects.get().outcome == "done"


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"outcome": "perhaps"}, "registration_outcome_known"),
        ({"outcome": "done"}, "registration_sealed_when_completed"),
        ({"digest": "0" * 64}, "registration_sealed_when_completed"),
        ({"actor": "somebody"}, "registration_has_key_or_actor"),
        ({"user": None}, "registration_has_key_or_actor"),
        ({"request_id": "req_taken"}, "registration_of_one_request"),
    ],
)
def test_invariants_are_constraints(columns, constraint, key):
    pending(key, "registered-models.create", "m", request_id="req_taken")

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        pending(key, "registered-models.create", "m", **columns)
