"""Refusals in the form that their sender can read."""

import json

import pytest
from django.test import RequestFactory

from keys.refusals import Refusal, forbidden, not_sent
from proxy.answers import fit_exporter, refuse
from proxy.request.bodies import too_late

EXPORT = "/api/mlflow/v1/traces"


@pytest.fixture
def factory() -> RequestFactory:
    return RequestFactory()


def test_a_message_in_json_reads_the_same_in_a_terminal(factory):
    reply = refuse(factory.get("/version"), forbidden("scope", "The key “Übung” may not – see “a…b” \ud800."))

    assert b"\\u" not in reply.content
    assert "The key 'Übung' may not - see 'a...b' ?." in json.loads(reply.content)["message"]
    assert reply.reason_phrase == "Forbidden"


def test_a_page_keeps_its_typography(factory):
    reply = refuse(factory.get("/version", HTTP_ACCEPT="text/html"), forbidden("scope", "The key “x”."))

    assert "The key “x”." in reply.content.decode()


def test_a_call_that_was_not_sent_is_a_429_without_the_words_of_a_limit(factory):
    refusal = not_sent("portal_busy", "The portal is busy.", retry_after=7)
    reply, page = (
        refuse(factory.get("/version", HTTP_ACCEPT=accept), refusal) for accept in ("*/*", "text/html")
    )

    assert (reply.status_code, reply["Retry-After"]) == (429, "7")
    assert json.loads(reply.content)["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert not reply.has_header("RateLimit")
    assert "Too many requests" not in page.content.decode()
    problem = refuse(factory.get("/api/v1/keys/"), refusal)
    assert (problem.status_code, problem["Retry-After"], json.loads(problem.content)["status"]) == (
        503,
        "7",
        503,
    )


@pytest.mark.parametrize("path", [EXPORT, "/v1/traces"])
def test_an_exporter_is_told_to_repeat_within_its_ten_seconds(factory, path):
    request = factory.post(path)

    for refusal in (not_sent("portal_busy", "Busy.", retry_after=30), too_late()):
        reply = refuse(request, fit_exporter(request, refusal))
        assert (reply.status_code, reply["Retry-After"]) == (429, "2")
    assert fit_exporter(factory.post("/version"), too_late()).status == 408


def test_an_exporter_shows_the_message_as_the_reason_phrase(factory):
    message = "The key “Ü” lacks\r\nX-Header: the scope traces:write. " + "a" * 400
    reply = refuse(factory.post(EXPORT), forbidden("scope", message))

    assert reply.reason_phrase.startswith("The key '?' lacks X-Header: the scope traces:write. aaa")
    assert len(reply.reason_phrase) == 300


def test_only_what_the_portal_did_not_send_may_be_repeated():
    answered = Refusal(status=503, error_code="TEMPORARILY_UNAVAILABLE", reason="upstream_error", message="")

    assert not_sent("portal_busy", "").is_not_sent
    assert not answered.is_not_sent
