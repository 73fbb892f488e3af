"""The management API of a running portal: from its own schema, by people with different rights, and at once."""

import json
import os
import threading
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.echo import Script
from tests.portals import Portal, portal, wait_for

pytestmark = pytest.mark.postgresql
API = "/api/v1"
EXAMPLES = int(os.environ.get("API_EXAMPLES", "2"))  # for each operation and role; `make api` takes 100
LENIENT = [positive_data_acceptance]  # not all that the schema allows is possible
STAFF = """
from django.contrib.auth.models import Group
from keys.models import User
from proxy.models import Owner
User.objects.create_superuser("admin")
User.objects.create_user("auditor", is_staff=True).groups.add(Group.objects.get(name="Auditors"))
User.objects.create_user("holder")
Owner.objects.create(environment="live", kind="experiment", name="9", user=User.objects.create_user("other"))
"""


@pytest.fixture(scope="module")
def api_portal(echo_server):
    given = {"DEFAULT_REQUESTS_PER_MINUTE": "1000000", "SET_BY_MAKE_RUN": "MLFLOW_URL"}
    with portal(mlflow_url=echo_server.url, **given) as running:
        running.manage("shell", "-c", STAFF)
        yield running


@pytest.fixture(scope="module")
def keys(api_portal) -> dict[str, dict[str, Any]]:
    """Each role's key, and another's."""
    every = ("--scope", "portal:admin", "--scope", "portal:read", "--scope", "portal:introspect")
    issued = {name: api_portal.issue(name, *every) for name in ("admin", "auditor", "holder")}
    return {**issued, "other": api_portal.issue("other", "--any-owner", "--preset", "full")}


@pytest.fixture(scope="module")
def anothers(echo_server, api_portal, keys) -> dict[str, str]:
    """Ids of another's objects: key, user, a registration, which is a call too, an alert about
    the key, a key to collect, a request, and an organisation with a publication and a group rule."""
    model = {"name": "others-model", "creation_timestamp": 1, "last_updated_timestamp": 1}
    echo_server.script = Script(
        headers=[("Content-Type", "application/json")],
        body=json.dumps({"registered_model": model}).encode(),
        only="registered-models/create",
    )
    created = api_portal.request(
        "POST",
        "/api/mlflow/api/2.0/mlflow/registered-models/create",
        key=keys["other"]["key"],
        body={"name": "others-model"},
    )
    [row] = wait_for(
        lambda: api_portal.rows(
            "select request_id from proxy_call where user_id = %s", user_pk(api_portal, "other")
        )
    )
    assert row["request_id"] == created.headers["X-Request-ID"]
    [[alert]] = api_portal.sql(
        "insert into keys_alert (key_id, kind, occasion, at, detail, mailed_to) "
        "select id, 'expired', 'a test', now(), '{}', '[]' from keys_apikey where public_id = %s returning id",
        keys["other"]["id"],
    )
    api_portal.sql(
        "insert into keys_keyrequest"
        " (public_id, user_id, kind, key_id, name, scopes, days, note, state, created_at, reason)"
        " select 'kreq_another', owner_id, 'scope', id, '', '{traces:read}', null, '', 'open', now(), ''"
        " from keys_apikey where public_id = %s",
        keys["other"]["id"],
    )
    api_portal.manage("organisation", "create", "others-team")
    [[publication]] = api_portal.sql(
        "insert into proxy_publication (environment, organisation_id, name, version, reader, published_at)"
        " select 'live', id, 'others-model', '', '', now() from keys_organisation where slug = 'others-team'"
        " returning id"
    )
    [[rule]] = api_portal.sql(
        'insert into keys_grouprule (directory_id, organisation_id, "group", role, created_at)'
        " select id, id, 'others', 'member', now() from keys_organisation where slug = 'others-team'"
        " returning id"
    )
    return {
        "publication_id": str(publication),
        "group_rule_id": f"rule_{rule}",
        "slug": "others-team",
        "key_request_id": "kreq_another",
        "alert_id": f"alert_{alert}",
        "prepared_id": api_portal.issue("other", "--collect")["id"],
        "key_id": keys["other"]["id"],
        "user_id": keys["other"]["user_id"],
        "request_id": row["request_id"],
    }


def user_pk(running: Portal, name: str) -> int:
    return running.sql("select id from keys_user where username = %s", name)[0][0]


@pytest.fixture(scope="module")
def schema(api_portal):
    config = schemathesis.Config.from_dict(
        {"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}}
    )
    return schemathesis.openapi.from_url(f"{api_portal.url}{API}/schema", config=config)


def call(
    running: Portal, key: dict[str, Any] | None, method: str, path: str, body: Any = None, **headers: str
):
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return running.request(method, f"{API}{path}", key=key and key["key"], body=body, headers=pairs)


@pytest.mark.parametrize("role", ["nobody", "holder", "auditor", "admin"])
def test_answers_nothing_but_what_its_schema_says(api_portal, keys, anothers, schema, role):
    """No 5xx, no undocumented answer; and of who may not write, no write."""
    headers = {"Authorization": f"Bearer {keys[role]['key']}"} if role in keys else {}
    before = written(api_portal)
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=cases(operation), is_real=hypothesis.strategies.booleans())
        def check(case, is_real):
            if is_real and case.path_parameters:
                case.path_parameters = {name: anothers[name] for name in case.path_parameters}
            answer = case.call(base_url=f"{api_portal.url}", headers=headers)
            case.validate_response(answer, headers=headers, excluded_checks=LENIENT)
            if role == "nobody":
                assert answer.status_code in (400, 401, 405, 413, 415), answer.text

        check()
    if role != "admin":
        assert written(api_portal) == before


