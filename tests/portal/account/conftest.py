"""Dora and mallory hold keys and nothing else; each has a key, a call and a registration."""

from dataclasses import dataclass

import pytest
from django.test import Client

from keys.models import ApiKey, User
from proxy.models import Call, Registration
from tests.keys.people import call, key_of, signed_in
from tests.proxy.ledger_rows import row


@dataclass
class Holder:
    """A user, their browser, and one thing of theirs of each kind."""

    user: User
    client: Client
    key: ApiKey
    call: Call
    registration: Registration


def holder(name: str, number: int) -> Holder:
    user = User.objects.create_user(name)
    key = key_of(user, f"{name}'s key")
    refused = call(key, number, status=403, reason="scope", operation="registered-models.delete")
    registration = row(key, "registered-models.create", f"{name}-model")
    return Holder(user, signed_in(user), key, refused, registration)


@pytest.fixture
def dora(db) -> Holder:
    return holder("dora", 1)


@pytest.fixture
def mallory(db) -> Holder:
    return holder("mallory", 2)
