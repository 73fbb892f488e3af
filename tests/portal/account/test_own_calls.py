"""A holder's log, and why a call failed, by its request id."""

import datetime

import pytest
from django.urls import reverse
from django.utils import timezone

from keys import actions
from keys.models import User
from portal.pages.explanations import explanations
from tests.keys.people import SECRET, call, everything_stored, queries, signed_in
from tests.portal.account.test_urls import text

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

CALLS = "/account/calls/"
FIND = "/account/calls/find/"


def make(key, first: int, count: int, **changes) -> None:
    now = timezone.now()
    for number in range(first, first + count):
        call(key, number, at=now - datetime.timedelta(seconds=number), **changes)


def looked_up(holder, pasted: str):
    return holder.client.post(FIND, {"request_id": pasted})


def ids(response) -> list[int]:
    return [int(found.request_id.removeprefix("req_"), 16) for found in response.context["calls"]]


def test_the_log_is_read_in_pages_latest_first(dora):
    make(dora.key, 10, 120)

    first = dora.client.get(CALLS)
    second = dora.client.get(CALLS, {"after": first.context["older"]})
    third = dora.client.get(CALLS, {"after": second.context["older"]})

    assert ids(first) + ids(second) + ids(third) == [1, *range(10, 130)]
    assert third.context["older"] is None
    assert dora.client.get(CALLS, {"after": "nonsense"}).status_code == 200
    assert dora.client.get(CALLS, {"after": f"{10**30}-1"}).status_code == 200


def test_the_log_asks_as_much_for_a_thousand_calls_as_for_ten(dora):
    make(dora.key, 10, 9)
    few = queries(lambda: dora.client.get(CALLS))
    make(dora.key, 100, 990)

    assert queries(lambda: dora.client.get(CALLS)) == few


def test_the_log_is_filtered_by_answer_and_key(dora):
    other, _ = actions.issue(owner=dora.user, name="other")
    call(other, 7)
    call(other, 8, status=502, reason="upstream_unreachable")
    call(other, 9, status=404)
    call(other, 10, status=500)
    call(other, 11, status=499, reason="client_gone")

    assert ids(dora.client.get(CALLS, {"show": "refused"})) == [8, 1]
    assert ids(dora.client.get(CALLS, {"show": "passed"})) == [7]
    assert ids(dora.client.get(CALLS, {"show": "failed", "key": other.public_id})) == [11, 10, 9]
    assert ids(dora.client.get(CALLS, {"show": "refused", "key": other.public_id})) == [8]
    assert ids(dora.client.get(CALLS, {"show": "sideways", "key": "key_unknown"})) == []


def test_a_filter_that_postgresql_cannot_hold_finds_without_it(dora):
    call(dora.key, 7)

    assert ids(dora.client.get(CALLS, {"key": f"{dora.key.public_id}\0"})) == ids(dora.client.get(CALLS))
    assert dora.client.get(f"{CALLS}download.csv", {"key": "\0x"}).status_code == 200


def test_anothers_key_in_the_filter_finds_nothing(dora, mallory):
    assert ids(dora.client.get(CALLS, {"key": mallory.key.public_id})) == []


def test_the_filtered_log_is_to_be_had_as_a_file(dora):
    make(dora.key, 10, 3)

    lines = text(dora.client.get(f"{CALLS}download.csv", {"show": "passed"})).splitlines()

    assert len(lines) == 4
    assert lines[0].startswith("request_id,at,user")


def test_a_request_id_leads_to_what_happened_and_what_to_do(dora):
    for pasted in (dora.call.request_id, f'  "request_id": "{dora.call.request_id.upper()}"'):
        response = looked_up(dora, pasted)

        assert response["Location"] == reverse("account-call", args=[dora.call.request_id])
        shown = text(dora.client.get(response["Location"]))
        assert "The operation needs a scope that the key does not have" in shown
        assert f"/account/keys/{dora.key.public_id}/request/scope/" in shown
        assert "Delete registered models, their versions and prompts" in shown
        assert "ask your administrator to change this one's rights" in shown


