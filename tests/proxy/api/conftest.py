import pytest

from keys.models import User
from keys.rights.scopes import Scope
from tests.keys.api.callers import Program, program
from tests.keys.people import make_cast


@pytest.fixture
def cast(db) -> dict[str, User]:
    return make_cast()


@pytest.fixture
def alice(cast) -> Program:
    return program(cast["alice"], Scope.PORTAL_ADMIN)


@pytest.fixture
def charlie(cast) -> Program:
    """Staff without a permission."""
    return program(cast["charlie"], Scope.PORTAL_ADMIN)


@pytest.fixture
def dora(cast) -> Program:
    return program(cast["dora"], Scope.PORTAL_READ)
