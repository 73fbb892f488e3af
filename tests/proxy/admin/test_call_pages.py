"""The usage log's pages: what is asked for is what is shown and exported, page by page, and no key gets around."""

import csv
import datetime
import html
import io

import pytest
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.admin.key_page import CLASSES
from keys.models import User
from proxy.lists import exports
from proxy.lists.filters import STATUS_CLASSES
from proxy.models import Call
from tests.keys.people import CALLS, call, queries, signed_in
from tests.proxy.ledger_rows import row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def alice() -> Client:
    return signed_in(User.objects.create_superuser("alice"))


@pytest.fixture
def issued():
    return actions.issue(owner=User.objects.create_user("dora"), name="training")


@pytest.fixture
def key(issued):
    return issued[0]


def listed(client: Client, **asked: str) -> list[int]:
    """The numbers of the calls that the log shows."""
    return [int(found.request_id[4:]) for found in client.get(CALLS, asked).context["shown"].rows]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"user": "dora"}, [1, 2, 3, 4]),
        ({"user": "emil"}, [5]),
        ({"key": "training"}, [1, 2, 3, 4]),
        ({"request_id": f"req_{3:032x}"}, [3]),
        ({"operation": "runs.create"}, [2]),
        ({"status": "2"}, [1, 2, 5]),
        ({"status": "4"}, [3, 4]),
        ({"refused": "on"}, [3]),
        ({"reason": "not_owner"}, [3]),
        ({"object": "vision"}, [1]),
        ({"address": "192.0.2.7"}, [2]),
        ({"span": "1h"}, [1, 2]),
        ({"span": "1h", "user": "emil"}, []),
        ({"until": "2001-01-01T00:00"}, []),
        ({"address": "here"}, []),
        ({"key": "none"}, []),
    ],
)
def test_it_is_filtered(alice, key, asked, found):
    other = actions.issue(owner=User.objects.create_user("emil"), name="serving")[0]
    now = timezone.now()
    call(key, 1, object_kind="registered_model", object_name="vision")
    call(key, 2, operation="runs.create", address="192.0.2.7", at=now - datetime.timedelta(minutes=50))
    call(key, 3, status=403, reason="not_owner", at=now - datetime.timedelta(hours=2))
    call(key, 4, status=404, at=now - datetime.timedelta(days=3))
    call(other, 5, at=now - datetime.timedelta(days=20))

    assert listed(alice, **asked) == found


def test_a_refusal_is_found_by_the_request_id_of_its_error_and_explained(alice, key):
    refused = call(key, 1, status=403, reason="not_owner", object_kind="run", object_name="abc")
    registered = row(key, "registered-models.create", "vision", request_id=refused.request_id)

    page = alice.get(CALLS, {"request_id": refused.request_id}).content.decode()
    detail = alice.get(f"{CALLS}{refused.pk}/change/").content.decode()

    assert refused.request_id in page
    assert "not_owner" in page
    assert "403 refused" in page
    assert "What to do:" in detail
    assert f"{refused.at:%Y-%m-%d %H:%M:%S} UTC" in detail
    assert f"/admin/proxy/registration/{registered.pk}/change/" in detail
    assert "/mlflow/#/runs/abc" in detail
    assert "<html" not in alice.get(f"{CALLS}{refused.pk}/change/?part=1").content.decode()
    assert alice.get(f"{CALLS}²/change/").status_code == 404


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (200, "", "200 successful"),
        (403, "not_owner", "403 refused"),
        (503, "upstream_busy", "503 refused"),
        (404, "", "404 failed at MLflow"),
        (500, "", "500 failed at MLflow"),
        (499, "client_gone", "499 caller gone"),
    ],
)
def test_only_the_portals_own_errors_are_called_refused(alice, key, status, reason, words):
    made = call(key, 1, status=status, reason=reason)

    for page in (alice.get(CALLS), alice.get(f"{CALLS}{made.pk}/change/")):
        assert words in page.content.decode()
    assert listed(alice, refused="on") == ([1] if "refused" in words else [])
    assert made.is_refused == ("refused" in words)


def test_what_counts_by_status_alone_does_not_say_refused(alice, key):
    shown = alice.get(CALLS).context["filter"].fields["status"].choices

    assert ("4", "4xx client error") in shown
    assert not any("refused" in str(label) for _, label in shown)
    assert not any("refused" in label for label in STATUS_CLASSES.values())
    assert not any("refused" in label.lower() for label, _ in CLASSES.values())


def test_a_call_of_a_browser_is_shown_without_a_key(alice, key):
    made = call(key, 1)
    Call.objects.update(key=None)

    assert "browser" in alice.get(CALLS).content.decode()
    assert "a browser session" in alice.get(f"{CALLS}{made.pk}/change/").content.decode()


