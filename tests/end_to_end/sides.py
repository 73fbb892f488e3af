"""Organisations on a real MLflow, each with a person, a key and an object of every kind."""

import json
import secrets
from dataclasses import dataclass, field
from functools import cached_property

from tests.portals import Portal, Reply
from tests.sessions import Browser, sign_in

V2, V3 = "/api/2.0/mlflow", "/api/3.0/mlflow"
STORE = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass
class Work:
    """Ids of objects of every kind, by the name of the field in which a call names them."""

    ids: dict[str, str] = field(default_factory=dict)

    def madeup(self) -> "Work":
        """Ids of the same form that nobody has, as long as these."""
        return Work({name: other_of_its_form(value) for name, value in self.ids.items()})


def other_of_its_form(value: str) -> str:
    if value.isdigit():
        return ("9" if value.strip("9") else "8") * len(value)
    head = value[: max(value.rfind("-"), value.rfind("_")) + 1]
    tail = value[len(head) :]
    return head + "".join(secrets.choice("0123456789abcdef") for _ in tail)


@dataclass
class Side:
    """An organisation, a key of it that may write everything, and what it made."""

    portal: Portal
    slug: str
    key: str
    marker: str = ""
    work: Work = field(default_factory=Work)
    person: str = ""
    key_id: str = ""

    def call(self, method: str, path: str, body: object = None) -> Reply:
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        headers = [("Content-Type", "application/json")] if body is not None else []
        return self.portal.request(method, f"/api/mlflow{path}", key=self.key, body=body, headers=headers)

    def make(self, path: str, content: dict, *result: str) -> str:
        reply = self.call("POST", path, content)
        assert reply.status == 200, (path, reply.body)
        made = reply.json()
        for name in result:
            made = made[name]
        return str(made)


class BySession(Side):
    """The same with a signed-in person's session, on MLflow's pages and the portal's own."""

    def call(self, method: str, path: str, body: object = None) -> Reply:
        path = f"/mlflow{path.replace('/api/', '/ajax-api/', 1)}"
        return self.browser.call(method, path, body)

    @cached_property
    def browser(self) -> Browser:
        return sign_in(self.portal, self.person)


def new_side(portal: Portal, name: str, *options: str) -> Side:
    """An organisation, the person who owns it, and a key of this person with the options."""
    slug, person = f"{name}-{secrets.token_hex(4)}", f"person-{secrets.token_hex(4)}"
    portal.manage("organisation", "create", slug)
    portal.manage("revoke_key", portal.issue(person)["id"])  # issuing creates the user
    portal.manage("organisation", "add-member", slug, person, "--role", "owner")
    issued = portal.issue(person, "--preset", "full", "--organisation", slug, *options)
    return Side(portal, slug, issued["key"], person=person, key_id=issued["id"])


def make_side(portal: Portal, name: str) -> Side:
    """A side with work. The marker is also the key's name, which lists and exports have."""
    marker = f"marker{secrets.token_hex(8)}"
    side = new_side(portal, name, "--any-owner", "--name", marker)
    side.marker = marker
    side.work = make_work(side)
    # A version's manifest, which the portal makes later.
    portal.manage("hash_artifacts", "--name", side.work.ids["name"], "--organisation", side.slug)
    return side


def make_experiment(side: Side, tag: dict[str, str]) -> tuple[str, str]:
    """Id and name of an experiment. MLflow counts: an id of nines is nobody's if this one is well below it."""
    while True:
        name = f"experiment-{secrets.token_hex(6)}"
        content = {"name": name, "tags": [tag]}
        experiment = side.make(f"{V2}/experiments/create", content, "experiment_id")
        if len(experiment) > 1 and experiment[0] != "9":
            return experiment, name


