import pytest

from keys.models import ApiKey
from tests.keys.people import key_of


@pytest.fixture
def key(cast) -> ApiKey:
    """Dora's."""
    return key_of(cast["dora"])
