"""The ledger: a row before MLflow is called, completed from its answer, and beyond change ever after."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from keys import actions, tokens
from keys.models import User
from proxy import chain, ledger, operations, verification
from proxy.models import Registration
from tests.echo import Script
from tests.portals import portal, wait_for
from tests.proxy.ledger_rows import pending, row

pytestmark = pytest.mark.postgresql

API = "/api/mlflow/api/2.0/mlflow"
CREATE_VERSION = f"{API}/model-versions/create"
JSON = [("Content-Type", "application/json")]


def answer(content: dict, status: int = 200) -> Script:
    return Script(status=status, headers=JSON, body=json.dumps(content).encode())


def version_answer(name: str, version: str = "3", made: int = 1_700_000_000_000) -> Script:
    return answer({"model_version": {"name": name, "version": version, "creation_timestamp": made}})


@pytest.fixture
def key(db):
    return actions.issue(owner=User.objects.create_user("alice"), name="training")[0]


# --- what a row says --------------------------------------------------------------------------------------


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
    asked = ledger.asked(operations.match(method, f"/api/2.0/mlflow/{path}"), content)

    assert {name: asked[name] for name in columns} == columns


def test_what_is_too_long_is_cut_and_its_hash_kept():
    match = operations.match("POST", "/api/2.0/mlflow/registered-models/create")
    tags = [{"key": "text", "value": "x" * 100_000}]

    asked = ledger.asked(match, {"name": "n" * 100_000, "tags": tags})

    assert len(asked["object_name"]) == 500
    assert len(asked["tags"]["text"]) == 8000
    assert "(100000 characters, SHA-256 " in asked["tags"]["text"]


def test_an_api_key_in_a_tag_is_not_kept():
    secret = tokens.generate().secret
    match = operations.match("POST", "/api/2.0/mlflow/model-versions/set-tag")

    asked = ledger.asked(match, {"name": "m", "version": "1", "key": "note", "value": f"my key is {secret}"})

    assert secret not in json.dumps(asked)
    assert asked["tags"]["note"] == "my key is hk_(hidden)"


def test_every_operation_that_writes_to_the_registry_is_recorded():
    from proxy.routes import OPERATIONS

    written = {
        operation.name for operation in OPERATIONS if ledger.is_recorded(operation) and not operation.refused
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

    assert reply.status == 503
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
    with portal(mlflow_url=echo.url, database=echo_portal.database, WORKERS="2", THREADS="8") as other:

        def register(number: int) -> int:
            target = other if number % 2 else echo_portal
            body = {"name": "many", "source": "models:/other/1"}
            return target.request("POST", CREATE_VERSION, key=echo_key["key"], body=body).status

        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(register, range(96))) == {200}
        result = other.manage("verify_ledger", "--json")
    found = json.loads(result.stdout)
    assert (found["ok"], found["rows"]) == (True, before + 96)


# --- PostgreSQL keeps it ----------------------------------------------------------------------------------


@pytest.fixture
def as_table_owner(db):
    """SQL by the owner of the ledger's table, who is not a superuser."""
    with connection.cursor() as cursor:
        cursor.execute("create role ledger_owner")
        cursor.execute("grant all on all tables in schema public to ledger_owner")
        cursor.execute("grant all on schema public to ledger_owner")
        cursor.execute("alter table proxy_registration owner to ledger_owner")
        cursor.execute("set local role ledger_owner")
        yield cursor
        cursor.execute("reset role")


@pytest.mark.parametrize(
    "statement",
    [
        "update proxy_registration set source = 'x' where outcome = 'done'",
        "update proxy_registration set outcome = 'not_done' where outcome = 'done'",
        "update proxy_registration set outcome = 'pending' where outcome = 'done'",
        "update proxy_registration set user_id = null, key_id = null, actor = 'me' where outcome = 'done'",
        "update proxy_registration set digest = repeat('0', 64) where outcome = 'done'",
        "update proxy_registration set source = 'x' where outcome = 'pending'",
        "update proxy_registration set outcome = 'done', address = '10.0.0.1' where outcome = 'pending'",
        "update proxy_registration set outcome = 'done', object_name = 'x' where outcome = 'pending'",
        "update proxy_registration set outcome = 'done', id = 5 where outcome = 'pending'",
        "delete from proxy_registration where outcome = 'done'",
        "delete from proxy_registration where outcome = 'pending'",
        "truncate proxy_registration",
        "set local pgtrigger.ignore = '{proxy_registration:registration_keep}'; delete from proxy_registration",
    ],
)
def test_not_even_the_tables_owner_changes_or_deletes_a_row(statement, key, as_table_owner):
    row(key, "registered-models.create", "m")
    pending(key, "registered-models.create", "n")
    as_table_owner.execute(
        "set constraints all immediate"
    )  # PostgreSQL truncates nothing that waits for checks

    with pytest.raises(IntegrityError, match="append-only") as refused, transaction.atomic():
        as_table_owner.execute(statement)

    assert refused.value.__cause__.diag.constraint_name == "registration_append_only"
    assert set(Registration.objects.values_list("outcome", flat=True)) == {"done", "pending"}


