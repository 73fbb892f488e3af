"""`manage.py doctor`: each thing that can be wrong between here and the registry is told in words."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from mlflow.exceptions import RestException

from keys.credentials import tokens
from portal.doctor.connection import Reply, skew
from portal.doctor.context import Context
from portal.doctor.outcomes import FAILED, OK, SKIPPED, Result
from portal.doctor.read_steps import compare_clocks
from portal.doctor.steps import STEPS, run_steps
from portal.one_machine.ports import free_port
from tests.direct import DirectClient
from tests.portal.far_ends import StandIn, forwarder, server
from tests.portals import portal

ROOT = Path(__file__).resolve().parents[3]
WRITING = {step.name for step in STEPS if step.writes}


def doctor(url: str, key: str = "", **options) -> dict[str, Result]:
    results = {result.step: result for result in run_steps(Context(url=url, key=key, **options))}
    assert list(results) == [step.name for step in STEPS]
    if key:
        assert key not in repr(results)
    return results


def failures(results: dict[str, Result]) -> dict[str, str]:
    """What each failed step says, with its advice."""
    return {
        name: f"{result.detail} {result.advice}"
        for name, result in results.items()
        if result.verdict == FAILED
    }


def steps(results: dict[str, Result], verdict: str) -> set[str]:
    return {name for name, result in results.items() if result.verdict == verdict}


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As a third party runs it: without any of the portal's settings."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "doctor", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONWARNINGS": "error", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


# All is well


def test_it_needs_no_settings_and_says_all_is_well(mlflow_portal, full):
    result = command("--url", mlflow_portal.url, MLFLOW_TRACKING_TOKEN=full["key"])

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].startswith("No step failed: 12 of 20 steps passed")
    assert "the live key is accepted; MLflow is 3." in result.stdout
    assert "the key can read tracking, registry, artifacts, traces" in result.stdout
    assert full["key"] not in result.stdout
    assert full["key"][-4:] not in result.stdout


@pytest.mark.parametrize("path", ["", "/", "/api/mlflow", "/mlflow/"])
def test_without_write_every_form_of_the_address_passes(mlflow_portal, reader, path):
    results = doctor(mlflow_portal.url + path, reader["key"])

    assert failures(results) == {}
    assert steps(results, SKIPPED) == {"TLS"} | WRITING
    assert all(not result.warnings for result in results.values())
    assert all(result.ms >= 0 for result in results.values())
    assert results["X-Request-ID"].detail.startswith("on each of 1")


def test_with_write_every_step_passes_and_what_was_made_is_deleted(mlflow_portal, mlflow_server, full):
    result = command("--url", f"{mlflow_portal.url}/api/mlflow", "--key", full["key"], "--write", "--json")

    report = json.loads(result.stdout)
    assert (result.returncode, report["ok"], result.stderr) == (0, True, "")
    verdicts = {step["step"]: step["verdict"] for step in report["steps"]}
    assert verdicts == {step.name: OK for step in STEPS} | {"TLS": SKIPPED}
    assert all(
        {"step", "verdict", "detail", "advice", "warnings", "ms"} == set(step) for step in report["steps"]
    )
    assert full["key"] not in result.stdout
    direct = DirectClient(mlflow_server.url)
    [run_id] = {step["detail"].split()[1] for step in report["steps"] if step["step"] == "run"}
    assert direct.get_run(run_id).info.lifecycle_stage == "deleted"
    assert direct.list_artifacts(run_id) == []
    with pytest.raises(RestException, match="not found"):
        direct.get_registered_model(f"hokusai-doctor-{full['user_id']}")


def test_what_a_key_may_not_delete_stays_is_named_and_is_used_again(mlflow_portal):
    key = mlflow_portal.issue("doctors-contributor")["key"]

    first, second = (doctor(mlflow_portal.url, key, write=True) for _ in range(2))

    assert failures(first) == failures(second) == {}
    assert first["clean up"].verdict == SKIPPED
    for scope in ("registry:delete", "artifacts:delete", "tracking:delete"):
        assert scope in first["clean up"].detail
    assert "existed already" in second["model"].detail
    assert second["version"].detail.startswith("version 2 of hokusai-doctor-usr_")


def test_an_examination_that_is_broken_off_leaves_nothing(mlflow_portal, mlflow_server, full):
    examination = run_steps(Context(url=mlflow_portal.url, key=full["key"], write=True))
    run_id = next(result.detail.split()[1] for result in examination if result.step == "run")
    examination.close()

    direct = DirectClient(mlflow_server.url)
    assert direct.get_run(run_id).info.lifecycle_stage == "deleted"


# The key


def test_a_key_that_is_not_known_here(mlflow_portal):
    results = doctor(mlflow_portal.url, tokens.generate().secret)

    assert list(failures(results)) == ["key"]
    assert "This API key is not known here" in failures(results)["key"]
    assert results["scopes"].detail == "because “key” failed"
    assert results["without a key"].verdict == OK


def test_a_mistyped_key_is_told_without_being_sent(full):
    mistyped = full["key"][:-1] + ("x" if full["key"][-1] != "x" else "y")

    with server(StandIn()) as (url, shown):
        results = doctor(url, mistyped)

    assert "mistyped: its checksum does not match" in failures(results)["key"]
    assert "It was not sent." in failures(results)["key"]
    assert shown == []


def test_no_key_and_what_is_no_key(mlflow_portal):
    assert "No key was given. Set MLFLOW_TRACKING_TOKEN" in failures(doctor(mlflow_portal.url))["key"]
    assert "is not a Hokusai API key" in failures(doctor(mlflow_portal.url, "a password"))["key"]
    assert (
        "white space around the key"
        in failures(doctor(mlflow_portal.url, f"{tokens.generate().secret}\n"))["key"]
    )


def test_a_revoked_key(mlflow_portal):
    key = mlflow_portal.issue("doctors-patient")
    mlflow_portal.manage("revoke_key", key["id"])

    assert "was revoked" in failures(doctor(mlflow_portal.url, key["key"]))["key"]


def test_a_key_of_another_network(mlflow_portal):
    key = mlflow_portal.issue("doctors-patient", "--network", "192.0.2.0/24")["key"]

    assert (
        "works only from 192.0.2.0/24; this call came from 127.0.0.1"
        in failures(doctor(mlflow_portal.url, key))["key"]
    )


def test_a_read_only_key_with_write_names_the_missing_scope(mlflow_portal, reader):
    result = command("--url", mlflow_portal.url, "--key", reader["key"], "--write")

    words = " ".join(result.stdout.split())
    assert result.returncode == 1
    assert "experiments.create needs the scope tracking:write" in words
    assert "registered-models.create needs the scope registry:write" in words
    assert "→ Ask your administrator for a key with the scope tracking:write." in words
    assert result.stdout.splitlines()[-1].startswith("Failed: run, model. ")
    assert reader["key"] not in result.stdout


def test_a_key_that_may_read_but_a_part(mlflow_portal):
    scopes = ("--scope", "tracking:read", "--scope", "artifacts:read")
    results = doctor(mlflow_portal.url, mlflow_portal.issue("doctors-patient", *scopes)["key"])

    assert failures(results) == {}
    assert results["scopes"].detail.startswith("the key can read tracking, artifacts;")
    assert results["scopes"].warnings == (
        "The key lacks registry:read, traces:read. If that is intended, ignore this warning.",
    )


def test_a_key_that_may_read_nothing(mlflow_portal):
    key = mlflow_portal.issue("doctors-patient", "--scope", "tracking:write")["key"]
    problems = failures(doctor(mlflow_portal.url, key))

    assert list(problems) == ["scopes", "JSON"]
    assert "The key has no read scope" in problems["scopes"]
    assert "needs the scope tracking:read" in problems["JSON"]


def test_a_key_bound_to_names_takes_the_name_that_is_given(mlflow_portal):
    key = mlflow_portal.issue("doctors-patient", "--preset", "full", "--pattern", "team-*")["key"]

    assert (
        "write only registered models named team-*"
        in failures(doctor(mlflow_portal.url, key, write=True))["model"]
    )
    assert failures(doctor(mlflow_portal.url, key, write=True, model="team-doctor")) == {}


def test_what_would_be_sent_in_place_of_the_key_is_a_warning(mlflow_portal, reader, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")

    first, second = doctor(mlflow_portal.url, reader["key"])["key"].warnings
    assert "MLFLOW_TRACKING_USERNAME" in first
    assert ".netrc file has an entry for 127.0.0.1" in second


# What else may answer


def test_mlflow_down_is_named_and_the_key_is_still_tried():
    with portal(mlflow_url=f"http://127.0.0.1:{free_port()}") as running:
        results = doctor(running.url, running.issue("alice")["key"], write=True)

    assert list(failures(results)) == ["MLflow"]
    assert (
        "The portal is up, but MLflow behind it is down: MLflow cannot be reached"
        in failures(results)["MLflow"]
    )
    assert results["key"].detail == "the live key is accepted (but MLflow does not respond)"
    assert results["JSON"].detail == "because “MLflow” failed"


def test_mlflow_itself_without_a_portal(mlflow_server, full):
    problem = failures(doctor(mlflow_server.url, full["key"]))["prefix"]
    assert "An MLflow server (3." in problem
    assert "without the portal in front" in problem


def test_a_host_name_that_the_portal_does_not_know(mlflow_portal):
    with forwarder(mlflow_portal.port, host="127.0.0.2") as port:
        problem = failures(doctor(f"http://127.0.0.2:{port}"))["without a key"]  # health has no host
    assert "does not accept the host name 127.0.0.2" in problem


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((404, {"Content-Type": "text/html"}, b"<h1>Nothing"), "not the Hokusai portal: GET /api/mlflow/health/mlflow "
         "was answered with status 404 (text/html); it calls itself SomethingElse/1.0. The key was not sent."),
        ((200, {}, b"Welcome"), "is not the Hokusai portal"),
        ((502, {"Content-Type": "text/html"}, b"Bad gateway"), "A server in front of the portal responds 502"),
        ((301, {"Location": "https://elsewhere.example/api/mlflow/health/mlflow"}, b""),
         "Use https://elsewhere.example/api/mlflow."),
    ],
)  # fmt: skip
def test_another_server_is_not_shown_the_key(answer, words):
    with server(lambda *_: answer) as (url, shown):
        problem = failures(doctor(f"{url}/api/mlflow", tokens.generate().secret))

    assert list(problem) == ["prefix"]
    assert words in problem["prefix"]
    assert shown == []


def with_body(body: bytes):
    return lambda answer: (answer[0], {**answer[1], "Content-Length": str(len(body))}, body)


@pytest.mark.parametrize(
    ("changes", "step", "words"),
    [
        ({}, "", ""),
        ({"live": lambda answer: (500, answer[1], b"")}, "health", "/health/live failed"),
        ({"keyless": lambda answer: (200, answer[1], b"{}")}, "without a key", "answers without any key"),
        ({"keyless": lambda answer: (401, answer[1], b"<html>")}, "without a key", "was not refused with 401"),
        ({"run": with_body(b'{"run": {}}')}, "run", "does not have the form of MLflow's (KeyError)"),
        ({"run": with_body(b'{"run": {"info": {"run_id": "1", "artifact_uri": "s3://bucket/1"}}}')},
         "artifact PUT", "keeps this run's artifacts at s3:"),
        ({"put": lambda answer: (413, {"Content-Type": "text/html"}, b"")}, "artifact PUT", "limits the size"),
        ({"put": lambda answer: (307, {**answer[1], "Location": "/x"}, b"")}, "artifact PUT", "redirected to /x"),
        ({"get": with_body(b"changed")}, "artifact GET", "came back changed: 7 bytes instead of 1048576"),
        ({"part": lambda answer: (200, {}, answer[2])}, "artifact Range", "status 200 with 1000 bytes came back"),
        ({"part": with_body(b"0" * 1000)}, "artifact Range", "not the one that was requested"),
        ({"model_version": with_body(b'{"model_version": {"version": "1", "run_id": "2"}}')}, "version", "not the one"),
        ({"call": lambda answer: (429, answer[1], b'{"message": "Slowly."}')}, "scopes", "Wait a minute"),
        ({"version": lambda answer: (503, answer[1], b'{"message": "No keys now."}')}, "key", "No keys now."),
        ({"live": lambda answer: (200, {}, answer[2])}, "X-Request-ID", "such as GET /health/live"),
        ({"live": lambda answer: (200, {"X-Request-ID": "1"}, answer[2]),
          "mlflow": lambda answer: (200, {"X-Request-ID": "1"}, answer[2])}, "X-Request-ID", "the same X-Request-ID"),
    ],
)  # fmt: skip
def test_each_step_fails_on_what_it_is_for(changes, step, words):
    with server(StandIn(**changes)) as (url, _):
        problems = failures(doctor(url, tokens.generate().secret, write=True))

    assert (step in problems) if step else (problems == {})
    assert words in problems.get(step, "")


# What it says


def test_the_clock():
    assert skew("Mon, 23 Nov 2026 12:00:00 GMT", 1795435200.2, 1795435200.4) == 0
    assert skew("Mon, 23 Nov 2026 12:10:00 GMT", 1795435200.0, 1795435201.0) == 599
    assert skew("Mon, 23 Nov 2026 11:50:00 GMT", 1795435200.0, 1795435201.0) == -599
    assert skew("soon", 0, 1) is None

    def seen(*skews: float | None) -> Context:
        context = Context(url="http://127.0.0.1")
        context.connection.replies += [
            Reply(method="GET", path="/", status=200, headers={}, body=b"", skew=each) for each in skews
        ]
        return context

    for behind, words in ((599.0, "599 s behind the portal's"), (-599.0, "599 s ahead of the portal's")):
        context = seen(behind, behind * 2)
        compare_clocks(context)
        assert words in context.warnings[0]
    well = seen(0.0, None)
    assert compare_clocks(well) == "this machine's clock and the portal's agree"
    assert well.warnings == []


def test_the_words_for_people_are_calm():
    output = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", url="http://127.0.0.1:9", key="", stdout=output, no_color=True)

    lines = output.getvalue().splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert " ".join(lines[2].split()[4:]).startswith("Nothing listens on 127.0.0.1, port 9")
    assert lines[3].startswith(" " * 34 + "→ Check the host and the port")
    assert f"skipped  TLS{' ' * 22}because “TCP” failed" in lines
    assert f"skipped  clock{' ' * 20}″" in lines
    assert lines[-1].startswith("Failed: TCP. 2 of 20 steps passed, 17 were skipped")


def test_every_step_is_documented():
    page = (ROOT / "docs" / "doctor.md").read_text()
    assert [step.name for step in STEPS if f"| {step.name} |" not in page] == []