@pytest.mark.parametrize("reason", sorted(explanations()))
def test_every_reason_is_explained_to_who_looks_it_up(dora, reason):
    status = explanations()[reason].status or 502
    found = call(dora.key, 5, status=status, reason=reason, operation="runs.get")

    response = dora.client.get(reverse("account-call", args=[found.request_id]))

    assert response.context["happened"] == explanations()[reason].happened
    assert response.context["remedy"] == explanations()[reason].remedy
    assert "What happened." in text(response)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "This call succeeded."),
        (400, "MLflow found a mistake in the request."),
        (404, "MLflow does not have what the call asked for"),
        (409, "An object with this name already exists"),
        (418, "MLflow itself did not do it."),
        (499, "The client went away"),
        (500, "MLflow failed at it."),
    ],
)
def test_what_the_portal_did_not_refuse_is_told_too(dora, status, words):
    found = call(dora.key, 5, status=status)

    assert words in text(dora.client.get(reverse("account-call", args=[found.request_id])))


@pytest.mark.parametrize("days", [0, 5, 60])
def test_an_old_call_is_found(dora, days):
    at = timezone.now() - datetime.timedelta(days=days)
    found = call(dora.key, 5, at=at)

    assert dora.client.get(reverse("account-call", args=[found.request_id])).status_code == 200


def test_the_registration_that_a_call_made_is_named(dora):
    found = call(dora.key, 5, request_id=dora.registration.request_id, operation="registered-models.create")

    shown = text(dora.client.get(reverse("account-call", args=[found.request_id])))

    assert "dora-model</a>: Registered the model dora-model (Done)" in shown
    assert "dora-model" not in text(dora.client.get(reverse("account-call", args=[dora.call.request_id])))


def test_staff_who_see_everybodys_calls_are_led_there(dora, mallory):
    admin = signed_in(User.objects.create_superuser("root"))
    there = f"{reverse('admin:proxy_call_changelist')}?request_id={mallory.call.request_id}"
    where = reverse("account-call", args=[mallory.call.request_id])

    assert there in text(admin.get(where))
    assert there not in text(dora.client.get(where))


def test_anothers_id_and_an_unknown_one_are_answered_alike(dora, mallory):
    unknown = f"req_{'f' * 32}"

    answers = []
    for request_id in (mallory.call.request_id, unknown):
        response = dora.client.get(looked_up(dora, request_id)["Location"])
        assert response.status_code == 404
        answers.append(text(response).replace(request_id, ""))

    assert "No call of yours has this id" in answers[0]
    tokens = [line for line in answers[0].splitlines() if "csrfmiddlewaretoken" not in line]
    assert tokens == [line for line in answers[1].splitlines() if "csrfmiddlewaretoken" not in line]


@pytest.mark.parametrize("pasted", ["hello", "req_123", "x" * 400])
def test_what_is_no_request_id_is_told_so(dora, pasted):
    response = looked_up(dora, pasted)

    assert response.status_code == 200
    assert "A request id starts with req_ and has 32 characters after it." in text(response)


def test_a_pasted_key_is_recognised_and_goes_nowhere(dora, mallory, caplog):
    key, secret = actions.issue(owner=dora.user, name="pasted")
    _, anothers = actions.issue(owner=mallory.user, name="not dora's")
    before = everything_stored()
    caplog.set_level("DEBUG")

    mine, other = looked_up(dora, secret), looked_up(dora, f"token={anothers}")
    half = looked_up(dora, secret[:20])

    for response in (mine, other, half):
        assert "That is an API key, not a request id." in text(response)
        assert secret[:20] not in text(response)
        assert anothers not in text(response)
    assert f'It is your key <a href="{reverse("account-key", args=[key.public_id])}">' in text(mine)
    assert "not dora" not in text(other)
    assert not SECRET.search(caplog.text)
    assert everything_stored() == before


def test_a_key_in_the_address_of_a_call_is_not_repeated(dora):
    _, secret = actions.issue(owner=dora.user, name="in the address")

    response = dora.client.get(reverse("account-call", args=[secret]))

    assert response.status_code == 404
    assert secret not in text(response)
