"""The permanent matrix, from the table of operations: each field that names an object, whose object it is, who calls.

A new row of the table is tested without a line here. It fails if the test cannot build its call, or if an object of
another organisation is told from one that nobody has.
"""

import json
from dataclasses import dataclass

import pytest

from keys import actions
from keys.actions import organisations
from keys.credentials.caller import Caller
from keys.models import Membership, Organisation, User
from keys.refusals import Refusal
from keys.rights.scopes import Preset
from proxy.models import Owner
from proxy.policy import browser, permissions
from proxy.policy.decisions import ReceivedRequest
from proxy.policy.organisations import references, selection
from proxy.routes.matching import match_operation
from proxy.routes.operations import ObjectField, Operation
from proxy.routes.table import OPERATIONS
from proxy.upstream.workspaces import Workspace

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
RELATIONS = ("own", "of the same organisation", "of another organisation", "made up")
CALLERS = ("a key", "a session", "a key of staff")
ROWS = [each for each in OPERATIONS if not each.refused]
# By kind: an id of the form that MLflow gives, from a number.
FORMS = {
    "experiment": "{:d}",
    "run": "{:032x}",
    "logged_model": "m-{:032x}",
    "registered_model": "model-{:d}",
    "trace": "tr-{:032x}",
    "assessment": "a-{:032x}",
    "dataset": "d-{:032x}",
    "issue": "iss-{:d}",
    "label_schema": "ls-{:d}",
    "review_queue": "rq-{:d}",
}


@dataclass(frozen=True)
class World:
    """Two organisations with people, and a caller of each sort in the first."""

    ours: Organisation
    theirs: Organisation
    mate: User
    stranger: User
    callers: dict[str, Caller]


@pytest.fixture
def world(settings) -> World:
    settings.ISOLATION, settings.DIRECT_ARTIFACTS = "required", True  # so that every row is served
    ours, theirs = (organisations.create_organisation(slug=slug) for slug in ("ours", "theirs"))
    user, mate, stranger, staff = (
        User.objects.create(username=name) for name in ("ann", "ben", "eve", "sue")
    )
    staff.is_staff = True
    staff.save()
    for organisation, member in ((ours, user), (ours, mate), (theirs, stranger)):
        organisations.add_member(organisation=organisation, user=member, role=Membership.Role.MEMBER)
    key = actions.issue(owner=user, name="k", organisation=ours, scopes=Preset.FULL.scopes)[0]
    other = actions.issue(owner=staff, name="s", scopes=Preset.FULL.scopes, also_organisations=["ours"])[0]
    callers = {
        "a key": Caller.by_key(key),
        "a session": Caller.by_session(user, organisation=ours),
        "a key of staff": selection.select(Caller.by_key(other), {selection.HEADER: "ours"}, ""),
    }
    return World(ours, theirs, mate, stranger, callers)


def identifier(kind: str, number: int) -> str:
    """The object's id; of an artifact, the path of a file of a run."""
    if kind == "artifact":
        return f"1/{identifier('run', number)}/artifacts/x.txt"
    return FORMS[kind].format(number)


def owner_rows(world: World, caller: Caller) -> None:
    """Objects of every kind, of which the caller, a mate and a stranger have one each: 1, 2 and 3; 4 is nobody's."""
    for number, organisation, user in (
        (1, world.ours, caller.user),
        (2, world.ours, world.mate),
        (3, world.theirs, world.stranger),
    ):
        Owner.objects.bulk_create(
            Owner(
                environment="live",
                organisation=organisation,
                kind=kind,
                name=identifier(kind, 10 + number),
                user=user,
            )
            for kind in FORMS
        )


def fields_of(operation: Operation) -> list[tuple[str, ObjectField]]:
    return [
        (role, field)
        for role in ("targets", "parents", "claims", "references")
        for field in getattr(operation, role)
        if field.field != "otlp"
    ]


def nest(content: dict, field: str, value: str) -> None:
    """Set `a[].b.c` in the content."""
    head, _, rest = field.partition(".")
    name, is_list = head.removesuffix("[]"), head.endswith("[]")
    if not rest:
        content[name] = [value] if is_list else value
        return
    inner = content.setdefault(name, [{}] if is_list else {})
    nest(inner[0] if is_list else inner, rest, value)