def cases(operation: Any) -> Any:
    """What the schema allows, and what it does not, where there is something to send at all."""
    right, wrong = (operation.as_strategy(mode) for mode in GenerationMode)
    takes_any = operation.definition.raw.get("parameters") or operation.definition.raw.get("requestBody")
    return right | wrong if takes_any else right


def written(running: Portal) -> list[Any]:
    tables = {"keys_apikey": "digest, name, paused_at, revoked_at", "keys_user": "id, is_active"}
    tables |= {"keys_keyevent": "id", "proxy_owner": "id, user_id, is_shared"}
    return [running.sql(f"select {columns} from {table} order by 1") for table, columns in tables.items()]


def test_what_is_anothers_is_not_there(api_portal, keys, anothers, schema):
    """For every address with an id in it, whatever the method."""
    seen = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if "{" not in operation.path:
            continue
        path = operation.path.format(**anothers).removeprefix(API)
        reply = call(api_portal, keys["holder"], operation.method.upper(), path, body={})
        assert reply.status in (403, 404), (operation.method, path, reply.body)
        if reply.status == 403:  # before anything is looked for: whatever its name, it is not for holders
            assert reply.json()["reason"] == "permission", path
        seen += 1
    assert seen >= 12


@pytest.mark.parametrize(
    "path", ["/keys", "/users", "/calls?user=other", "/registrations", "/owners", "/usage?by=user,key"]
)
def test_lists_hold_nothing_of_anothers(api_portal, keys, anothers, path):
    for_all, own = (call(api_portal, keys[role], "GET", path).body.decode() for role in ("auditor", "holder"))

    assert "other" in for_all
    assert "other" not in own.replace("otherwise", "")


def test_auditors_see_everything_and_change_nothing(api_portal, keys, anothers, schema):
    bodies = {"introspect": {"token": keys["other"]["key"]}, "ledger_verify": {}}
    bodies["keys_try"] = {"method": "GET", "path": "/version"}
    for result in schema.get_all_operations():
        operation = result.ok()
        name, method = operation.definition.raw["operationId"], operation.method.upper()
        path = operation.path.format(**anothers).removeprefix(API)
        path += (
            "?since=2026-01-01T00:00:00Z"
            if name in ("keys_touched", "keys_files", "keys_files_export")
            else ""
        )
        body = None if method == "GET" else bodies.get(name, {})
        reply = call(api_portal, keys["auditor"], method, path, body=body)
        sees = name != "settings" and (method == "GET" or name in bodies)  # settings are for superusers
        # What anybody may do for themselves or their organisation: the body is empty.
        refused = (400,) if name in ("key_requests_ask", "group_rules_add") else (403, 404)
        if name in ("uncalled_requests_read", "organisations_read_trust") or name.startswith("manifests_"):
            sees, refused = (
                False,
                (404,),
            )  # the ids are a call's and that of a key with a secret; no version is named
        assert reply.status in ((200,) if sees else refused), (method, path, reply.body)


def test_the_same_request_at_once_from_two_connections_is_done_once(api_portal, keys):
    body = {"user": "holder", "name": "at once"}
    replies: list[Any] = []
    barrier = threading.Barrier(8)

    def send() -> None:
        barrier.wait()
        replies.append(call(api_portal, keys["admin"], "POST", "/keys", body, Idempotency_Key="at-once"))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {reply.status for reply in replies} == {201}
    secrets = [reply.json()["key"] for reply in replies if reply.json()["key"]]
    assert len(secrets) == 1
    assert sum("Idempotent-Replayed" in reply.headers for reply in replies) == 7
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert api_portal.sql("select count(*) from keys_apikey where name = 'at once'") == [(1,)]


def test_a_service_hears_of_a_revocation_within_a_second(api_portal, keys):
    shown = api_portal.issue("holder")
    token = {"token": shown["key"]}

    def is_active() -> bool:
        return call(api_portal, keys["holder"], "POST", "/introspect", token).json()["active"]

    assert is_active()
    call(api_portal, keys["admin"], "POST", f"/keys/{shown['id']}/revoke", {})
    assert wait_for(is_active, lambda active: not active, seconds=1.0) is False


def test_limits_hold_here_too(api_portal, keys):
    key = api_portal.issue("holder", "--requests-per-minute", "3")
    replies = [call(api_portal, key, "GET", "/me") for _ in range(4)]

    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    assert replies[-1].headers["Retry-After"]
    assert json.loads(replies[-1].body)["reason"] == "too_many_calls"


def test_calls_are_in_the_usage_log(api_portal, keys):
    key = api_portal.issue("holder", "--scope", "portal:read")
    reply = call(api_portal, key, "GET", f"/keys/{key['id']}")
    refused = call(api_portal, key, "POST", f"/keys/{key['id']}/pause", {})

    rows = {row["request_id"]: row for row in api_portal.calls(at_least=2, path=f"{API}/keys/{key['id']}")}
    row = rows[reply.headers["X-Request-ID"]]
    assert (row["operation"], row["status"], row["object_kind"]) == ("portal.keys.one", 200, "api_key")
    assert (row["bytes_out"], row["reason"]) == (len(reply.body), "")
    [row] = api_portal.calls(request_id=refused.headers["X-Request-ID"])
    assert (row["operation"], row["status"], row["reason"]) == ("portal.keys.pause", 403, "scope")
    listed = call(api_portal, key, "GET", f"/calls?operation=portal.keys.pause&key={key['id']}").json()[
        "results"
    ]
    assert [found["request_id"] for found in listed] == [refused.headers["X-Request-ID"]]
