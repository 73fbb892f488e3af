"""Every operation under every preset, by the decision that the proxy makes."""

import json
from dataclasses import replace

import pytest
from django.utils import timezone

from keys import actions
from keys.actions import organisations
from keys.credentials.caller import Caller
from keys.models import User
from keys.refusals import Refusal
from keys.rights.scopes import Preset
from proxy.models import Owner
from proxy.policy import permissions
from proxy.policy.decisions import Decision, ReceivedRequest
from proxy.routes import matching
from proxy.routes.operations import ObjectField, Operation
from proxy.routes.table import OPERATIONS

SERVED = [operation for operation in OPERATIONS if not operation.refused]
NAMES = {
    "experiment": "7",
    "run": "a" * 32,
    "logged_model": "m-" + "b" * 32,
    "registered_model": "model",
    "trace": "tr-" + "c" * 32,
    "artifact": "7/" + "a" * 32 + "/artifacts/x.txt",
}
EXPERIMENT_HEADER = {"x-mlflow-experiment-id": "7", "content-type": "application/x-protobuf"}


def name_of(field: ObjectField) -> str:
    return NAMES.get(field.kind, f"{field.kind}-1")


def put(content: dict, field: str, value: object) -> None:
    """Set `a.b[].c` in nested objects and lists."""
    head, _, rest = field.partition(".")
    name = head.rstrip("[]{}")
    if head.endswith("{}"):
        content.setdefault(name, {})[value] = "1"
    elif head.endswith("[]"):
        items = content.setdefault(name, [{}] if rest else [value])
        if rest:
            put(items[0], rest, value)
    elif rest:
        put(content.setdefault(name, {}), rest, value)
    else:
        content[name] = value


def received(operation: Operation) -> ReceivedRequest:
    """A call of this operation that names an object of each kind it may name."""
    content: dict = {}
    arguments: dict[str, str] = {}
    for place in (*operation.targets, *operation.parents, *operation.claims):
        if place.field.startswith("{"):
            arguments[place.field.strip("{}")] = name_of(place)
        elif not place.field.startswith("@") and place.field != "otlp":
            put(content, place.field, name_of(place))
    if operation.name == "registered-models.create":
        content["name"] = "new"
    if operation.name == "registered-models.rename":
        content["new_name"] = "new"
    path = operation.path
    for segment in path.split("/"):
        if segment.startswith("{"):
            name = segment.strip("{}").removesuffix(":path")
            path = path.replace(
                segment, arguments.get(name, NAMES["artifact"] if ":path" in segment else "x")
            )
    query = f"path={NAMES['artifact']}" if operation.name == "artifacts.list" else ""
    body = b"" if operation.name == "traces.export-otlp" else json.dumps(content).encode()
    match = matching.match_operation(operation.method, path)
    return ReceivedRequest(match=match, query=query, headers=EXPERIMENT_HEADER, body=body)


@pytest.fixture(autouse=True)
def _direct_artifacts(settings):
    """One row of the table is served only then."""
    settings.DIRECT_ARTIFACTS = True


@pytest.fixture
def people(db):
    return {name: User.objects.create(username=name) for name in ("alice", "bob")}


def caller(owner: User, **rights) -> Caller:
    key, _ = actions.issue(owner=owner, name="test", **rights)
    return Caller.by_key(key)


def give(owner: User, operation: Operation) -> None:
    """Make everything that the operation names this user's."""
    for place in (*operation.targets, *operation.parents):
        kind, name = place.kind, name_of(place)
        if kind == "artifact":
            kind, name = "run", NAMES["run"]
        Owner.objects.get_or_create(environment="live", kind=kind, name=name, defaults={"user": owner})


def call(method: str, path: str, **rest) -> ReceivedRequest:
    return ReceivedRequest(match=matching.match_operation(method, path), **rest)


def decide(who: Caller, request: ReceivedRequest) -> Decision:
    return permissions.decide(who, request).enforce()


def verdict(who: Caller, operation: Operation) -> str:
    try:
        decide(who, received(operation))
    except Refusal as refusal:
        return refusal.reason
    return "passes"