def request_of(operation: Operation, numbers: dict[str, int]) -> ReceivedRequest:
    """A call that names an object in each field: the one of this number, by default the caller's own."""
    content: dict = {}
    headers = {"content-type": "application/json"}
    path = operation.path.replace("{key}", "note").replace("{tag_key}", "note")
    for _, field in fields_of(operation):
        value = identifier(field.kind, 10 + numbers.get(field.field, 1))
        if field.field.startswith("@"):
            headers[field.field[1:]] = value
        elif field.field.startswith("{"):
            path = path.replace(field.field, value).replace(f"{field.field[:-1]}:path}}", value)
        else:
            nest(content, field.field, value)
    path = path.replace("{assessment_id}", identifier("assessment", 11))
    match = match_operation(operation.method, path)
    assert match.operation is operation, (operation, path)
    is_body = not operation.is_streamed and operation.name != permissions.OTLP_EXPORT
    return ReceivedRequest(
        match=match, headers=headers, body=json.dumps(content).encode() if is_body else None
    )


def outcome(caller: Caller, request: ReceivedRequest) -> tuple[int, str, str]:
    """Status, reason and message of the refusal; 200 if MLflow gets the call."""
    decision = permissions.decide(caller, request) if caller.key else browser.decide(caller, request)
    refusal = decision.refusal
    if refusal is None:
        try:
            references.refuse_unknown(caller, decision.objects, url="http://127.0.0.1:9")
        except Refusal as unknown:
            refusal = unknown
    return (refusal.status, refusal.reason, refusal.message) if refusal else (200, "", "")


@pytest.mark.parametrize("sort", CALLERS)
def test_each_field_of_each_operation_and_whose_object_it_names(world, sort, monkeypatch):
    monkeypatch.setattr(references, "exists", lambda *_: False)
    monkeypatch.setattr("proxy.policy.upstream_checks.existing_traces", lambda *_: set())
    caller = world.callers[sort]
    owner_rows(world, caller)
    assert caller.organisation == world.ours
    cases = 0
    for operation in ROWS:
        own = outcome(caller, request_of(operation, {})) if fields_of(operation) else None
        for role, field in fields_of(operation):
            outcomes = {"own": own} | {
                relation: outcome(caller, request_of(operation, {field.field: number}))
                for number, relation in enumerate(RELATIONS[1:], start=2)
            }
            where = (operation.name, operation.method, field, outcomes)
            cases += len(outcomes)
            if role == "claims":
                check_claim(outcomes, where)
                continue
            assert outcomes["own"][0] == outcomes["of the same organisation"][0] == 200, where
            other, unknown = (
                (*outcomes[relation][:2], outcomes[relation][2].replace(identifier(field.kind, number), "ID"))
                for relation, number in (("of another organisation", 13), ("made up", 14))
            )
            run = identifier("run", 13), identifier("run", 14)
            other = (*other[:2], other[2].replace(run[0], "RUN"))
            unknown = (*unknown[:2], unknown[2].replace(run[1], "RUN"))
            assert other == unknown, where
            assert other[0] in (403, 404), where
            assert "eve" not in other[2].split(), where

    assert cases > 250


def check_claim(outcomes: dict[str, tuple[int, str, str]], where: object) -> None:
    """A made-up id is a new object's; one of another organisation is refused as MLflow refuses an unknown one."""
    assert outcomes["own"][0] == outcomes["of the same organisation"][0] == outcomes["made up"][0] == 200, (
        where
    )
    assert outcomes["of another organisation"][:2] == (404, "unknown_object"), where


@pytest.mark.parametrize("sort", CALLERS)
def test_a_call_acts_in_the_workspace_of_its_organisation_whatever_it_states(world, sort):
    """Reads name objects that only MLflow knows: the workspace decides, and the caller does not choose another one."""
    caller = world.callers[sort]
    assert Workspace.of(caller.organisation).headers == {"X-MLFLOW-WORKSPACE": "ours"}
    for slug in ("theirs", "made-up"):
        for stated in (({selection.HEADER: slug}, ""), ({}, slug)):
            if sort == "a session":  # chooses by the header bar alone
                assert selection.select(caller, *stated) is caller
                continue
            with pytest.raises(Refusal) as refused:
                selection.select(caller, *stated)
            assert (refused.value.status, refused.value.reason) == (403, "other_organisation")
            assert slug not in refused.value.message
