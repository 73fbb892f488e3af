"""MLflow's errors keep their status and code; only a message that shows its database is replaced."""

import json

import pytest

from keys.refusals import Refusal
from proxy.policy import responses
from proxy.routes.table import OPERATIONS

CREATE = next(operation for operation in OPERATIONS if operation.name == "experiments.create")
# As MLflow 3.17.2 sent them, with PostgreSQL, MySQL (MariaDB 10.11) and SQLite behind it.
POSTGRESQL = (
    "(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "
    '"experiments_name_key"\nDETAIL:  Key (name)=(a) already exists.\n\n[SQL: INSERT INTO experiments (name) '
    "VALUES (%(name)s)]\n[parameters: {'name': 'a'}]\n(Background on this error at: https://sqlalche.me/e/20/gkpj)"
)
MYSQL = (
    "(pymysql.err.DataError) (1406, \"Data too long for column 'name' at row 1\")\n[SQL: UPDATE experiments SET "
    "name=%(name)s]\n(Background on this error at: https://sqlalche.me/e/20/9h9h)"
)
SQLITE = "(sqlite3.IntegrityError) UNIQUE constraint failed: experiments.name"
AWAY = '(psycopg2.OperationalError) connection to server at "10.0.0.7", port 5432 failed: Connection refused'


class Response:
    """What `refuse_unpresentable` reads of an upstream response."""

    def __init__(self, status: int, content: object) -> None:
        self.status, self.headers = status, {"Content-Type": "application/json"}
        self.content = json.dumps(content).encode()

    def peek(self) -> bytes:
        return self.content


def refusal(status: int, code: str, message: str, *sent: str) -> Refusal | None:
    content = {"error_code": code, "message": message, "sqlstate": "42710"}
    try:
        responses.refuse_unpresentable(Response(status, content), CREATE, sent=lambda: sent)  # type: ignore[arg-type]
    except Refusal as refused:
        return refused
    return None


@pytest.mark.parametrize(
    ("status", "code", "message", "words"),
    [
        (
            400,
            "RESOURCE_ALREADY_EXISTS",
            f"Experiment(name=a) already exists. Error: {POSTGRESQL}",
            "already exists",
        ),
        (400, "BAD_REQUEST", POSTGRESQL, "already exists"),
        (400, "BAD_REQUEST", SQLITE, "already exists"),
        (400, "BAD_REQUEST", MYSQL, "too long"),
        (503, "TEMPORARILY_UNAVAILABLE", AWAY, "unavailable"),
        (500, "INTERNAL_ERROR", "tracking URI is set to postgresql+psycopg2://:5432/mlflow", "failed"),
        (400, "BAD_REQUEST", "sqlite:////srv/mlflow.db is locked", "rejected the values"),
    ],
)
def test_a_message_with_internals_is_replaced_by_one_that_fits_its_code(status, code, message, words):
    refused = refusal(status, code, message)

    assert refused is not None
    assert (refused.status, refused.error_code, refused.reason) == (status, code, "upstream_error")
    assert not refused.is_not_sent
    assert words in refused.message
    for internal in ("SQL", "psycopg", "sqlite", "pymysql", "10.0.0.7", "://", "/srv"):
        assert internal not in refused.message


CHANGED = (
    "Changing param values is not allowed. Param with key='db' was already logged with value='sqlite:///a.db' for "
    "run ID='1'. Attempted logging new value '{}'."
)


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (CHANGED.format("postgresql://warehouse/train"), ["postgresql://warehouse/train"]),
        ("Invalid name: mysql://warehouse/train.", ["mysql://warehouse/train"]),
        ("Invalid value '[SQL: SELECT 1]' for parameter 'filter'.", ["[SQL: SELECT 1]"]),
        ("No Experiment with id=7 exists", []),
    ],
)
def test_a_message_that_quotes_only_the_callers_own_text_passes(message, sent):
    assert refusal(400, "INVALID_PARAMETER_VALUE", message, *sent) is None


@pytest.mark.parametrize(
    "sent",
    [
        ["[SQL: ", "psycopg", "https://sqlalche.me/"],
        ["a", POSTGRESQL[:40]],
        ["postgresql:/", "postgresql+psycopg2://:5432/"],
    ],
)
@pytest.mark.parametrize("message", [POSTGRESQL, "set to postgresql+psycopg2://:5432/mlflow"])
def test_nobody_makes_internals_pass_by_sending_their_first_words(message, sent):
    assert refusal(400, "BAD_REQUEST", message, *sent) is not None


def test_the_texts_of_a_request_are_those_in_its_json_query_and_path():
    body = json.dumps({"params": [{"key": "db", "value": "sqlite:///a"}], "run_id": "1", "n": 2}).encode()

    assert responses.texts_sent(body, "name=a%20b", "/p") == {
        *("params", "key", "db", "value", "sqlite:///a", "run_id", "1", "n", "a b", "/p")
    }
    assert responses.texts_sent(b"\xff", "", "/p") == {"/p"}
