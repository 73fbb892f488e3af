import pytest
from django.test import Client

from keys.models import User
from tests.keys.people import make_cast, signed_in


@pytest.fixture
def cast(db) -> dict[str, User]:
    return make_cast()


@pytest.fixture
def alice(cast) -> Client:
    return signed_in(cast["alice"])


@pytest.fixture
def bob(cast) -> Client:
    return signed_in(cast["bob"])
