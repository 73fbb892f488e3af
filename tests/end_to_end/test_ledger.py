"""What the ledger tells of a day with the stock client, of crashes, and of a key that leaked."""

import csv
import http.client
import io
import json
import os
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.portals import Portal, portal, wait_for

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]

TAGS = {"hokusai_token_id": "msg-ai", "benchmark_metric": "accuracy", "benchmark_value": "0.9"}
API = "/api/mlflow/api/2.0/mlflow"


@dataclass
class Person:
    portal: Portal
    issued: dict
    monkeypatch: pytest.MonkeyPatch

    @property
    def client(self) -> MlflowClient:
        self.monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", self.issued["key"])
        mlflow.set_tracking_uri(f"{self.portal.url}/api/mlflow")
        return MlflowClient()

    def register(self, name: str, tags: dict[str, str] | None = None) -> str:
        """A version of a model of that name, made if there is none, from a run of one's own."""
        client = self.client
        run = client.create_run("0").info.run_id
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            assert error.error_code == "RESOURCE_ALREADY_EXISTS"
        return client.create_model_version(name, f"runs:/{run}/model", run_id=run, tags=tags).version


@pytest.fixture
def alice(mlflow_portal, monkeypatch) -> Person:
    return Person(mlflow_portal, mlflow_portal.issue("alice", "--preset", "full"), monkeypatch)


@pytest.fixture
def bob(mlflow_portal, monkeypatch) -> Person:
    return Person(mlflow_portal, mlflow_portal.issue("bob", "--preset", "full"), monkeypatch)


@pytest.fixture
def name() -> str:
    return f"ledger-{secrets.token_hex(4)}"


def rows(portal: Portal, *keys: dict) -> list[dict]:
    """What these keys did, in order."""
    return portal.rows(
        "select r.*, u.username, k.public_id from proxy_registration r join keys_user u on u.id = r.user_id "
        "join keys_apikey k on k.id = r.key_id where k.public_id = any(%s) order by r.id",
        [key["id"] for key in keys],
    )


@pytest.mark.filterwarnings("ignore")
def test_the_ledger_tells_who_registered_what_through_renames_and_deletions(alice, bob, name, mlflow_portal):
    alice.register(name, TAGS)
    alice.register(name)
    bob.register(f"{name}-bobs", {"hokusai_token_id": "-bad-"})
    alice.client.set_model_version_tag(name, "2", "benchmark_value", "0.8")
    alice.client.rename_registered_model(name, f"{name}-new")
    alice.client.transition_model_version_stage(f"{name}-new", "1", "Production")
    alice.client.set_registered_model_alias(f"{name}-new", "champion", "2")
    alice.client.delete_model_version(f"{name}-new", "2")
    bob.client.delete_registered_model(f"{name}-bobs")
    bob.register(f"{name}-bobs", TAGS)

    told = rows(mlflow_portal, alice.issued)
    assert [(row["operation"], row["object_name"], row["version"], row["outcome"]) for row in told] == [
        ("registered-models.create", name, "", "done"),
        ("model-versions.create", name, "1", "done"),
        ("registered-models.create", name, "", "refused_by_mlflow"),
        ("model-versions.create", name, "2", "done"),
        ("model-versions.set-tag", name, "2", "done"),
        ("registered-models.rename", name, "", "done"),
        ("model-versions.transition-stage", f"{name}-new", "1", "done"),
        ("registered-models.set-alias", f"{name}-new", "2", "done"),
        ("model-versions.delete", f"{name}-new", "2", "done"),
    ]
    assert {row["username"] for row in told} == {"alice"}
    assert told[2]["reason"] == "RESOURCE_ALREADY_EXISTS"
    assert told[1]["tags"].items() >= TAGS.items()
    assert told[1]["source"] == f"runs:/{told[1]['run_id']}/model"
    assert told[5]["new_name"] == f"{name}-new"
    assert told[6]["detail"]["stage"] == "Production"

    bobs = rows(mlflow_portal, bob.issued)
    made = [row for row in bobs if row["operation"] == "model-versions.create"]
    assert [row["version"] for row in made] == ["1", "1"]  # a model made again counts from 1
    assert made[0]["created_ms"] < made[1]["created_ms"]
    version = alice.client.get_model_version(f"{name}-bobs", "1")
    assert made[1]["created_ms"] == version.creation_timestamp

    script = (
        "from proxy.models import Registration as R; from proxy.ledger import compliance; import json; "
        f"story = R.objects.effective().of_model('live', '{name}-new').order_by('id'); "
        f"versions = list(R.objects.versions().filter(object_name__startswith='{name}').order_by('id')); "
        "now = compliance.current_versions(versions); "
        "print(json.dumps({'story': [row.operation for row in story], "
        "'rules': [[str(row.tag_rules), str(now[row.pk].finding), now[row.pk].is_deleted] for row in versions]}))"
    )
    found = json.loads(mlflow_portal.manage("shell", "--no-imports", "-c", script).stdout)
    assert len(found["story"]) == 8  # what was refused is not part of it
    complete, missing = "complete", "missing; hokusai_token_id is missing; benchmark_metric is missing"
    assert found["rules"] == [
        [complete, complete, False],
        [f"{missing}; benchmark_value is missing", missing, True],
        [
            "malformed; hokusai_token_id starts or ends with a hyphen; benchmark_metric is missing; "
            "benchmark_value is missing",
        ]
        * 2
        + [True],
        [complete, complete, False],
    ]
    assert mlflow_portal.manage("verify_ledger").stdout.startswith("The ledger is whole")