@pytest.mark.parametrize("preset", Preset)
@pytest.mark.parametrize("operation", SERVED, ids=lambda operation: f"{operation.method} {operation.path}")
def test_an_operation_on_ones_own_passes_exactly_with_its_scopes(people, preset, operation):
    give(people["alice"], operation)
    who = caller(people["alice"], scopes=preset.scopes)
    needed = {scope.partition(":")[2] for scope in operation.scopes}
    allowed = {"reader": {"read"}, "contributor": {"read", "write"}, "full": {"read", "write", "delete"}}

    assert verdict(who, operation) == ("passes" if needed <= allowed[preset] else "scope")


WRITES = [
    operation for operation in SERVED if not operation.is_read and (operation.targets or operation.parents)
]


@pytest.mark.parametrize("operation", WRITES, ids=lambda operation: f"{operation.method} {operation.path}")
def test_a_write_to_anothers_or_nobodys_is_refused_unless_the_key_may_write_any(people, operation):
    bob = caller(people["bob"], scopes=Preset.FULL.scopes)
    any_owner = caller(people["bob"], scopes=Preset.FULL.scopes, any_owner=True)

    assert verdict(bob, operation) == "not_owner"
    give(people["alice"], operation)
    assert verdict(bob, operation) == "not_owner"
    assert verdict(any_owner, operation) == "passes"


def test_a_field_that_names_another_user_is_refused(people):
    who = caller(people["alice"], scopes=Preset.FULL.scopes)
    path, body = "/api/3.0/mlflow/review-queues/get-or-create-user", json.dumps({"user": "bob"}).encode()

    with pytest.raises(Refusal) as refused:
        decide(who, call("POST", path, body=body))

    assert (refused.value.status, refused.value.reason) == (403, "other_user")


TWO_PLACES = [operation for operation in WRITES if len(operation.targets) > 1]


@pytest.mark.parametrize(
    "operation", TWO_PLACES, ids=lambda operation: f"{operation.method} {operation.path}"
)
def test_where_two_places_name_an_object_both_must_be_ones_own(people, operation):
    bob = caller(people["bob"], scopes=Preset.FULL.scopes)
    wanted = received(operation)
    content = json.loads(wanted.body or b"{}")
    for index, place in enumerate(operation.targets):
        if place.field.startswith("{"):
            continue
        Owner.objects.all().delete()
        for other, kind in enumerate(operation.targets):
            if other != index:
                mine = {"environment": "live", "kind": kind.kind, "name": name_of(kind)}
                Owner.objects.get_or_create(**mine, defaults={"user": people["bob"]})
        theirs = dict(content)
        field = place.field
        theirs.pop(field.partition("[")[0].partition(".")[0], None)
        foreign = name_of(place)[:-1] + "d"
        put(theirs, field, foreign)
        Owner.objects.create(environment="live", kind=place.kind, name=foreign, user=people["alice"])

        with pytest.raises(Refusal, match="belongs to"):
            decide(bob, replace(wanted, body=json.dumps(theirs).encode()))


def test_a_missing_scope_is_named_with_the_operation_and_what_the_key_has(people):
    who = caller(people["alice"], scopes=["tracking:read", "registry:read"])

    with pytest.raises(Refusal) as refused:
        decide(who, call("POST", "/api/2.0/mlflow/runs/create", body=b"{}"))

    assert refused.value.status == 403
    for words in ("runs.create", "needs the scope tracking:write", "has tracking:read, registry:read"):
        assert words in refused.value.message


def test_a_pattern_limits_the_models_that_a_key_writes(people):
    who = caller(people["alice"], patterns=["team-*", "demo"], any_owner=True)

    def create(name: str) -> str:
        body = json.dumps({"name": name}).encode()
        try:
            decide(who, call("POST", "/api/2.0/mlflow/registered-models/create", body=body))
        except Refusal as refusal:
            return refusal.reason
        return "passes"

    assert [create(name) for name in ("team-a", "demo", "Team-a", "demo2", "xteam-a")] == [
        "passes",
        "passes",
        "pattern",
        "pattern",
        "pattern",
    ]
    rename = json.dumps({"name": "team-a", "newName": "other"}).encode()
    with pytest.raises(Refusal, match="other"):
        decide(who, call("POST", "/api/2.0/mlflow/registered-models/rename", body=rename))


