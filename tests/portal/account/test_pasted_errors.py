"""What a pasted error says, in each form in which people meet one."""

import json

import pytest

from portal.account.pasted_errors import PastedError, parse

ID = "req_" + "0a" * 16
MESSAGE = f"The API key “laptop” lacks the scope registry:delete. (request {ID})"
TRACEBACK = f"""Traceback (most recent call last):
  File "/app/train.py", line 4, in <module>
    client.delete_registered_model("fraud")
mlflow.exceptions.RestException: PERMISSION_DENIED: {MESSAGE}
"""
BODY = json.dumps({"error_code": "PERMISSION_DENIED", "message": MESSAGE, "request_id": ID})


@pytest.mark.parametrize(
    "text",
    [
        TRACEBACK,
        BODY,
        f"HTTP/1.1 403 Forbidden\nContent-Type: application/json\n\n{BODY}",
        f"API request to endpoint /api/2.0/mlflow/x failed with error code 403 != 200. Response body: '{BODY}'",
    ],
)
def test_a_refusal_has_its_id_its_code_and_its_message(text):
    error = parse(text)

    assert (error.request_id, error.error_code) == (ID, "PERMISSION_DENIED")
    assert error.message.startswith("The API key “laptop” lacks the scope")


def test_a_page_is_read_as_its_text():
    page = f"<!doctype html><html><style>.x {{ color: red }}</style><p>Request id <code>{ID.upper()}</code></p></html>"

    assert parse(page).request_id == ID


@pytest.mark.parametrize(
    "text",
    [
        "key_as_name",
        '{"reason": "key_as_name", "detail": "…"}',
        "https://registry.example/docs/errors/#key_as_name",
        "the reason was `key_as_name`",
    ],
)
def test_a_reason_is_found_where_it_is_named(text):
    assert parse(text).reason == "key_as_name"


def test_a_problem_of_the_management_api_has_a_detail():
    problem = {"status": 409, "reason": "not_possible", "detail": "The key is revoked.", "request_id": ID}

    error = parse(json.dumps(problem))

    assert (error.reason, error.status, error.message) == ("not_possible", 409, "The key is revoked.")


@pytest.mark.parametrize(
    ("text", "address", "words"),
    [
        (
            "MlflowException: API request to https://registry.example/api/2.0/mlflow/runs/create failed with exception "
            "HTTPSConnectionPool(host='registry.example', port=443): Max retries exceeded with url: "
            "/api/2.0/mlflow/runs/create?x=1 (Caused by NameResolutionError('…'))",
            "https://registry.example/api/2.0/mlflow/runs/create",
            "does not exist",
        ),
        (
            "HTTPConnectionPool(host='10.0.0.7', port=5000): Max retries exceeded with url: /api/2.0/mlflow/x "
            "(Caused by NewConnectionError: [Errno 111] Connection refused)",
            "http://10.0.0.7:5000/api/2.0/mlflow/x",
            "Nothing listens",
        ),
        ("requests.exceptions.SSLError: CERTIFICATE_VERIFY_FAILED", "", "certificate"),
        ("ReadTimeout: Read timed out.", "", "until its timeout"),
    ],
)
def test_errors_of_the_way_name_the_address_and_the_cause(text, address, words):
    error = parse(text)

    assert error.address == address
    assert error.unreached is not None
    assert words in error.unreached[0]


@pytest.mark.parametrize(
    "text", ["", "{", "{" * 5000, "[" * 5000, "<html", "}{}{", "\0", "e" * 20_000, '{"a":' * 900]
)
def test_any_text_is_read(text):
    assert isinstance(parse(text), PastedError)
