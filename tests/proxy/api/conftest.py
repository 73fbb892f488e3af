import pytest

from keys.rights.scopes import Scope
from tests.keys.api.callers import Program, program


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