@pytest.mark.parametrize(
    ("address", "passes"), [("10.1.2.3", True), ("2001:db8::1", True), ("10.2.0.1", False), ("", False)]
)
def test_a_network_limits_where_a_key_works(people, address, passes):
    who = caller(people["alice"], networks=["10.1.0.0/16", "2001:db8::/32"])
    wanted = call("GET", "/version", address=address)

    if passes:
        decide(who, wanted)
    else:
        with pytest.raises(Refusal, match="works only from"):
            decide(who, wanted)


@pytest.mark.parametrize("mode", ["log", "off"])
def test_ownership_can_be_logged_only_or_off(people, settings, mode, caplog):
    settings.OWNERSHIP = mode
    bob = caller(people["bob"])
    run = {"run_id": NAMES["run"], "key": "x", "value": "1"}

    decide(bob, call("POST", "/api/2.0/mlflow/runs/set-tag", body=json.dumps(run).encode()))

    assert ("ownership_not_enforced" in caplog.text) == (mode == "log")


def test_a_grace_lets_only_what_the_key_itself_began(people):
    who = caller(people["alice"])
    key = who.key
    key.expires_at = timezone.now()
    late = Caller.by_key(key, in_grace=True)
    Owner.objects.create(environment="live", kind="run", name=NAMES["run"], user=people["alice"], key=key)
    Owner.objects.update(created_at=key.created_at)
    run = {"run_id": NAMES["run"], "key": "x", "value": "1"}
    wanted = call("POST", "/api/2.0/mlflow/runs/set-tag", body=json.dumps(run).encode())

    decide(late, wanted)
    Owner.objects.update(key=None)
    with pytest.raises(Refusal, match="may finish"):
        decide(late, wanted)


def post(path: str, **content) -> ReceivedRequest:
    return call("POST", f"/api/2.0/mlflow/{path}", body=json.dumps(content).encode())


def test_in_its_grace_a_key_logs_models_for_the_runs_that_it_began(people):
    alice, run, model = people["alice"], NAMES["run"], NAMES["logged_model"]
    key = caller(alice).key
    key.expires_at = timezone.now()
    late = Caller.by_key(key, in_grace=True)
    mine = {"environment": "live", "user": alice, "key": key}
    Owner.objects.create(kind="run", name=run, **mine)
    Owner.objects.create(kind="registered_model", name="model", environment="live", user=alice)
    Owner.objects.update(created_at=key.created_at)
    Owner.objects.create(kind="logged_model", name=model, **mine)  # created in the grace period
    version = {"name": "model", "source": f"models:/{model}", "run_id": run, "model_id": model}
    artifact = f"0/models/{model}/artifacts/MLmodel"

    for request in (
        post("logged-models", experiment_id="0", source_run_id=run),
        call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{artifact}"),
        post("runs/outputs", run_id=run, models=[{"model_id": model}]),
        post("registered-models/create", name="model"),
        post("model-versions/create", **version),
    ):
        decide(late, request)
    for request in (
        post("logged-models", experiment_id="0"),
        post("logged-models", experiment_id="0", source_run_id="f" * 32),
        post("registered-models/create", name="new"),
        post("model-versions/create", **version | {"source": "models:/other/1"}),
        post("model-versions/create", **version | {"run_id": "f" * 32}),
        post("model-versions/create", name="model", source=f"runs:/{run}/m"),
    ):
        with pytest.raises(Refusal, match="may finish"):
            decide(late, request)


TRACE_FILE = f"/api/2.0/mlflow-artifacts/artifacts/7/traces/{NAMES['trace']}/artifacts/traces.json"