@pytest.mark.filterwarnings("ignore")
def test_prompts_and_logged_models_are_in_it(alice, name, mlflow_portal):
    client = alice.client
    mlflow.genai.register_prompt(name=name, template="Say {{word}}")
    experiment = client.create_experiment(name)
    model = client.create_logged_model(experiment, name="net").model_id
    client.set_logged_model_tags(model, {"a": "1"})
    client.finalize_logged_model(model, "READY")
    client.delete_logged_model(model)

    told = rows(mlflow_portal, alice.issued)
    assert {row["outcome"] for row in told} == {"done"}
    prompts = [row["operation"] for row in told if row["is_prompt"]]
    assert prompts == ["registered-models.create", "model-versions.create"]
    assert [row["operation"] for row in told if row["kind"] == "logged_model"] == [
        "logged-models.create",
        "logged-models.set-tags",
        "logged-models.finalize",
        "logged-models.delete",
    ]
    assert {row["object_name"] for row in told if row["kind"] == "logged_model"} == {model}


# --- crashes ----------------------------------------------------------------------------------------------


class Crash(ThreadingHTTPServer):
    """Stands before MLflow and kills the portal, with `kill -9`, when a creation comes by: before it is handed
    on, or when MLflow has answered it."""

    daemon_threads = True

    def __init__(self, upstream: str, *, after: bool) -> None:
        super().__init__(("127.0.0.1", 0), Relay)
        self.upstream, self.after = urlsplit(upstream), after
        self.victim = 0
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """The portal is dead; there is nobody to answer."""


class Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Crash

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        crashes = self.path.endswith("/create") and self.server.victim
        if crashes and not self.server.after:
            os.killpg(self.server.victim, signal.SIGKILL)
            return
        connection = http.client.HTTPConnection(self.server.upstream.netloc, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if crashes:
            assert answer.status == 200, content
            os.killpg(self.server.victim, signal.SIGKILL)
            return
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = relay  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def crashing_portal(mlflow_portal: Portal, mlflow_url: str, *, after: bool) -> Iterator[Portal]:
    """A second portal on the first's database, which dies in the midst of its first creation."""
    server = Crash(mlflow_url, after=after)
    try:
        with portal(mlflow_url=server.url, database=mlflow_portal.database) as running:
            server.victim = running.process.pid
            yield running
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("after", [False, True], ids=["before MLflow was called", "after MLflow's answer"])
def test_a_crash_leaves_a_pending_row_which_reconcile_settles_rightly(
    after, alice, name, mlflow_portal, mlflow_server
):
    with crashing_portal(mlflow_portal, mlflow_server.url, after=after) as dying:
        with pytest.raises((OSError, http.client.HTTPException)):
            dying.request(
                "POST", f"{API}/registered-models/create", key=alice.issued["key"], body={"name": name}
            )
        dying.process.wait(10)
    [row] = rows(mlflow_portal, alice.issued)
    assert (row["outcome"], row["object_name"]) == ("pending", name)

    result = mlflow_portal.manage("reconcile", "--all", "--json", check=False)

    assert result.returncode == 1
    settled = [found for found in json.loads(result.stdout)["settled"] if found["name"] == name]
    assert [found["outcome"] for found in settled] == ["done" if after else "not_done"]
    [row] = rows(mlflow_portal, alice.issued)
    assert (row["outcome"], row["reason"]) == ("done" if after else "not_done", "reconciled")
    if after:
        assert row["created_ms"] == alice.client.get_registered_model(name).creation_timestamp
        alice.client.update_registered_model(name, "still mine")  # the owner was written down, too
    else:
        alice.client.create_registered_model(name)
    assert mlflow_portal.manage("verify_ledger").returncode == 0


# --- a key that leaked ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_the_blast_radius_of_a_key_and_quarantine_for_what_it_registered(alice, bob, name, mlflow_portal):
    alice.register(name)
    alice.register(name)
    alice.register(f"=cmd {name}")
    alice.client.rename_registered_model(name, f"{name}-new")
    run = alice.client.create_run("0").info.run_id
    alice.client.log_metric(run, "loss", 1)
    alice.client.log_metric(run, "loss", 2)
    alice.client.delete_model_version(f"{name}-new", "2")
    bob.register(f"{name}-bobs")
    alice.register(f"{name}-again")
    alice.client.delete_registered_model(f"{name}-again")
    bob.register(f"{name}-again")
    mlflow_portal.calls(at_least=2, operation="runs.log-metric", object_name=run)
    leaked = alice.issued["id"]

    output = mlflow_portal.manage("blast_radius", "--key", leaked, "--since", "1h", "--csv").stdout
    touched = list(csv.DictReader(io.StringIO(output)))
    registered = [row for row in touched if row["where"] == "ledger"]
    assert [row["operation"] for row in registered if row["outcome"] == "done"] == [
        "registered-models.create",
        "model-versions.create",
        "model-versions.create",
        "registered-models.create",
        "model-versions.create",
        "registered-models.rename",
        "model-versions.delete",
        "registered-models.create",
        "model-versions.create",
        "registered-models.delete",
    ]
    assert f"'=cmd {name}" in {row["name"] for row in registered}  # a spreadsheet must not compute it
    assert run in {row["name"] for row in touched if row["where"] == "owners"}
    [metrics] = [row for row in touched if row["operation"] == "runs.log-metric"]
    assert (metrics["name"], metrics["times"]) == (run, "2")
    assert not any("bobs" in row["name"] for row in touched)
    table = mlflow_portal.manage("blast_radius", "--user", "bob", "--since", "1h").stdout
    assert f"{name}-bobs" in table
    assert f"{name}-new" not in table

    mlflow_portal.manage("revoke_key", leaked)
    marked = mlflow_portal.manage(
        "quarantine", "--key", leaked, "--since", "1h", "--reason", "leaked", "--json"
    )
    assert [(mark["name"], mark["version"], mark["result"]) for mark in json.loads(marked.stdout)] == [
        (f"{name}-new", "1", "marked"),
        (f"{name}-new", "2", "gone"),
        (f"=cmd {name}", "1", "marked"),
        (f"{name}-again", "1", "gone"),
    ]
    assert "hokusai.quarantine" not in bob.client.get_model_version(f"{name}-again", "1").tags
    assert bob.client.get_model_version(f"{name}-new", "1").tags["hokusai.quarantine"] == "leaked"
    assert "hokusai.quarantine" not in bob.client.get_model_version(f"{name}-bobs", "1").tags
    [entry, _] = mlflow_portal.rows(
        "select * from proxy_registration where actor = 'quarantine' and position(%s in object_name) > 0 "
        "order by id",
        name,
    )
    assert (entry["operation"], entry["version"], entry["outcome"]) == ("model-versions.set-tag", "1", "done")
    assert entry["tags"] == {"hokusai.quarantine": "leaked"}
    again = mlflow_portal.manage("quarantine", "--key", leaked, "--since", "1h")
    assert again.stdout.count("marked before") == 2

    with pytest.raises(MlflowException, match="quarantine"):
        bob.client.delete_model_version_tag(f"{name}-bobs", "1", "hokusai.quarantine")
    with pytest.raises(MlflowException, match="quarantine"):
        bob.register(f"{name}-bobs", {"hokusai.quarantine": "no"})


@pytest.mark.filterwarnings("ignore")
def test_the_same_over_the_management_api(alice, bob, name, mlflow_portal):
    alice.register(name)
    bob.register(f"{name}-bobs")
    since, leaked = "2026-01-01T00:00:00Z", alice.issued["id"]
    mlflow_portal.manage(
        "shell", "-c", "from keys.models import User; User.objects.create_superuser('quarantine-admin')"
    )
    admin = mlflow_portal.issue("quarantine-admin", "--scope", "portal:admin")
    reader = mlflow_portal.issue("quarantine-admin", "--scope", "portal:read")

    def quarantine(key: dict):
        body = {"since": since, "reason": "leaked"}
        return mlflow_portal.request("POST", f"/api/v1/keys/{leaked}/quarantine", key=key["key"], body=body)

    assert quarantine(reader).status == quarantine(alice.issued).status == 403
    assert "hokusai.quarantine" not in bob.client.get_model_version(name, "1").tags
    for result in ("marked", "marked before"):
        found = quarantine(admin).json()["results"]
        assert [(mark["name"], mark["version"], mark["result"]) for mark in found] == [(name, "1", result)]
    assert bob.client.get_model_version(name, "1").tags["hokusai.quarantine"] == "leaked"
    assert "hokusai.quarantine" not in bob.client.get_model_version(f"{name}-bobs", "1").tags
    run = alice.client.get_model_version(name, "1").run_id
    path = f"/api/v1/keys/{leaked}/touched?since={since}"
    touched = mlflow_portal.request("GET", path, key=admin["key"]).json()["results"]
    assert {(row["operation"], row["outcome"]) for row in touched if row["where"] == "ledger"} == {
        ("registered-models.create", "done"),
        ("model-versions.create", "done"),
    }
    [(who,)] = mlflow_portal.sql(
        "select u.username from proxy_registration r join keys_user u on u.id = r.user_id "
        "where actor = 'quarantine' and object_name = %s",
        name,
    )
    assert who == "quarantine-admin"

    for harm in (
        lambda: alice.client.delete_model_version(name, "1"),
        lambda: alice.client.set_registered_model_alias(name, "champion", "1"),
        lambda: alice.client.transition_model_version_stage(name, "1", "Production"),
        lambda: alice.client.rename_registered_model(name, f"{name}-new"),
        lambda: alice.client.delete_registered_model(name),
        lambda: bob.client.create_model_version(f"{name}-bobs", f"models:/{name}/1"),
        lambda: alice.client.delete_run(run),
        lambda: alice.client.log_text(run, "another", "model/MLmodel"),
    ):
        with pytest.raises(Exception, match="is in quarantine since"):
            harm()
    alice.client.log_metric(run, "loss", 1)

    def lift(key: dict):
        body = {"name": name, "version": "1", "reason": "checked"}
        return mlflow_portal.request("POST", "/api/v1/quarantine/lift", key=key["key"], body=body)

    assert lift(reader).status == lift(alice.issued).status == 403
    assert lift(admin).json()["result"] == "lifted"
    assert lift(admin).json()["result"] == "not marked"
    assert "hokusai.quarantine" not in bob.client.get_model_version(name, "1").tags
    alice.client.set_registered_model_alias(name, "champion", "1")
    [(detail,)] = mlflow_portal.sql(
        "select detail from proxy_registration where actor = 'quarantine' and object_name = %s "
        "and operation = 'model-versions.delete-tag'",
        name,
    )
    assert detail == {"lift_reason": "checked"}
    alice.client.log_text(run, "another", "model/MLmodel")
    alice.client.delete_run(run)


@pytest.mark.filterwarnings("ignore")
def test_a_command_lifts_quarantine_with_a_reason(alice, name, mlflow_portal):
    alice.register(name)
    run = alice.client.get_model_version(name, "1").run_id
    alice.client.log_metric(run, "loss", 1)  # the portal now remembers that nothing is in quarantine
    since = ["quarantine", "--key", alice.issued["id"], "--since", "1h"]
    assert "marked" in mlflow_portal.manage(*since).stdout
    upload = f"/api/mlflow/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/model/MLmodel"

    def overwrite() -> int:
        return mlflow_portal.request("PUT", upload, key=alice.issued["key"], body=b"another").status

    assert wait_for(overwrite, lambda status: status == 403, seconds=1) == 403, "within a second"
    with pytest.raises(MlflowException, match="quarantine --lift"):
        alice.client.delete_model_version(name, "1")

    without = mlflow_portal.manage("quarantine", "--lift", name, "1", check=False)
    lifted = mlflow_portal.manage("quarantine", "--lift", name, "1", "--reason", "checked")

    assert without.returncode == 1
    assert "--reason" in without.stderr
    assert lifted.stdout == f"{name} version 1: lifted\n"
    alice.client.delete_model_version(name, "1")
    assert mlflow_portal.manage("verify_ledger").returncode == 0


@pytest.mark.filterwarnings("ignore")
def test_parallel_registrations_by_the_stock_client_make_one_chain(alice, name, mlflow_portal):
    client = alice.client
    client.create_registered_model(name)
    run = client.create_run("0").info.run_id
    with ThreadPoolExecutor(8) as pool:
        versions = list(
            pool.map(
                lambda number: client.create_model_version(name, f"runs:/{run}/model", run_id=run).version,
                range(16),
            )
        )

    told = [row for row in rows(mlflow_portal, alice.issued) if row["operation"] == "model-versions.create"]
    assert sorted(row["version"] for row in told if row["outcome"] == "done") == sorted(map(str, versions))
    assert json.loads(mlflow_portal.manage("verify_ledger", "--json").stdout)["ok"]
