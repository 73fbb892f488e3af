"""Calls by session: MLflow's own pages in a signed-in person's browser."""

import json

import pytest

from keys import actions
from keys.credentials.caller import Caller
from keys.models import Organisation, User
from keys.rights.scopes import Preset
from proxy.policy import browser
from proxy.routes.table import OPERATIONS
from tests.echo import Script
from tests.sessions import sign_in

HTML = "text/html,application/xhtml+xml"
SEARCH = "/mlflow/ajax-api/2.0/mlflow/runs/search"
TAG = "/mlflow/ajax-api/2.0/mlflow/experiments/set-experiment-tag"
ARTIFACT = "/mlflow/get-artifact?path=report.html&run_uuid=0af1"
CREATE = "/mlflow/ajax-api/2.0/mlflow/registered-models/create"


@pytest.fixture(scope="module")
def bob(echo_portal):
    """Who is signed in and has no key."""
    return sign_in(echo_portal, "browsing-bob")


@pytest.fixture(scope="module")
def carol(echo_portal):
    """Who is signed in and has a key of the default kind, and one for everybody's things."""
    echo_portal.issue("browsing-carol")
    echo_portal.issue("browsing-carol", "--any-owner")
    return sign_in(echo_portal, "browsing-carol")


def create(browser, name: str):
    return browser.call("POST", CREATE, {"name": name})


# Who is calling


