"""Fields that identify a person: the caller's own name, whatever the client claims."""

import json
import re
from collections.abc import Iterator

import pytest

from keys.credentials.caller import Caller
from keys.models import SHARED_ID, Organisation, User
from keys.refusals import Refusal
from proxy.policy import identity
from proxy.policy.identity import FIELDS, Rule
from proxy.routes import matching, message_types
from proxy.routes.table import OPERATIONS

NAMES_A_PERSON = re.compile(
    r"(^|_)(by|users?|usernames?|authors?|owners?|assignees?|creators?|editors?|reviewers?|annotators?|actors?|persons?|"
    r"people|members?|emails?|principals?|source_id)(_|$)"
)
API = "/api/3.0/mlflow"


def fields_of(message: str, where: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Every field of a message, in the notation of `proxy.routes.served`."""
    messages = message_types.load_types()["messages"]
    if message in above:
        return
    for name, kind in messages[message].items():
        container, _, element = kind.partition(" ")
        field = where + name + {"repeated": "[]", "map": "{}"}.get(container, "")
        yield field
        inner = element or kind
        if inner in messages:
            yield from fields_of(inner, f"{field}.", (*above, message))


def test_every_field_that_names_a_person_has_a_rule():
    """A field that a new MLflow release adds must be listed as set, own name only, or harmless."""
    found = set()
    for operation in OPERATIONS:
        message = message_types.messages_by_request().get(f"{operation.method} {operation.path}")
        if message is None or operation.refused or operation.is_read:
            continue
        found |= {
            (operation.name, field)
            for field in fields_of(message, "")
            if NAMES_A_PERSON.search(re.split(r"[.]", field)[-1].rstrip("[]{}"))
        }

    assert found == {(each.operation, each.field) for each in FIELDS}


def test_the_pattern_notices_names_of_new_fields():
    names = "user user_id users created_by last_updated_by author assignee source_id owner new_owner reviewer"
    assert all(NAMES_A_PERSON.search(name) for name in names.split())
    assert not any(
        NAMES_A_PERSON.search(name) for name in ("run_id", "source", "byte_count", "order", "value")
    )


def caller(**rights) -> Caller:
    user, shared = User(username="alice"), Organisation(pk=SHARED_ID)
    return Caller(user=user, organisation=shared, key=None, environment="live", **rights)


def sent(call: str, content: dict, **rights) -> dict:
    """The request as it goes to MLflow, for alice."""
    method, _, path = call.partition(" ")
    match = matching.match_operation(method, f"{API}/{path}")
    identity.refuse_others(caller(**rights), match, content)
    return identity.set_names(match, content, user_name="alice")


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ("POST issues", "created_by"),
        ("POST datasets/create", "created_by"),
        ("POST datasets/d-1/records", "updated_by"),
        ("POST review-queues/create", "created_by"),
        ("POST review-queues/items/set-status", "completed_by"),
    ],
)
def test_a_claimed_name_becomes_the_callers(call, field):
    assert sent(call, {"name": "x", field: "bob"}) == {"name": "x", field: "alice"}


def test_a_request_without_such_a_name_goes_on_as_it_came():
    content = {"name": "x"}

    assert sent("POST issues", content) is content


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"source_type": "HUMAN", "source_id": "bob"}, "alice"),
        ({"source_type": 1, "source_id": "bob"}, "alice"),
        ({"source_type": "HUMAN"}, "alice"),
        ({"source_id": "bob"}, "alice"),
        ({"source_type": "LLM_JUDGE", "source_id": "gpt-4o"}, "gpt-4o"),
        ({"source_type": "CODE", "source_id": "check.py"}, "check.py"),
    ],
)
def test_an_assessment_by_a_person_is_the_callers(source, expected):
    assessment = {"assessment_name": "good", "source": source}
    for call in ("POST traces/tr-1/assessments", "PATCH traces/tr-1/assessments/a-1"):
        assert sent(call, {"assessment": assessment})["assessment"]["source"]["source_id"] == expected
    trace = sent("POST traces", {"trace": {"trace_info": {"assessments": [assessment]}}})
    assert trace["trace"]["trace_info"]["assessments"][0]["source"]["source_id"] == expected


def test_records_of_a_dataset_are_the_callers_whatever_the_string_says():
    records = '[{"inputs": {"x": NaN}, "tags": {"mlflow\\u002euser": "bob", "a": "1"}}, {"inputs": {}}]'

    [first, second] = json.loads(sent("POST datasets/d-1/records", {"records": records})["records"])

    assert first["tags"] == {"mlflow.user": "alice", "a": "1"}
    assert "tags" not in second


@pytest.mark.parametrize("records", ["[", "{}", "[" * 100_000])
def test_records_that_cannot_be_read_are_refused(records):
    with pytest.raises(Refusal) as refused:
        sent("POST datasets/d-1/records", {"records": records})

    assert refused.value.status == 400


OTHERS = [
    ("POST review-queues/get-or-create-user", {"user": "bob"}),
    ("POST review-queues/create", {"users": ["alice", "bob"]}),
    ("POST review-queues/update", {"users": ["bob"], "update_users": True}),
    ("POST review-queues/update", {"new_owner": "Alice"}),
]


@pytest.mark.parametrize(("call", "content"), OTHERS)
def test_a_key_assigns_no_reviews_to_other_users(call, content):
    with pytest.raises(Refusal) as refused:
        sent(call, content)

    assert (refused.value.status, refused.value.reason) == (403, "other_user")


@pytest.mark.parametrize(("call", "content"), OTHERS)
def test_a_key_for_any_owner_assigns_reviews(call, content):
    assert sent(call, content, any_owner=True) is content


@pytest.mark.parametrize("name", ["alice", " alice ", "default"])
def test_a_key_assigns_reviews_to_its_own_user(name):
    assert sent("POST review-queues/get-or-create-user", {"user": name}) == {"user": name}


def test_each_rule_is_used():
    assert {each.rule for each in FIELDS} == set(Rule)
