"""Responses of MLflow on their way to the caller: a new object has an owner before the caller learns of it."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from keys.refusals import Refusal
from proxy import presentation
from proxy.routes import matching


@pytest.fixture
def forwarding(monkeypatch) -> Any:
    """The creation of a run, while PostgreSQL is away."""
    match = matching.match_operation("POST", "/api/2.0/mlflow/runs/create")
    monkeypatch.setattr(presentation, "OWNER_PAUSE", 0.0)
    monkeypatch.setattr(presentation, "connection", SimpleNamespace(in_atomic_block=False))
    monkeypatch.setattr(presentation.name_locks, "reconnect", lambda: None)
    return SimpleNamespace(
        call=SimpleNamespace(named_object=None, request_id="req_1"),
        decision=SimpleNamespace(operation=match.operation, match=match),
        caller=None,
    )


CREATED = SimpleNamespace(peek=lambda: b'{"run": {"info": {"run_id": "r1"}}}')


def test_the_owner_waits_for_postgresql(forwarding, monkeypatch):
    tries = iter([OperationalError, OperationalError, None])

    def record(**options: Any) -> None:
        if error := next(tries):
            raise error

    monkeypatch.setattr(presentation.owner_actions, "record_changes", record)
    presentation.record_owners(forwarding, CREATED)
    assert next(tries, "all") == "all"


def test_without_an_owner_the_call_is_not_repeated(forwarding, monkeypatch):
    """MLflow has made the run, and a 429 would make a second one."""

    def record(**options: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(presentation, "OWNER_SECONDS", 0.01)
    monkeypatch.setattr(presentation.owner_actions, "record_changes", record)
    with pytest.raises(Refusal) as refused:
        presentation.record_owners(forwarding, CREATED)
    assert (refused.value.status, refused.value.reason) == (502, "owner_not_recorded")
    assert "Retry-After" not in refused.value.headers