def test_a_pending_row_is_completed_once(key):
    begun = pending(key, "registered-models.create", "m")

    assert ledger.close(begun, outcome="done", created_ms=1)
    assert not ledger.close(begun, outcome="not_done")
    assert Registration.objects.get().outcome == "done"


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"outcome": "perhaps"}, "registration_outcome_known"),
        ({"outcome": "done"}, "registration_sealed_when_completed"),
        ({"digest": "0" * 64}, "registration_sealed_when_completed"),
        ({"actor": "somebody"}, "registration_has_key_or_actor"),
        ({"user": None}, "registration_has_key_or_actor"),
        ({"request_id": "req_taken"}, "registration_of_one_request"),
    ],
)
def test_invariants_are_constraints(columns, constraint, key):
    pending(key, "registered-models.create", "m", request_id="req_taken")

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        pending(key, "registered-models.create", "m", **columns)


# --- the chain --------------------------------------------------------------------------------------------


@pytest.fixture
def three(key):
    return [row(key, "registered-models.create", name, tags={"ä": "ü ✓"}) for name in ("one", "two", "three")]


def as_superuser(statement: str) -> None:
    """SQL with every trigger off."""
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")
        cursor.execute("set local session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("set local session_replication_role = origin")


def test_the_chain_is_as_python_computes_it(three):
    previous = chain.GENESIS
    for number, found in enumerate(three, start=1):
        assert found.digest == found.digest_now
        assert (found.sequence, found.hash) == (number, chain.link(previous, number, found.digest))
        previous = found.hash


def verify(capsys, *arguments) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        call_command("verify_ledger", *arguments)
        status = 0
    except SystemExit as ended:
        status = ended.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_whole_ledger_is_told_so(three, key, capsys, django_assert_num_queries):
    pending(key, "registered-models.create", "four")

    with django_assert_num_queries(
        5
    ):  # the triggers, the rows by one cursor in a savepoint, the pending ones
        status, out, _ = verify(capsys)

    assert status == 0
    assert out.startswith("The ledger is whole: 3 rows in one chain, 1 more pending")


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "update proxy_registration set source = 's3://elsewhere' where sequence = 2",
            "row 2 .* was changed",
        ),
        ("update proxy_registration set address = '10.6.6.6' where sequence = 2", "row 2 .* was changed"),
        (
            "update proxy_registration set at = at - interval '1 us' where sequence = 2",
            "row 2 .* was changed",
        ),
        ("update proxy_registration set tags = '{}' where sequence = 2", "row 2 .* was changed"),
        ("update keys_apikey set public_id = 'key_x'", "row 1 .* was changed"),
        ("delete from proxy_registration where sequence = 2", "row 2 is missing: after row 1 comes row 3"),
        ("delete from proxy_registration where sequence < 3", "rows from 1 on are missing: after row 0"),
        (
            "update proxy_registration set hash = repeat('a', 64) where sequence = 2",
            "row 2 .* does not follow",
        ),
        (
            "update proxy_registration set sequence = 9 where sequence = 2; "
            "update proxy_registration set sequence = 2 where sequence = 3; "
            "update proxy_registration set sequence = 3 where sequence = 9",
            "row 2 .registered-models.create of three, .* does not follow",
        ),
        (
            "alter table proxy_registration disable trigger registration_keep",
            "registration_keep is missing or",
        ),
    ],
)
def test_what_a_superuser_changed_with_triggers_off_is_found(statement, problem, three, capsys):
    as_superuser(statement)

    status, out, err = verify(capsys)

    assert status == 1
    assert re.search(problem, err), err
    assert not out


def export(capsys, file) -> None:
    status, out, _ = verify(capsys, "--head")
    assert status == 0
    with file.open("a") as heads:
        heads.write(out)