def make_work(side: Side) -> Work:
    """An object of every kind with the marker in it."""
    mark, name = side.marker, f"model-{secrets.token_hex(6)}"
    tag = {"key": "note", "value": mark}
    experiment, experiment_name = make_experiment(side, tag)
    run = side.make(
        f"{V2}/runs/create", {"experiment_id": experiment, "tags": [tag]}, "run", "info", "run_id"
    )
    batch = {
        "run_id": run,
        "metrics": [{"key": mark, "value": 1, "timestamp": 1, "step": 1}],
        "params": [{"key": "p", "value": mark}],
    }
    side.make(f"{V2}/runs/log-batch", batch)
    dataset_input = {"dataset": {"name": mark, "digest": "d", "source_type": "local", "source": mark}}
    side.make(f"{V2}/runs/log-inputs", {"run_id": run, "datasets": [dataset_input]})
    logged = {"experiment_id": experiment, "source_run_id": run, "name": "m", "tags": [tag]}
    model = side.make(f"{V2}/logged-models", logged, "model", "info", "model_id")
    side.make(
        f"{V2}/registered-models/create", {"name": name, "description": mark}, "registered_model", "name"
    )
    file = f"{STORE}/{experiment}/{run}/artifacts/m/{mark}.txt"  # of the version, so that its manifest has the marker
    assert side.call("PUT", file, mark.encode()).status == 200
    version = {"name": name, "source": f"runs:/{run}/m", "run_id": run, "description": mark, "tags": [tag]}
    side.make(f"{V2}/model-versions/create", version, "model_version", "version")
    side.make(f"{V2}/registered-models/alias", {"name": name, "alias": "champion", "version": "1"})
    for path in (f"{experiment}/{run}/artifacts/x.txt", f"{experiment}/models/{model}/artifacts/x.txt"):
        assert side.call("PUT", f"{STORE}/{path}", mark.encode()).status == 200
    trace = f"tr-{secrets.token_hex(16)}"
    started = start_trace(trace, experiment)
    started["trace"]["trace_info"] |= {"tags": {"note": mark}, "request_preview": mark}
    side.make(f"{V3}/traces", started)
    said = new_assessment(side, trace)
    assessment = side.make(
        f"{V3}/traces/{trace}/assessments", {"assessment": said}, "assessment", "assessment_id"
    )
    content = {"name": f"data-{mark}", "experiment_ids": [experiment], "tags": json.dumps({"note": mark})}
    dataset = side.make(f"{V3}/datasets/create", content, "dataset", "dataset_id")
    issue = {"experiment_id": experiment, "name": mark, "description": mark, "source_run_id": run}
    issue_id = side.make(f"{V3}/issues", issue, "issue", "issue_id")
    schema = {"experiment_id": experiment, "name": mark, "type": "FEEDBACK", "input": {"text": {}}}
    schema_id = side.make(f"{V3}/label-schemas/create", schema, "label_schema", "schema_id")
    queue = {"experiment_id": experiment, "name": mark, "queue_type": "CUSTOM"}
    queue_id = side.make(f"{V3}/review-queues/create", queue, "review_queue", "queue_id")
    return Work(
        {
            "experiment_id": experiment,
            "run_id": run,
            "model_id": model,
            "name": name,
            "trace_id": trace,
            "assessment_id": assessment,
            "dataset_id": dataset,
            "issue_id": issue_id,
            "schema_id": schema_id,
            "queue_id": queue_id,
            "experiment_name": experiment_name,
        }
    )


def new_assessment(side: Side, trace: str) -> dict:
    """What the side's person says of a trace, with the marker."""
    return {
        "assessment_name": side.marker,
        "trace_id": trace,
        "source": {"source_type": "HUMAN", "source_id": side.person},
        "create_time": "2026-01-01T00:00:00Z",
        "last_update_time": "2026-01-01T00:00:00Z",
        "feedback": {"value": side.marker},
        "valid": True,
    }


def start_trace(trace: str, experiment: str) -> dict:
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    info = {
        "trace_id": trace,
        "trace_location": location,
        "request_time": "2026-01-01T00:00:00Z",
        "state": "OK",
    }
    return {"trace": {"trace_info": info}}
