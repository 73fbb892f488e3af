"""The simulator says what the proxy would, and touches nothing."""

import json

import pytest
from django.core.management import CommandError, call_command

from keys import actions
from keys.models import User
from proxy.models import Call, Owner
from proxy.policy import simulator

RUN = "a" * 32
SET_TAG = "/api/mlflow/api/2.0/mlflow/runs/set-tag"
BODY = json.dumps({"run_id": RUN, "key": "x", "value": "1"}).encode()


@pytest.fixture
def key(db):
    alice = User.objects.create(username="alice")
    Owner.objects.create(environment="live", kind="run", name=RUN, user=alice)
    return actions.issue(owner=alice, name="test")[0]


@pytest.mark.parametrize("mount", ["https://portal.example/api/mlflow", "/api/mlflow", "/mlflow", ""])
def test_a_call_on_ones_own_would_pass_whatever_the_mount(key, mount):
    verdict = simulator.simulate(key, method="POST", target=f"{mount}/api/2.0/mlflow/runs/set-tag", body=BODY)

    assert (verdict.passes, verdict.operation) == (True, "runs.set-tag")
    assert RUN in verdict.message


def test_a_call_on_anothers_would_not_and_the_reason_is_the_proxys(key):
    Owner.objects.update(user=User.objects.create(username="bob"))

    verdict = simulator.simulate(key, method="POST", target=SET_TAG, body=BODY)

    assert (verdict.passes, verdict.status, verdict.reason) == (False, 403, "not_owner")
    assert "belongs to bob" in verdict.message


@pytest.mark.parametrize(
    ("method", "target", "reason"),
    [
        ("GET", "/api/2.0/mlflow/nothing", "not_a_route"),
        ("GET", "/api/2.0/mlflow/%2e%2e/x", "bad_path"),
        ("POST", "/api/2.0/mlflow/runs/delete", "scope"),
        ("GET", "/ajax-api/3.0/mlflow/assistant/config", "route_refused"),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts", "artifact_tree"),
    ],
)
def test_each_step_can_say_no(key, method, target, reason):
    assert simulator.simulate(key, method=method, target=target).reason == reason


def test_a_revoked_key_would_not_pass(key):
    key = actions.revoke(key=key)

    assert simulator.simulate(key, method="GET", target="/version").reason == "revoked_key"


def test_a_canary_opens_nothing_here_either(key):
    canary, _ = actions.issue(owner=key.owner, name="canary", is_canary=True)

    assert simulator.simulate(canary, method="GET", target="/version").reason == "unknown_key"


def test_nothing_is_recorded(key):
    simulator.simulate(
        key, method="POST", target="/api/2.0/mlflow/runs/create", body=b'{"experiment_id":"0"}'
    )

    assert Owner.objects.count() == 1
    assert not Call.objects.exists()


def test_the_command_says_yes(key, capsys):
    call_command("may", key.public_id, "get", "/api/2.0/mlflow/runs/get?run_id=x")

    assert capsys.readouterr().out.startswith("yes: runs.get")


def test_the_command_reads_a_body_and_prints_json(key, tmp_path, capsys):
    file = tmp_path / "body.json"
    file.write_bytes(BODY)

    call_command("may", key.public_id, "post", SET_TAG, "--body", str(file), "--json")

    assert json.loads(capsys.readouterr().out)["operation"] == "runs.set-tag"


def test_the_command_exits_with_1_for_a_no(key, capsys):
    with pytest.raises(SystemExit) as ended:
        call_command("may", key.public_id, "DELETE", "/api/2.0/mlflow/registered-models/delete")

    assert ended.value.code == 1
    assert "no (403): registered-models.delete needs the scope registry:delete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["key_none", "GET", "/version"], "there is no key"), (["", "GET", "/version"], "there is no key")],
)
def test_the_command_says_what_is_wrong(db, arguments, message):
    with pytest.raises(CommandError, match=message):
        call_command("may", *arguments)


def test_the_command_names_a_body_that_cannot_be_read(key, tmp_path):
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("may", key.public_id, "POST", SET_TAG, "--body", str(tmp_path / "none"))
