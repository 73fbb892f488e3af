import pytest
from django.db import IntegrityError, InterfaceError, OperationalError

from keys.database import database_required
from keys.refusals import Refusal


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, IntegrityError])
def test_a_database_error_becomes_a_429_with_the_message_of_its_place(error):
    with pytest.raises(Refusal) as raised, database_required("The portal cannot look this up."):
        raise error("connection refused")

    refusal = raised.value
    assert (refusal.status, refusal.reason) == (429, "database_unavailable")
    assert refusal.message == "The portal cannot look this up."
    assert refusal.headers["Retry-After"] == "10"
    assert isinstance(refusal.__cause__, error)


def test_the_reason_can_be_another_one():
    with pytest.raises(Refusal) as raised, database_required("No ledger.", reason="ledger_unavailable"):
        raise OperationalError

    assert raised.value.reason == "ledger_unavailable"


def test_any_other_error_passes_as_it_is():
    with pytest.raises(KeyError), database_required("The portal cannot look this up."):
        raise KeyError("name")