def test_a_visitor_is_sent_to_sign_in_and_back(echo_portal, echo):
    reply = echo_portal.request("GET", "/mlflow/", headers=[("Accept", HTML)])

    assert reply.status == 302
    assert reply.headers["Location"].endswith("?next=/mlflow/")
    assert echo.received == []


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_a_program_without_a_key_is_told_so_in_json(echo_portal, accept):
    reply = echo_portal.request("GET", "/mlflow/", headers=[("Accept", accept)])

    assert (reply.status, reply.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_a_page_left_open_after_signing_out_is_told_so(bob, echo):
    reply = bob.call("POST", SEARCH, {}, Cookie="sessionid=over")

    assert reply.status == 401
    assert reply.json()["message"].startswith("You are not signed in any more.")
    assert echo.received == []


def test_the_page_itself_is_served_with_its_own_policy(bob, echo):
    echo.script = Script(body=b"<!doctype html>", headers=[("Content-Type", "text/html")])
    reply = bob.call("GET", "/mlflow/", Accept=HTML, Sec_Fetch_Site="none")

    rules = reply.headers["Content-Security-Policy"].split("; ")
    assert reply.body == b"<!doctype html>"
    assert {"script-src 'self' 'unsafe-eval'", "connect-src 'self' data: blob:"} <= set(rules)
    assert {"frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"} <= set(rules)
    assert reply.headers["X-Frame-Options"] == "DENY"
    assert reply.headers["Cache-Control"] == "private, no-store"


def test_the_pages_address_ends_with_a_slash(bob, echo):
    reply = bob.call("GET", "/mlflow", Accept=HTML, Sec_Fetch_Site="none", Sec_Fetch_Dest="document")

    assert (reply.status, reply.headers["Location"]) == (302, "/mlflow/")


def test_mlflow_learns_who_it_is_and_sees_no_cookie(bob, echo):
    assert bob.call("POST", SEARCH, {"experiment_ids": ["1"]}).status == 200

    assert echo.last.values("X-Hokusai-User-Id") == [bob.user_id]
    assert echo.last.values("X-Hokusai-API-Key-Id") == ["session"]
    assert not {"cookie", "sec-fetch-site"} & echo.last.names


def test_the_usage_log_has_the_call_with_its_user_and_no_key(bob, echo, echo_portal):
    reply = bob.call("POST", SEARCH, {})

    [row] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
    [(user,)] = echo_portal.sql("select public_id from keys_user where id = %s", row["user_id"])
    assert (user, row["key_id"], row["operation"]) == (bob.user_id, None, "runs.search")


def test_what_belongs_to_the_pages_themselves_is_not_in_the_usage_log(bob, echo, echo_portal):
    own = [
        bob.call("GET", f"/mlflow{path}")
        for path in ("/static-files/a.js", "/ajax-api/2.0/mlflow/users/current")
    ]
    visit, search = bob.call("GET", "/mlflow/"), bob.call("POST", SEARCH, {})

    assert echo_portal.calls(request_id=search.headers["X-Request-ID"])  # written in the order of their ends
    assert echo_portal.calls(request_id=visit.headers["X-Request-ID"])
    for reply in own:
        query = "select 1 from proxy_call where request_id = %s"
        assert (reply.status, echo_portal.sql(query, reply.headers["X-Request-ID"])) == (200, [])


@pytest.mark.parametrize(
    "target",
    [
        "/api/mlflow/api/2.0/mlflow/runs/search",
        "/api/2.0/mlflow/runs/search",
        "/ajax-api/2.0/mlflow/runs/search",
    ],
)
def test_a_session_counts_below_its_own_mount_alone(bob, echo, target):
    assert bob.call("POST", target, {}).status == 401
    assert echo.received == []


def test_a_key_beside_a_session_is_the_caller(bob, echo, echo_key):
    reply = bob.call("POST", SEARCH, {}, key=echo_key["key"])

    assert echo.last.values("X-Hokusai-API-Key-Id") == [echo_key["id"]]
    assert "Cookie" not in reply.headers.get("Vary", "")  # whose session it is, nobody has looked up
    assert "Content-Security-Policy" not in reply.headers


def test_a_wrong_key_is_not_made_up_for_by_a_session(bob, echo):
    assert bob.call("POST", SEARCH, {}, X_API_Key="hk_live_wrong").status == 401
    assert echo.received == []


@pytest.mark.parametrize(
    "credential", ["Basic Z2F0ZTpzZWNyZXQ=", "Bearer eyJhbGciOiJub25lIn0.e30.", "Negotiate YII="]
)
def test_a_gateways_credential_beside_a_session_is_ignored(bob, echo, echo_portal, credential):
    assert bob.call("POST", SEARCH, {}, Authorization=credential).status == 200
    assert not echo.last.values("Authorization")

    headers = [("Accept", HTML), ("Authorization", credential)]
    assert echo_portal.request("GET", "/mlflow/", headers=headers).status == 302, "to sign in"


def test_a_key_in_the_address_is_refused_beside_a_session_too(bob, echo):
    reply = bob.call("GET", "/mlflow/?api_key=x", Accept=HTML, Sec_Fetch_Site="none")

    assert reply.status == 401
    assert echo.received == []


@pytest.mark.parametrize(
    "path", ["/static-files/static/js/main.js", "/get-artifact", "/model-versions/get-artifact"]
)
def test_a_key_does_not_reach_the_pages(echo_portal, echo, echo_key, path):
    reply = echo_portal.request("GET", f"/mlflow{path}", key=echo_key["key"])

    assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert "signed-in browsers" in reply.json()["message"]
    assert echo.received == []


def test_deactivation_ends_it_at_once(echo_portal, echo):
    dora = sign_in(echo_portal, "browsing-dora")
    assert dora.call("POST", SEARCH, {}).status == 200
    echo_portal.sql("update keys_user set is_active = false where username = 'browsing-dora'")

    assert dora.call("POST", SEARCH, {}).status == 401
    assert len(echo.received) == 1


def test_staff_who_need_a_second_factor_get_nothing_without_one(client, db, settings):
    settings.REQUIRE_MFA_FOR_STAFF = True
    client.force_login(User.objects.create_user("staff", is_staff=True))

    page = client.get("/mlflow/", HTTP_ACCEPT=HTML, HTTP_SEC_FETCH_SITE="none")
    call = client.post(SEARCH, {}, content_type="application/json", HTTP_SEC_FETCH_SITE="same-origin")

    assert page["Location"].startswith("/account/2fa/")
    assert call.status_code == 403
    assert "second factor" in call.json()["message"]


# Where a call comes from


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, "another site's page"),
        ({"Sec_Fetch_Site": "same-site"}, "a neighbour's page"),
        ({"Sec_Fetch_Site": "none"}, "no page at all"),
        ({"Sec_Fetch_Site": None}, "it does not say"),
        ({"Sec_Fetch_Site": None, "Referer": "http://127.0.0.1/mlflow/"}, "only its address says"),
        ({"Origin": "https://evil.example"}, "its origin says otherwise"),
        ({"Origin": "null"}, "a sandboxed artifact"),
    ],
)
def test_a_write_from_elsewhere_is_refused(carol, echo, headers, why):
    reply = carol.call("POST", CREATE, {"name": "theirs"}, **headers)

    assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED"), why
    assert echo.received == []


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", None]
)
def test_what_a_form_can_send_is_refused(carol, echo, kind):
    reply = carol.call("POST", CREATE, b'{"name": "theirs"}', Content_Type=kind)

    assert (reply.status, reply.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert echo.received == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "image"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": None},
        {"Sec_Fetch_Site": None, "Referer": "https://evil.example/mlflow/"},
        {"Sec_Fetch_Site": None, "Referer": "http://[nonsense"},
    ],
)
def test_a_read_from_elsewhere_is_refused(bob, echo, headers):
    assert bob.call("GET", ARTIFACT, **headers).status == 403
    assert echo.received == []


