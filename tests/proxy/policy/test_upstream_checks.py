"""Sources of model versions in other stores than MLflow's own: only in the artifacts of the caller's own run."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from keys.refusals import Refusal
from proxy.models import Owner
from proxy.policy import upstream_checks
from proxy.routes import matching
from tests.echo import Script
from tests.proxy.policy.test_permissions import caller, people  # noqa: F401  a fixture

RUN = "a" * 32
ROOT = f"s3://bucket/1/{RUN}/artifacts"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        *((f"{ROOT}/model", True), (ROOT, True), (f"{ROOT}/a b", False), (f"{ROOT}x/model", False)),
        *(
            (f"{ROOT}/../x", False),
            (f"{ROOT}/%2e%2e/x", False),
            (f"{ROOT}/a?b", False),
            ("s3://bucket", False),
        ),
        *((f"{ROOT}/a\\..\\b", False), (f"{ROOT}/./a", False)),
    ],
)
def test_whether_a_source_is_in_the_artifacts(source, expected):
    assert upstream_checks.is_inside(source, ROOT) is expected
    assert not upstream_checks.is_inside(source, "")


@pytest.mark.parametrize(
    ("user", "source", "run_id", "passes"),
    [
        ("alice", f"{ROOT}/model", RUN, True),
        ("alice", f"{ROOT}/model", "", False),
        ("alice", "s3://bucket/2/other/artifacts/model", RUN, False),
        ("alice", "file:///etc", RUN, False),
        ("bob", f"{ROOT}/model", RUN, False),
        ("bob", "runs:/x/model", RUN, True),
    ],
)
def test_a_source_in_another_store_is_in_the_callers_own_run(user, source, run_id, passes, people, echo):  # noqa: F811
    Owner.objects.create(environment="live", kind="run", name=RUN, user=people["alice"])
    echo.script = Script(body=json.dumps({"run": {"info": {"artifact_uri": ROOT}}}).encode())
    match = matching.match_operation("POST", "/api/2.0/mlflow/model-versions/create")
    content = {"name": "m", "source": source, "run_id": run_id}
    if passes:
        upstream_checks.refuse_foreign_source(caller(people[user]), match, content, url=echo.url)
        return
    with pytest.raises(Refusal) as refused:
        upstream_checks.refuse_foreign_source(caller(people[user]), match, content, url=echo.url)
    assert refused.value.reason == "version_source"


@pytest.mark.parametrize(
    ("get", "configs", "reason"),
    [
        (Script(status=404, body=b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'), b"", ""),
        (Script(body=b'{"scorer": {"scorer_id": "s1"}}'), b'{"configs": []}', ""),
        (
            Script(body=b'{"scorer": {"scorer_id": "s1"}}'),
            b'{"configs": [{"scorer_id": "s1"}]}',
            "scorer_runs",
        ),
        (Script(status=500, body=b"{}"), b'{"configs": []}', "upstream_unreachable"),
        (Script(body=b'{"scorer": {}}'), b'{"configs": []}', "upstream_unreachable"),
    ],
)
def test_a_scorer_that_mlflow_runs_gets_no_new_version(get, configs, reason, monkeypatch, people):  # noqa: F811
    """MLflow's server would run the newest version with its own secrets."""
    asked = []

    def send(url, *, workspace, path, query, **options):
        asked.append((path.rpartition("/")[2], query))
        script = get if path.endswith("/get") else Script(body=configs)
        return SimpleNamespace(status=script.status, data=script.body)

    monkeypatch.setattr(upstream_checks, "send", send)
    match = matching.match_operation("POST", "/api/3.0/mlflow/scorers/register")
    content = {"experiment_id": "7", "name": "is polite", "serialized_scorer": "{}"}
    with nullcontext() if not reason else pytest.raises(Refusal) as refused:
        upstream_checks.refuse_running_scorer(caller(people["alice"]), match, content, url="http://mlflow")
    assert not reason or refused.value.reason == reason
    assert asked[0] == ("get", "experiment_id=7&name=is+polite")
    assert asked[1:2] in ([], [("online-configs", "scorer_ids=s1")], [("online-configs", "scorer_ids=")])
