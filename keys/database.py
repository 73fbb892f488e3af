"""What happens to a request when PostgreSQL is unavailable."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError

from keys.refusals import unavailable

DATABASE_ERRORS = (DatabaseError, InterfaceError)  # Django's InterfaceError is not a DatabaseError


@contextmanager
def database_required(message: str, *, reason: str = "database_unavailable") -> Iterator[None]:
    """Turn a database error in the block into a Refusal (503) with this message and reason."""
    try:
        yield
    except DATABASE_ERRORS as error:
        raise unavailable(reason, message) from error