def test_a_key_for_traces_transfers_the_file_of_their_spans_and_no_other(people):
    who = caller(people["alice"], scopes=["traces:read", "traces:write"])
    Owner.objects.create(environment="live", kind="trace", name=NAMES["trace"], user=people["alice"])

    decide(who, call("PUT", TRACE_FILE))
    decide(who, call("GET", TRACE_FILE))
    for path in (
        TRACE_FILE.replace("traces.json", "other.json"),
        TRACE_FILE.replace("/traces/", f"/{NAMES['run']}/artifacts/traces/"),
    ):
        with pytest.raises(Refusal, match="needs the scope artifacts:"):
            decide(who, call("PUT", path))
    with pytest.raises(Refusal, match="needs the scope artifacts:delete"):
        decide(who, call("DELETE", TRACE_FILE))
    with pytest.raises(Refusal, match="belongs to alice"):
        decide(caller(people["bob"]), call("PUT", TRACE_FILE))
    with pytest.raises(Refusal, match="needs the scope artifacts:write"):
        decide(caller(people["alice"], scopes=["traces:read"]), call("PUT", TRACE_FILE))


def started(*assessments: str) -> ReceivedRequest:
    info = {
        "trace_id": NAMES["trace"],
        "trace_location": {"mlflow_experiment": {"experiment_id": "0"}},
        "assessments": [{"assessment_id": name, "assessment_name": "good"} for name in assessments],
    }
    body = json.dumps({"trace": {"trace_info": info}}).encode()
    return call("POST", "/api/3.0/mlflow/traces", body=body)


def test_feedback_in_a_new_trace_keeps_its_ids_to_its_trace(people):
    """MLflow would move an assessment with a known id to the new trace."""
    Owner.objects.create(environment="live", kind="assessment", name="a-hers", user=people["alice"])
    alice, bob = caller(people["alice"]), caller(people["bob"])

    def ids(who: Caller, *names: str) -> list[str]:
        content = decide(who, started(*names)).content
        return [each["assessment_id"] for each in content["trace"]["trace_info"]["assessments"]]

    assert ids(alice, "a-hers") == ["a-hers"]
    [first, second] = ids(bob, "a-new", "a-old")
    assert [first, second] == ids(bob, "a-new", "a-old"), "a repeated call updates the same ones"
    assert len({first, second, "a-new", "a-old"}) == 4
    with pytest.raises(Refusal, match="Assessment “a-hers” belongs to alice"):
        decide(bob, started("a-hers"))


def test_a_key_for_any_owner_takes_no_assessment_of_another_organisation(people, settings):
    """It gets a new id, in a new trace and as a new assessment. A refusal would show that the id exists."""
    settings.ISOLATION = "required"
    theirs = organisations.create_organisation(slug="theirs")
    Owner.objects.create(environment="live", kind="assessment", name="a-hers", user=people["alice"])
    Owner.objects.create(
        environment="live", kind="assessment", name="a-theirs", user=people["bob"], organisation=theirs
    )
    body = json.loads(started("a-hers", "a-theirs").body.replace(b'"0"', b'"1"'))
    create = f"/api/3.0/mlflow/traces/{NAMES['trace']}/assessments"
    bodies = {
        "/api/3.0/mlflow/traces": body,
        create: {"assessment": {"assessment_id": "a-theirs", "trace_id": NAMES["trace"]}},
    }
    who = caller(people["alice"], any_owner=True)

    first, second = (
        decide(who, call("POST", path, body=json.dumps(each).encode())).content
        for path, each in bodies.items()
    )

    ids = [each["assessment_id"] for each in first["trace"]["trace_info"]["assessments"]]
    assert ids[0] == "a-hers"
    assert ids[1].startswith("a-")
    assert "a-theirs" not in (ids[1], second["assessment"]["assessment_id"])


def test_an_export_without_an_experiment_names_the_header(people):
    request = call("POST", "/v1/traces", headers={"content-type": "application/json"}, body=b"{}")

    with pytest.raises(Refusal, match="header x-mlflow-experiment-id") as refused:
        decide(caller(people["alice"]), request)

    assert (refused.value.status, refused.value.reason) == (400, "no_object")


def test_addresses_to_upload_past_the_portal_are_refused_unless_they_are_wanted(people, settings):
    settings.DIRECT_ARTIFACTS = False
    who = caller(people["alice"], any_owner=True)
    body = json.dumps({"run_id": NAMES["run"], "path": "x"}).encode()

    with pytest.raises(Refusal, match="pass through the portal") as refused:
        decide(who, call("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", body=body))

    assert refused.value.status == 403