def test_pages_lead_on_and_back(alice, key):
    now = timezone.now()
    for number in range(120):
        call(key, number, at=now - datetime.timedelta(hours=number // 2))
    seen, address = [], f"{CALLS}?user=dora"
    while True:
        shown = alice.get(address).context["shown"]
        seen += [found.pk for found in shown.rows]
        if not shown.older:
            break
        address = f"{CALLS}?user=dora&{shown.older}"

    assert seen == list(Call.objects.values_list("pk", flat=True))
    back = alice.get(f"{CALLS}?{shown.newer}").context["shown"]
    assert [found.pk for found in back.rows] == seen[50:100]
    assert [found.pk for found in alice.get(f"{CALLS}?{back.newer}").context["shown"].rows] == seen[:50]
    assert len(alice.get(f"{CALLS}?older=nonsense&user=dora").context["shown"].rows) == 50


@pytest.mark.parametrize("asked", [{}, {"user": "dora"}, {"refused": "on", "span": "30d"}])
def test_ten_rows_cost_as_many_queries_as_a_thousand(alice, key, asked):
    now = timezone.now()
    counts = []
    for rows in (10, 1000):
        Call.objects.all().delete()
        for number in range(rows):
            call(key, number, at=now - datetime.timedelta(minutes=number), status=403, reason="scope")
        counts.append(queries(lambda: alice.get(CALLS, asked)))

    assert counts[0] == counts[1]
    assert counts[0] <= 4


def test_what_is_filtered_is_what_is_exported(alice, key, monkeypatch):
    monkeypatch.setattr(exports, "CHUNK", 4)
    for number in range(11):
        call(key, number, status=200 + 203 * (number % 2))

    for asked in ({}, {"status": "4"}, {"user": "dora", "status": "2"}):
        answer = alice.get(f"{CALLS}export/", asked)
        lines = csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode()))

        assert answer.streaming
        assert [int(line["request_id"][4:], 16) for line in lines] == [
            int(found.request_id[4:], 16) for found in alice.get(CALLS, asked).context["shown"].rows
        ]


class TestAPastedKey:
    """Wherever it is pasted, it becomes its id, and is in no address and no page."""

    @pytest.mark.parametrize("field", ["key", "request_id", "user", "object"])
    def test_finds_its_calls(self, alice, issued, field):
        key, secret = issued
        call(key, 1)

        answer = alice.post(f"{CALLS}find/", {field: f"Bearer {secret}", "span": "24h"})

        assert (answer.status_code, answer["Location"]) == (303, f"{CALLS}?span=24h&key={key.public_id}")
        page = alice.get(answer["Location"]).content.decode()
        assert secret not in page
        assert "You searched for an API key" in page

    @pytest.mark.parametrize("page", ["", "export/", "1/change/"])
    def test_in_an_address_is_taken_out_before_anything_else(self, alice, issued, page):
        for client in (alice, Client()):
            answer = client.get(f"{CALLS}{page}", {"object": issued[1]})

            assert (answer.status_code, answer["Location"]) == (303, f"{CALLS}{page}")

    def test_of_elsewhere_is_not_repeated(self, alice):
        secret = "hk_live_" + "a" * 32

        answer = alice.post(f"{CALLS}find/", {"key": secret}, follow=True)

        assert secret not in answer.content.decode()
        assert "There is no key “hk_live_aaaa…" in answer.content.decode()


def test_the_filter_is_sent_by_post_and_stands_in_the_address_after(alice, key):
    answer = alice.post(
        f"{CALLS}find/", {"user": "dora", "span": "24h", "reason": "", "csrfmiddlewaretoken": "x"}
    )

    assert answer["Location"] == f"{CALLS}?user=dora&span=24h"
    assert alice.get(f"{CALLS}find/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="alice"))
    assert strict.post(f"{CALLS}find/", {"user": "dora"}).status_code == 403


def test_a_superuser_changes_and_deletes_no_call(alice, key):
    made = call(key, 1)
    before = Call.objects.values().get()

    for path in (f"{made.pk}/change/", f"{made.pk}/delete/", "add/", "", "export/"):
        answer = alice.post(f"{CALLS}{path}", {"status": "500", "post": "yes", "action": "delete_selected"})
        assert answer.status_code in (403, 405), path
    assert Call.objects.values().get() == before


def test_an_empty_log_says_what_to_do(alice):
    assert "Issue a key" in alice.get(CALLS).content.decode()


def test_a_path_is_broken_at_its_separators_and_copied_exactly(alice, key):
    path = "/api/2.0/mlflow-artifacts/a_b<x>"
    made = call(key, 1, operation="", path=path, status=404, reason="not_a_route")

    for page in (CALLS, f"{CALLS}{made.pk}/change/"):
        text = alice.get(page).content.decode()
        broken = "/<wbr>api/<wbr>2.<wbr>0/<wbr>mlflow-<wbr>artifacts/<wbr>a_<wbr>b&lt;x&gt;</code>"
        assert broken in text
        assert html.unescape(broken.replace("<wbr>", "").removesuffix("</code>")) == path
        assert f"<code>req_{1:032x}</code>" in text
