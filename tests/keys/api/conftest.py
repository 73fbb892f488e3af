import pytest

from keys.rights.scopes import Scope
from tests.keys.api.callers import Program, program


@pytest.fixture
def alice(cast) -> Program:
    """A superuser's program."""
    return program(cast["alice"], Scope.PORTAL_ADMIN)


@pytest.fixture
def bob(cast) -> Program:
    """A key admin's."""
    return program(cast["bob"], Scope.PORTAL_ADMIN)


@pytest.fixture
def dora(cast) -> Program:
    """A holder's, who is no staff."""
    return program(cast["dora"], Scope.PORTAL_ADMIN)
