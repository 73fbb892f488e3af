"""The ledger: a row before MLflow is called, completed from its answer, and beyond change ever after."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keys.credentials import tokens
from proxy.ledger import writer
from proxy.routes import matching
from tests.echo import Script
from tests.portals import portal, wait_for

pytestmark = pytest.mark.postgresql

API = "/api/mlflow/api/2.0/mlflow"
CREATE_VERSION = f"{API}/model-versions/create"
JSON = [("Content-Type", "application/json")]


def answer(content: dict, status: int = 200) -> Script:
    return Script(status=status, headers=JSON, body=json.dumps(content).encode())


def version_answer(name: str, version: str = "3", made: int = 1_700_000_000_000) -> Script:
    return answer({"model_version": {"name": name, "version": version, "creation_timestamp": made}})


def entry(portal, reply) -> dict:
    [found] = portal.rows(
        "select r.*, u.username, k.public_id from proxy_registration r join keys_user u on u.id = r.user_id "
        "join keys_apikey k on k.id = r.key_id where request_id = %s",
        reply.headers["X-Request-ID"],
    )
    return found


def test_a_version_is_written_down_with_who_what_and_mlflows_answer(echo, echo_portal, echo_key):
    echo.script = version_answer("m")
    body = {
        "name": "m",
        "source": "models:/other/1",
        "tags": [{"key": "hokusai_token_id", "value": "abc"}, {"key": "hokusai.key_id", "value": "forged"}],
    }

    reply = echo_portal.request("POST", CREATE_VERSION, key=echo_key["key"], body=body)

    found = entry(echo_portal, reply)
    assert (found["username"], found["public_id"]) == ("alice", echo_key["id"])
    assert (found["operation"], found["kind"], found["environment"]) == (
        "model-versions.create",
        "model_version",
        "live",
    )
    assert (found["object_name"], found["version"], found["source"]) == ("m", "3", "models:/other/1")
    assert found["created_ms"] == 1_700_000_000_000
    assert found["tags"] == {
        "hokusai_token_id": "abc",
        "hokusai.user_id": echo_key["user_id"],
        "hokusai.key_id": echo_key["id"],
    }
    assert (found["outcome"], found["status"], str(found["address"])) == ("done", 200, "127.0.0.1")
    assert found["at"] <= found["completed_at"]
    assert found["sequence"] > 0


def test_the_row_is_there_before_mlflow_is_called(echo, echo_portal, echo_key):
    echo.script = version_answer("early")
    echo.script.hang = threading.Event()
    echo.script.raw = None
    with ThreadPoolExecutor(1) as pool:
        body = {"name": "early", "source": "models:/other/1"}
        reply = pool.submit(echo_portal.request, "POST", CREATE_VERSION, key=echo_key["key"], body=body)
        assert wait_for(lambda: echo.received)
        [found] = echo_portal.rows("select * from proxy_registration where object_name = 'early'")
        assert (found["outcome"], found["sequence"], found["hash"]) == ("pending", None, "")
        echo.script.hang.set()
        # The stand-in closes without an answer: nobody knows what MLflow did.
        assert reply.result().status == 502
    [found] = echo_portal.rows("select * from proxy_registration where object_name = 'early'")
    assert found["outcome"] == "pending"


@pytest.mark.parametrize(
    ("script", "outcome", "reason"),
    [
        (
            answer({"error_code": "RESOURCE_ALREADY_EXISTS"}, 400),
            "refused_by_mlflow",
            "RESOURCE_ALREADY_EXISTS",
        ),
        (
            answer({"error_code": "RESOURCE_DOES_NOT_EXIST"}, 404),
            "refused_by_mlflow",
            "RESOURCE_DOES_NOT_EXIST",
        ),
        (Script(status=403, headers=[("Content-Type", "text/plain")]), "refused_by_mlflow", ""),
        (Script(status=422, headers=[("Content-Type", "text/html")], body=b"<p>"), "refused_by_mlflow", ""),
        (answer({"error_code": "INTERNAL_ERROR"}, 500), "pending", ""),
        (answer({}, 504), "pending", ""),
        (Script(raw=b"nonsense"), "pending", ""),
        (answer({"what": "made it, but does not say what"}), "pending", ""),
        (answer({"model_version": {"name": "m", "version": "1"}}), "pending", ""),
    ],
)
def test_what_mlflow_refused_is_closed_and_what_it_leaves_open_stays_open(
    script, outcome, reason, echo, echo_portal, echo_key
):
    echo.script = script
    body = {"name": "m", "source": "models:/other/1"}

    reply = echo_portal.request("POST", CREATE_VERSION, key=echo_key["key"], body=body)

    found = entry(echo_portal, reply)
    assert (found["outcome"], found["reason"]) == (outcome, reason)


def test_what_the_portal_refuses_and_what_only_reads_is_not_in_the_ledger(echo, echo_portal, echo_key):
    reserved = {"name": "m", "version": "1", "key": "hokusai.quarantine", "value": "no"}
    calls = [
        ("POST", f"{API}/model-versions/set-tag", reserved, 403),
        ("POST", f"{API}/runs/create", {"experiment_id": "0"}, 200),
        ("GET", f"{API}/registered-models/get?name=m", None, 200),
    ]
    for method, target, body, status in calls:
        reply = echo_portal.request(method, target, key=echo_key["key"], body=body)

        assert reply.status == status
        request_id = reply.headers["X-Request-ID"]
        assert not echo_portal.rows("select 1 from proxy_registration where request_id = %s", request_id)


@pytest.mark.parametrize(
    ("operation", "content", "columns"),
    [
        (
            "POST registered-models/rename",
            {"name": "m", "new_name": "n"},
            {"object_name": "m", "new_name": "n", "kind": "registered_model"},
        ),
        (
            "DELETE model-versions/delete-tag",
            {"name": "m", "version": "1", "key": "k"},
            {"version": "1", "tags": {"k": None}},
        ),
        (
            "POST model-versions/set-tag",
            {"name": "m", "version": " 01", "key": "k", "value": "v"},
            {"version": "1", "tags": {"k": "v"}},
        ),
        (
            "POST model-versions/transition-stage",
            {"name": "m", "version": "1", "stage": "Production", "archive_existing_versions": True},
            {"detail": {"stage": "Production", "archive_existing_versions": True}},
        ),
        (
            "POST registered-models/alias",
            {"name": "m", "version": "2", "alias": "champion"},
            {"version": "2", "detail": {"alias": "champion"}},
        ),
        ("DELETE model-versions/delete", {"name": "m", "version": "nonsense"}, {"version": "nonsense"}),
        (
            "PATCH registered-models/update",
            {"name": "m", "description": "d"},
            {"detail": {"description": "d"}},
        ),
        (
            "POST registered-models/create",
            {"name": "p", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]},
            {"is_prompt": True, "object_name": "p"},
        ),
        (
            "POST logged-models",
            {"experiment_id": "5", "name": "net", "source_run_id": "r" * 32, "params": []},
            {"object_name": "", "run_id": "r" * 32, "detail": {"experiment_id": "5", "name": "net"}},
        ),
        (
            "PATCH logged-models/m-path",
            {"model_id": "m-body", "status": "LOGGED_MODEL_READY"},
            {"object_name": "m-body", "detail": {"status": "LOGGED_MODEL_READY"}},
        ),
        ("DELETE logged-models/m-path", {}, {"object_name": "m-path", "kind": "logged_model"}),
        ("DELETE logged-models/m-path/tags/k", {}, {"object_name": "m-path", "tags": {"k": None}}),
        (
            "PATCH logged-models/m-path/tags",
            {"model_id": "m-path", "tags": [{"key": "a", "value": "1"}]},
            {"object_name": "m-path", "tags": {"a": "1"}},
        ),
        (
            "POST registered-models/create",
            {"name": "a\0b\ud800", "tags": [{"key": "t", "value": "\0"}, {"key": "t"}]},
            {"object_name": "a�b?", "tags": {"t": ""}},
        ),
    ],
)
def test_a_request_is_read_into_columns(operation, content, columns):
    method, _, path = operation.partition(" ")
    asked = writer.describe_request(matching.match_operation(method, f"/api/2.0/mlflow/{path}"), content)

    assert {name: asked[name] for name in columns} == columns


def test_what_is_too_long_is_cut_and_its_hash_kept():
    match = matching.match_operation("POST", "/api/2.0/mlflow/registered-models/create")
    tags = [{"key": "text", "value": "x" * 100_000}]

    asked = writer.describe_request(match, {"name": "n" * 100_000, "tags": tags})

    assert len(asked["object_name"]) == 500
    assert len(asked["tags"]["text"]) == 8000
    assert "(100000 characters, SHA-256 " in asked["tags"]["text"]


def test_an_api_key_in_a_tag_is_not_kept():
    secret = tokens.generate().secret
    match = matching.match_operation("POST", "/api/2.0/mlflow/model-versions/set-tag")

    asked = writer.describe_request(
        match, {"name": "m", "version": "1", "key": "note", "value": f"my key is {secret}"}
    )

    assert secret not in json.dumps(asked)
    assert asked["tags"]["note"] == "my key is hk_(hidden)"


def test_every_operation_that_writes_to_the_registry_is_recorded():
    from proxy.routes.table import OPERATIONS

    written = {
        operation.name for operation in OPERATIONS if writer.is_recorded(operation) and not operation.refused
    }
    registry = {
        operation.name
        for operation in OPERATIONS
        if {"registry:write", "registry:delete"} & set(operation.scopes)
    }
    assert registry < written
    assert {name.partition(".")[0] for name in written - registry} == {"logged-models"}


# --- when it cannot be written ----------------------------------------------------------------------------


@pytest.fixture
def no_ledger(echo_portal):
    echo_portal.sql("alter table proxy_registration rename to elsewhere")
    yield
    echo_portal.sql("alter table elsewhere rename to proxy_registration")


def test_a_write_that_cannot_be_written_down_is_refused_and_does_not_reach_mlflow(
    no_ledger, echo, echo_portal, echo_key
):
    body = {"name": "m", "source": "models:/other/1"}

    reply = echo_portal.request("POST", CREATE_VERSION, key=echo_key["key"], body=body)

    assert reply.status == 429
    assert "ledger" in reply.json()["message"]
    assert int(reply.headers["Retry-After"]) <= 30
    assert echo.arriving == []
    [call] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
    assert call["reason"] == "ledger_unavailable"


def test_reads_and_runs_go_on_without_a_ledger(no_ledger, echo, echo_portal, echo_key):
    reply = echo_portal.request("GET", f"{API}/registered-models/get?name=m", key=echo_key["key"])

    assert reply.status == 200


def test_connections_that_postgresql_closed_meanwhile_do_not_refuse_a_write(echo, echo_portal, echo_key):
    echo.script = version_answer("m")
    body = {"name": "m", "source": "models:/other/1"}
    with ThreadPoolExecutor(8) as pool:  # several connections in the portal's pool
        list(
            pool.map(
                lambda _: echo_portal.request("POST", CREATE_VERSION, key=echo_key["key"], body=body),
                range(16),
            )
        )
    echo_portal.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )

    replies = [echo_portal.request("POST", CREATE_VERSION, key=echo_key["key"], body=body) for _ in range(8)]

    assert {(reply.status, reply.body if reply.status != 200 else b"") for reply in replies} == {(200, b"")}
    assert {entry(echo_portal, reply)["outcome"] for reply in replies} == {"done"}


def test_registrations_over_several_processes_make_one_chain(echo, echo_portal, echo_key):
    echo.script = version_answer("many")
    before = echo_portal.sql("select coalesce(max(sequence), 0) from proxy_registration")[0][0]
    with portal(mlflow_url=echo.url, database=echo_portal.database, WORKERS="2", THREADS="32") as other:

        def register(number: int) -> int:
            target = other if number % 2 else echo_portal
            body = {"name": "many", "source": "models:/other/1"}
            return target.request("POST", CREATE_VERSION, key=echo_key["key"], body=body).status

        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(register, range(96))) == {200}
        result = other.manage("verify_ledger", "--json")
    found = json.loads(result.stdout)
    assert (found["ok"], found["rows"]) == (True, before + 96)