def test_an_exported_head_is_still_in_the_chain_as_it_grows(three, key, capsys, tmp_path):
    file = tmp_path / "heads.jsonl"
    export(capsys, file)
    row(key, "registered-models.delete", "one")
    export(capsys, file)

    assert [json.loads(line)["sequence"] for line in file.read_text().splitlines()] == [3, 4]
    assert verify(capsys, "--since-head", str(file))[0] == 0


def test_a_tail_that_was_cut_off_is_found_by_an_exported_head(three, capsys, tmp_path):
    file = tmp_path / "heads.jsonl"
    export(capsys, file)
    as_superuser("delete from proxy_registration where sequence = 3")

    assert verify(capsys)[0] == 0  # by itself the chain looks whole
    status, _, err = verify(capsys, "--since-head", str(file))

    assert status == 1
    assert "it reached row 3 when its head was exported" in err
    assert "and ends with row 2 now" in err


def test_a_chain_that_was_hashed_anew_is_found_by_an_exported_head(three, key, capsys, tmp_path):
    file = tmp_path / "heads.jsonl"
    export(capsys, file)
    as_superuser("delete from proxy_registration where sequence = 3")
    row(key, "registered-models.create", "three", source="forged")

    assert verify(capsys)[0] == 0
    status, _, err = verify(capsys, "--since-head", str(file))

    assert status == 1
    assert "the chain was rewritten: row 3 had the hash" in err


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"hash": "x"}'])
def test_a_file_without_heads_is_said_so(content, db, tmp_path):
    file = tmp_path / "heads"
    file.write_text(content)

    with pytest.raises(CommandError, match="--since-head"):
        call_command("verify_ledger", "--since-head", str(file))


def test_an_empty_ledger_is_whole_and_has_no_head(db, capsys):
    assert verify(capsys)[0] == 0
    with pytest.raises(CommandError, match="empty"):
        call_command("verify_ledger", "--head")


def test_the_walk_takes_the_same_memory_however_long_the_chain(three, monkeypatch):
    monkeypatch.setattr(verification, "CHUNK", 1)

    assert verification.verify().rows == 3


# --- queries ----------------------------------------------------------------------------------------------


@pytest.fixture
def bobs_key(key):
    return actions.issue(owner=User.objects.create_user("bob"), name="bob's")[0]


def story(name: str) -> list[str]:
    rows = Registration.objects.effective().of_model("live", name).order_by("id")
    return [f"{found.operation.partition('.')[2]} {found.object_name}" for found in rows]


def test_the_story_of_a_model_goes_on_under_its_new_name(key):
    row(key, "registered-models.create", "old")
    row(key, "model-versions.create", "old", version="1")
    row(key, "registered-models.rename", "old", new_name="new")
    row(key, "registered-models.set-tag", "new")
    row(key, "registered-models.create", "old")
    row(key, "registered-models.rename", "new", new_name="newest")

    assert story("newest") == ["create old", "create old", "rename old", "set-tag new", "rename new"]
    assert story("old") == ["create old", "create old", "rename old", "create old"]


def test_lives_of_a_name_before_the_model_got_it_are_another_story(key):
    row(key, "registered-models.create", "name")
    row(key, "registered-models.delete", "name")
    row(key, "registered-models.create", "name")
    row(key, "registered-models.rename", "name", new_name="other")

    assert story("other") == ["create name", "rename name"]
    assert story("name") == ["create name", "delete name", "create name", "rename name"]


def test_a_rename_that_mlflow_refused_leads_nowhere(key):
    row(key, "registered-models.create", "a")
    row(key, "registered-models.rename", "a", "refused_by_mlflow", new_name="b")

    assert story("b") == []


def test_rows_are_found_by_user_key_time_and_outcome(key, bobs_key):
    first = row(key, "registered-models.create", "m")
    second = row(bobs_key, "registered-models.create", "n")
    third = row(key, "registered-models.create", "n", "refused_by_mlflow")
    rows = Registration.objects

    assert set(rows.by_user(key.owner)) == {first, third}
    assert list(rows.by_key(bobs_key)) == [second]
    assert list(rows.between(second.at, third.at)) == [second]
    assert list(rows.with_outcome("refused_by_mlflow")) == [third]


def test_pages_go_back_in_time_from_a_row(key, django_assert_num_queries):
    rows = [row(key, "registered-models.create", f"m{number}") for number in range(5)]

    with django_assert_num_queries(2):  # two pages
        first = Registration.objects.by_key(key).page(2)
        second = Registration.objects.by_key(key).page(2, before=first[-1].pk)

    assert [found.object_name for found in first + second] == ["m4", "m3", "m2", "m1"]
    assert rows[0] not in first + second
