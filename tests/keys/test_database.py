import threading
import types

import pytest
from django.db import IntegrityError, InterfaceError, OperationalError
from django.db.backends.signals import connection_created

from keys import database
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


def test_a_thread_gives_back_the_connection_that_it_opened_and_looks_for_no_other(monkeypatch):
    own = types.SimpleNamespace(connection=object(), vendor="none")
    own.close_if_unusable_or_obsolete = lambda: setattr(own, "connection", None)
    monkeypatch.setattr(database, "connections", {"default": own})
    monkeypatch.setattr(database, "opened", threading.local())
    database.give_back_connection()
    assert own.connection

    connection_created.send(sender=database, connection=own)
    database.give_back_connection()
    assert own.connection is None
    own.connection = object()
    database.give_back_connection()
    assert own.connection