def test_a_read_over_plain_http_is_known_by_the_page_it_comes_from(bob, echo):
    own = f"http://127.0.0.1:{bob.portal.port}/mlflow/"

    assert bob.call("GET", ARTIFACT, Sec_Fetch_Site=None, Referer=own).status == 200


def test_anyone_may_link_to_the_page(bob, echo):
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}

    assert bob.call("GET", "/mlflow/", Accept=HTML, **link).status == 200


def test_a_refused_call_is_in_the_log_with_its_reason(carol, echo_portal):
    reply = carol.call("POST", CREATE, {"name": "theirs"}, Sec_Fetch_Site="cross-site")

    [row] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
    assert (row["status"], row["reason"]) == (403, "cross_site")


# What it may do


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("POST", "/ajax-api/3.0/mlflow/assistant/message", "commands"),
        ("POST", "/ajax-api/2.0/mlflow/gateway-proxy", "gateway"),
        ("POST", "/ajax-api/2.0/mlflow/users/create", "users"),
        ("POST", "/ajax-api/2.0/mlflow/upload-artifact", "log_artifact"),
        ("POST", "/ajax-api/3.0/mlflow/demo/delete", "no owner"),
    ],
)
def test_what_is_closed_to_keys_is_closed_to_browsers(carol, echo, method, path, word):
    reply = carol.call(method, f"/mlflow{path}", {})

    assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert word in reply.json()["message"]
    assert echo.received == []


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=api/2.0/endpoints/", {"endpoints": []}),
        ("/ajax-api/3.0/mlflow/assistant/providers", {"providers": []}),
        ("/ajax-api/2.0/mlflow/users/current", {"user": None}),
    ],
)
def test_what_the_pages_ask_for_on_their_own_is_answered_as_absent(bob, echo, path, answer):
    assert bob.call("GET", f"/mlflow{path}").json() == answer
    assert echo.received == []


def test_the_pages_do_not_offer_the_gateway(bob, echo):
    echo.script = Script(body=b'{"features_enabled": {"gateway": true}, "multipart_uploads_enabled": true}')

    reply = bob.call("GET", "/mlflow/ajax-api/3.0/mlflow/server-info")

    assert reply.json() == {"features_enabled": {"gateway": False}, "multipart_uploads_enabled": False}


