"""“Why did my call fail?” explains whole errors, reasons, and requests that never became calls."""

import datetime
import json

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from keys import actions
from keys.rights.scopes import Scope
from proxy.models import UncalledRequest
from proxy.usage import recording
from tests.keys.api.callers import program
from tests.keys.people import SECRET, everything_stored
from tests.portal.account.test_own_calls import looked_up
from tests.portal.account.test_urls import text

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

EXPERIMENT = "/api/2.0/mlflow/experiments/get"


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch):
    monkeypatch.setattr(recording, "attempts", recording.Attempts())


def write() -> None:
    """What the writer does with the refusals that are kept."""
    for refused in recording.attempts.pop_refused():
        UncalledRequest.objects.create(**vars(refused))


def error_of(path: str, **headers: str) -> str:
    """The error of a request that becomes no call, as a program gets it."""
    response = Client(headers=headers).get(path)
    assert response.status_code >= 400
    write()
    return response.content.decode()


def test_a_whole_error_of_a_call_is_explained_with_its_own_words(dora):
    pasted = json.dumps(
        {
            "error_code": "PERMISSION_DENIED",
            "message": f"It lacks registry:delete. (request {dora.call.request_id})",
        }
    )

    shown = text(looked_up(dora, pasted))

    assert "The operation needs a scope that the key does not have" in shown
    assert "It lacks registry:delete." in shown


def test_a_mistyped_key_is_explained_by_its_request_id(dora):
    secret = actions.issue(owner=dora.user, name="typo")[1]
    mistyped = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    error = error_of(f"/api/mlflow{EXPERIMENT}", Authorization=f"Bearer {mistyped}")
    request_id = json.loads(error)["request_id"]

    for pasted in (error, request_id):
        found = looked_up(dora, pasted)
        shown = text(dora.client.get(found["Location"]) if found.status_code == 302 else found)
        assert "malformed_key" in shown
        assert "Copy the whole key again" in shown
        assert "The error said." in shown
        assert f"GET /api/mlflow{EXPERIMENT}" in shown
    assert mistyped not in everything_stored()
    assert not SECRET.search(str(list(UncalledRequest.objects.values())))


@pytest.mark.parametrize("path", ["/api/mlfow/api/2.0/mlflow/runs/search", "/nothing/here"])
def test_a_wrong_address_is_quoted_beside_the_right_one(dora, settings, path):
    error = error_of(f"{path}?token=secret-in-query")

    assert f"http://testserver{path}" in error
    assert f"{settings.PUBLIC_URL}/api/mlflow" in error
    assert "secret-in-query" not in error
    shown = text(looked_up(dora, error))
    assert "not_found" in shown
    assert path in shown
    assert f"<code>{settings.PUBLIC_URL}/api/mlflow</code>" in shown


def test_a_doubled_mount_is_quoted_to_who_has_a_key(dora, settings):
    secret = actions.issue(owner=dora.user, name="doubled")[1]
    path = f"/api/mlflow/api/mlflow{EXPERIMENT}"

    message = Client(headers={"Authorization": f"Bearer {secret}"}).get(path).json()["message"]

    assert f"The request went to http://testserver{path}" in message
    assert f"the tracking URI is {settings.PUBLIC_URL}/api/mlflow." in message


def test_api_and_command_explain_the_same_request(dora, capsys):
    request_id = json.loads(error_of(f"/api/mlflow{EXPERIMENT}"))["request_id"]
    reader = program(dora.user, Scope.PORTAL_READ)

    answer = reader.get(f"/uncalled-requests/{request_id}").json()
    call_command("uncalled_request", request_id, "--json")
    assert json.loads(capsys.readouterr().out) == answer
    assert (answer["reason"], answer["path"]) == ("no_key", f"/api/mlflow{EXPERIMENT}")
    assert "MLFLOW_TRACKING_TOKEN" in answer["remedy"]
    call_command("uncalled_request", request_id)
    assert answer["remedy"] in capsys.readouterr().out
    assert reader.get("/uncalled-requests/req_x").status_code == 404
    with pytest.raises(CommandError, match="list_calls --request-id"):
        call_command("uncalled_request", "req_x")


def test_the_admins_log_leads_to_the_explanation(alice):
    error = error_of(f"/api/mlflow{EXPERIMENT}", Authorization="Bearer hk_live_x")
    request_id = json.loads(error)["request_id"]

    shown = text(alice.get("/admin/proxy/call/", {"request_id": request_id}))
    assert "This request became no call" in shown
    assert reverse("account-call", args=[request_id]) in shown
    assert request_id in text(alice.get(reverse("account-call", args=[request_id])))


def test_it_is_forgotten_after_an_hour(dora):
    error = error_of(f"/api/mlflow{EXPERIMENT}")
    UncalledRequest.objects.update(at=timezone.now() - datetime.timedelta(minutes=61))

    response = looked_up(dora, error)

    assert response.status_code == 404
    assert "No call of yours has this id" in text(response)
    assert "Set <code>MLFLOW_TRACKING_TOKEN</code>" in text(response)  # from its error code


def test_a_reason_alone_is_explained(dora):
    shown = text(looked_up(dora, "key_as_name"))

    assert "The name of a registered model contains an API key" in shown


def test_an_error_of_mlflows_own_is_explained(dora):
    shown = text(looked_up(dora, "RestException: RESOURCE_DOES_NOT_EXIST: Run with id=abc not found"))

    assert "MLflow does not have what the call asked for" in shown
    assert "Run with id=abc not found" in shown
    assert reverse("account-calls") in shown


def test_a_client_that_reached_nothing_is_told_the_right_uri(dora, settings):
    pasted = (
        "MlflowException: API request to http://10.0.0.7:5000/api/2.0/mlflow/runs/create failed with exception "
        "HTTPConnectionPool(host='10.0.0.7', port=5000): Max retries exceeded with url: /api/2.0/mlflow/runs/create "
        "(Caused by NewConnectionError('[Errno 111] Connection refused'))"
    )

    shown = text(looked_up(dora, pasted))

    assert "Nothing listens at the host and port" in shown
    assert "http://10.0.0.7:5000/api/2.0/mlflow/runs/create" in shown
    assert "It went to another host, port or scheme" in shown
    assert f"<code>{settings.PUBLIC_URL}/api/mlflow</code>" in shown
