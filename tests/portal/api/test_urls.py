"""The management API's addresses, its description and its browser."""

import json

import pytest
from django.test import Client
from django.urls import resolve

from portal.api import schema, urls

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


def test_an_address_may_end_with_a_slash_or_not(client):
    for address in ("/api/v1/me", "/api/v1/me/"):
        assert client.get(address).status_code == 401


@pytest.mark.parametrize("address", ["/api/v1/", "/api/v1/nothing", "/api/v1/keys/a/b/c", "/api/v1/me//"])
def test_what_is_not_there_says_so_to_programs_and_browsers_alike(client, address):
    answer = client.get(address, headers={"Accept": "text/html"})

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["reason"] == "not_found"
    assert answer.json()["request_id"] == answer["X-Request-ID"]


def test_a_fault_is_a_problem_too(client, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("hk_live_secret")

    monkeypatch.setattr("keys.api.people.Me.get", fail)
    monkeypatch.setattr("keys.api.callers.RulePermission.has_permission", lambda *arguments: True)
    client.raise_request_exception = False
    answer = client.get("/api/v1/me")

    assert (answer.status_code, answer.json()["reason"]) == (500, "internal_error")
    assert "secret" not in answer.content.decode()
    assert answer.wsgi_request.api_reason == "internal_error"  # which the usage log takes over


def test_the_answer_is_json_whatever_is_asked_for(client):
    answer = client.get("/api/v1/me", headers={"Accept": "text/html, application/xml"})

    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("get", "/api/v1/leaks", "POST"),
        ("options", "/api/v1/leaks/", "POST"),
        ("post", "/api/v1/docs", "GET, HEAD, OPTIONS"),
        ("delete", "/api/v1/schema", "GET, HEAD, OPTIONS"),
        ("put", "/api/v1/keys", "GET, POST, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_a_problem_that_names_those_there_are(client, method, address, allowed):
    answer = getattr(client, method)(address)

    assert (answer.status_code, answer["Content-Type"]) == (405, "application/problem+json")
    assert (answer.json()["reason"], answer.json()["request_id"]) == ("bad_method", answer["X-Request-ID"])
    assert answer["Allow"] == allowed


@pytest.mark.parametrize("address", ["/api/v1/keys", "/api/v1/keys/"])
def test_the_methods_of_an_address_are_told_to_anybody(client, address):
    answer = client.options(address)

    assert (answer.status_code, answer["Allow"]) == (200, "GET, POST, HEAD, OPTIONS")
    assert answer.json() == {"methods": ["GET", "POST", "HEAD", "OPTIONS"]}


def test_a_found_key_is_reported_with_a_slash_too(client):
    answer = client.post("/api/v1/leaks/", {"key": 1}, content_type="application/json")

    assert (answer.status_code, answer.json()["reason"]) == (400, "bad_report")


def test_the_schema_lists_every_address_for_anybody():
    described = json.loads(Client().get("/api/v1/schema/").content)

    listed = {address.removeprefix("/api/v1/") for address in described["paths"]}
    wanted = {address.replace("<str:", "{").replace(">", "}") for address in urls.ADDRESSES}
    assert listed == wanted - {"schema", "docs"}
    assert described["openapi"].startswith("3.")


def test_every_operation_says_what_it_is_and_which_errors_it_has():
    for address, operations in schema.schema()["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (address, method)
            assert {"400", "401", "403", "503"} <= set(operation["responses"])
            assert operation["security"] == [{"key": []}, {"cookieAuth": []}], (address, method)


def test_every_view_says_who_may_for_each_of_its_methods():
    for address in schema.schema()["paths"]:
        view = resolve(address.replace("{", "").replace("}", "")).func.view_class
        methods = {method.upper() for method in view.http_method_names if hasattr(view, method)} - {
            "OPTIONS",
            "HEAD",
        }
        assert methods == set(view.rules), address


def test_the_browser_takes_everything_from_this_host(client):
    page = client.get("/api/v1/docs/").content.decode()
    script = client.get("/api/v1/docs/?script=").content.decode()

    assert "http" not in page.replace("<!DOCTYPE html>", "")
    assert "<style" not in page
    assert 'url: "/api/v1/schema' in script
