"""Calls for tests, and a writer that turns when it is told to."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from keys import actions
from keys.credentials.caller import Caller
from keys.database import connection_parameters
from keys.models import ApiKey, User
from proxy.usage import recording
from proxy.usage.attempts import Attempts
from proxy.usage.recording import CallInProgress
from proxy.usage.spool import Spool
from proxy.usage.writer import Writer

NOON = datetime.datetime(2026, 3, 4, 12, 30, tzinfo=datetime.UTC)


@contextmanager
def a_connection() -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(**connection_parameters(), autocommit=True) as open_connection:
        yield open_connection


def key_of(name: str) -> ApiKey:
    user, _ = User.objects.get_or_create(username=name)
    return actions.issue(owner=user, name=f"{name}'s key")[0]


def finished_call(
    key: ApiKey, number: int = 0, *, at: datetime.datetime = NOON, **changes: Any
) -> CallInProgress:
    """A call that has ended and is not recorded yet."""
    fields = {
        "request_id": f"req_{number:032x}",
        "method": "GET",
        "path": "/api/mlflow/api/2.0/mlflow/runs/get",
        "address": "192.0.2.1",
        "client": "mlflow-python-client/3.17.2",
        "operation": "runs.get",
        "status": 200,
        "bytes_in": 10,
        "bytes_out": 100,
        "at": at,
    }
    return CallInProgress(**{"caller": Caller.by_key(key), **fields, **changes})


@contextmanager
def a_writer(folder: Path, monkeypatch: Any) -> Iterator[Writer]:
    """What is recorded goes to `folder`; what is there goes to PostgreSQL at each `turn`."""
    spool = Spool(folder)
    monkeypatch.setattr(recording, "calls", spool)
    monkeypatch.setattr(recording, "FOLDER", folder)
    writer = Writer(spool, Attempts(), parameters=connection_parameters())
    writer.maintain = float("inf")
    try:
        yield writer
    finally:
        writer.disconnect()
        spool.close()