def test_without_a_key_of_ones_own_nothing_is_written(bob, echo):
    reply = create(bob, "bobs")

    assert reply.status == 403
    assert "registry:write" in reply.json()["message"]
    assert "one of its user's live keys" in reply.json()["message"]
    assert echo.received == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("reader", ["--preset", "reader"]),
        ("elsewhere", ["--network", "192.0.2.0/24"]),
        ("named", ["--pattern", "fraud-*"]),
        ("expired", ["--expires-in", "90d"]),
        ("paused", []),
        ("revoked", []),
        ("canary", ["--canary"]),
    ],
)
def test_a_browser_may_write_no_more_than_one_of_its_users_keys_could_from_there(
    echo_portal, echo, name, options
):
    key = echo_portal.issue(f"browsing-{name}", *options)
    change = {
        "expired": "expires_at = now() - interval '1 minute'",
        "paused": "paused_at = now()",
        "revoked": "revoked_at = now()",
    }.get(name)
    if change:
        echo_portal.sql(f"update keys_apikey set {change} where public_id = %s", key["id"])

    assert create(sign_in(echo_portal, f"browsing-{name}"), "anything").status == 403
    assert echo.received == []


@pytest.mark.parametrize("count", [0, 1, 20])
def test_a_users_rights_take_one_query_however_many_keys(count, db, django_assert_num_queries):
    user = User.objects.create_user("holder")
    for number in range(count):
        actions.issue(owner=user, name=f"key {number}")
    [row] = [row for row in OPERATIONS if row.name == "registered-models.create"]

    session = Caller.by_session(user, organisation=Organisation.objects.shared())
    with django_assert_num_queries(1):
        found = list(browser.candidates(session, row, "127.0.0.1"))

    assert [len(caller.scopes) > len(Preset.READER.scopes) for caller in found] == [count > 0]


def test_of_several_keys_any_may_stand_in(echo_portal, echo):
    for options in (["--pattern", "fraud-*"], ["--pattern", "spam-*"], ["--preset", "reader"]):
        echo_portal.issue("browsing-erin", *options)
    erin = sign_in(echo_portal, "browsing-erin")
    echo.script = Script(body=b'{"registered_model": {"name": "spam-1", "creation_timestamp": 1}}')

    assert create(erin, "spam-1").status == 200
    assert create(erin, "other").status == 403


def test_what_it_writes_is_stamped_owned_and_in_the_ledger(carol, echo, echo_portal):
    echo.script = Script(body=b'{"registered_model": {"name": "carols", "creation_timestamp": 1}}')
    reply = create(carol, "carols")

    sent = json.loads(echo.last.body)
    assert {tag["key"]: tag["value"] for tag in sent["tags"]} == {
        "hokusai.user_id": carol.user_id,
        "hokusai.key_id": "session",
    }
    [owner] = echo_portal.rows(
        "select public_id, key_id from proxy_owner join keys_user on keys_user.id = user_id where name = 'carols'"
    )
    assert owner == {"public_id": carol.user_id, "key_id": None}
    [row] = echo_portal.rows(
        "select actor, key_id, outcome, public_id from proxy_registration join keys_user on keys_user.id = user_id "
        "where request_id = %s",
        reply.headers["X-Request-ID"],
    )
    assert row == {"actor": "browser", "key_id": None, "outcome": "done", "public_id": carol.user_id}


def test_what_is_anothers_stays_so_whatever_the_users_keys_may(carol, echo, echo_portal, echo_key):
    echo.script = Script(body=b'{"registered_model": {"name": "alices", "creation_timestamp": 1}}')
    body = {"name": "alices"}
    echo_portal.request(
        "POST", "/api/mlflow/api/2.0/mlflow/registered-models/create", key=echo_key["key"], body=body
    )
    echo.reset()

    reply = carol.call(
        "DELETE", "/mlflow/ajax-api/2.0/mlflow/registered-models/delete-tag", {**body, "key": "a"}
    )

    assert reply.status == 403
    assert "belongs to alice" in reply.json()["message"]
    assert echo.received == []
