"""The page of alerts: who was notified, open and settled, the test alert; and the count on the dashboard."""

import json

import pytest
from django.core import mail
from django.core.management import call_command

from keys import actions
from keys.actions import organisations
from keys.alerts import leaks, notify
from keys.models import Alert
from keys.rights.scopes import Scope
from tests.keys.api.callers import program, refused
from tests.keys.people import key_of, queries, signed_in

PAGE = "/admin/alerts/"


@pytest.fixture
def leak(cast) -> Alert:
    secret = actions.issue(owner=cast["dora"], name="leaky")[1]
    leaks.report(text=secret, where="a public repository", address="192.0.2.4")
    return Alert.objects.get()


def text(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


def test_an_open_alert_is_on_its_page_and_on_the_dashboard(alice, leak):
    for page in (text(alice.get(PAGE)), text(alice.get("/admin/"))):
        assert "The API key “leaky” was found in the open" in page
        assert "Found in the open</span>" in page
    dashboard = text(alice.get("/admin/"))

    assert f'href="{PAGE}"' in dashboard
    assert alice.get("/admin/").context["open_alerts"] == 1


def test_it_is_settled_with_one_click_by_who_may_change_keys(bob, leak):
    bob.post(f"/admin/alerts/{leak.pk}/settle/")

    assert "No open alerts." in text(bob.get(PAGE))
    assert "by bob" in text(bob.get(PAGE, {"state": "settled"}))
    assert bob.post("/admin/alerts/99999999/settle/").status_code == 404


@pytest.mark.parametrize("query", [{"state": "x"}, {"kind": "x"}, {"older": "x"}, {"older": "9" * 30}])
def test_a_wrong_filter_is_no_filter(alice, leak, query):
    assert "leaky" in text(alice.get(PAGE, query))


def test_filters_and_pages(alice, cast):
    key = key_of(cast["dora"])
    for number in range(55):
        notify(kind=Alert.Kind.CANARY, key=key, occasion=str(number), address=f"192.0.2.{number}")

    first = alice.get(PAGE)
    second = alice.get(PAGE, {"older": first.context["older"]})

    assert [len(page.context["rows"]) for page in (first, second)] == [50, 5]
    assert "No alerts." in text(alice.get(PAGE, {"kind": "unused", "state": "all"}))


def test_it_takes_as_many_queries_for_40_as_for_4(alice, cast):
    counts = []
    for numbers in (range(4), range(4, 40)):
        for number in numbers:
            key = key_of(cast["dora"], f"key {number}")
            notify(kind=Alert.Kind.CANARY, key=key, occasion="once", address="192.0.2.1")
        counts.append(queries(lambda: alice.get(PAGE)))

    assert counts[0] == counts[1]


def test_an_alert_about_a_disk_has_no_key(alice, cast):
    notify(
        kind=Alert.Kind.DISK,
        key=None,
        occasion="spool",
        disk="the spool",
        host="a",
        free="1 MiB",
        total="1 GiB",
    )

    for page in ("/admin/", PAGE):
        assert "The disk of the spool on a is nearly full" in text(alice.get(page))
    [shown] = program(cast["alice"], Scope.PORTAL_READ).get("/alerts").json()["results"]
    assert (shown["key"], shown["user"]) == ("", "")


def test_addresses_are_for_who_may_see_users(cast, leak):
    Alert.objects.update(mailed_to=["dora@example.org"], mailed_at=leak.at)
    bob = signed_in(cast["bob"])

    assert "dora@example.org" in text(bob.get(PAGE))
    cast["bob"].user_permissions.remove(
        *cast["bob"].user_permissions.filter(codename__in=["view_user", "change_user"])
    )
    shown = text(bob.get(PAGE))
    assert "dora@example.org" not in shown
    assert "1 address" in shown


def test_the_test_alert_says_what_became_of_it(bob, settings):
    settings.SMTP_URL, settings.ALERT_EMAILS = {"EMAIL_HOST": "mail.internal"}, ["a@example.org"]
    settings.ALERT_WEBHOOK_URL = ""

    shown = text(bob.post("/admin/alerts/test/", follow=True))

    assert "Test alert by mail: sent." in shown
    assert "ALERT_WEBHOOK_URL is not set." in shown
    assert mail.outbox[0].subject == "Test alert of the Hokusai Registry"


def test_the_api_lists_settles_and_tests(cast, leak):
    caller = program(cast["alice"], Scope.PORTAL_ADMIN)
    [shown] = caller.get("/alerts?state=open").json()["results"]
    assert (shown["kind"], shown["user"], shown["mailed_to"]) == ("leaked", "dora", [])

    settled = caller.post(f"/alerts/{shown['id']}/settle").json()

    assert settled["settled_by"] == "alice"
    assert caller.get("/alerts?state=open").json()["results"] == []
    assert caller.get("/alerts?state=settled&kind=leaked").json()["results"] == [settled]
    for unknown in ("alert_99999999", "alert_x", "x", "alert_" + "9" * 30):
        refused(caller.post(f"/alerts/{unknown}/settle"), 404, "not_found")
    results = caller.post("/alerts/test").json()["results"]
    assert {result["channel"] for result in results} == {"mail", "webhook"}
    reader = program(cast["alice"], Scope.PORTAL_READ)
    refused(reader.post("/alerts/test"), 403, "scope")


def test_commands_list_settle_and_test(cast, leak, capsys, settings):
    settings.SMTP_URL, settings.ALERT_WEBHOOK_URL = {}, ""
    call_command("list_alerts", "--state", "open")
    assert f"alert_{leak.pk}" in capsys.readouterr().out
    call_command("alerts", "--settle", f"alert_{leak.pk}")
    call_command("alerts", "--settle", f"alert_{leak.pk}", "--json")
    call_command("list_alerts", "--state", "open")
    with pytest.raises(SystemExit):
        call_command("alerts", "--test")

    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == "Settled."
    assert lines[1] == f'{{"id": "alert_{leak.pk}", "settled": false}}'
    assert lines[2] == "No such alerts."
    assert lines[3:] == [
        "mail: not set up. SMTP_URL is not set.",
        "webhook: not set up. ALERT_WEBHOOK_URL is not set.",
    ]


def test_activity_and_alerts_are_filtered_by_organisation(cast, alice, capsys):
    """By page, API and command alike; an alert about a file or a limit has no key."""
    for slug in ("lab", "clinic"):
        organisation = organisations.create_organisation(slug=slug)
        organisations.add_member(organisation=organisation, user=cast["dora"])
        key = actions.issue(owner=cast["dora"], name=f"key-of-{slug}", organisation=organisation)[0]
        notify(kind=Alert.Kind.CANARY, key=key, occasion="1", address="192.0.2.1")
        file = {"path": f"workspaces/{slug}/1/a.bin", "recorded": "a", "found": "b", "since": "then"}
        notify(kind=Alert.Kind.ARTIFACT, key=None, occasion=slug, **file)
        quota = {"organisation": slug, "share": 80, "what": "calls", "limit": "5"}
        notify(kind=Alert.Kind.ORGANISATION, key=None, occasion=slug, **quota)
    call_command("list_alerts", "--organisation", "lab", "--json")
    call_command("list_events", "--organisation", "lab", "--json")
    alerts, events = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    kinds = ["organisation_quota", "artifact_changed", "canary_used"]
    assert [each["kind"] for each in alerts] == kinds
    assert {each["key"] for each in events} == {"key-of-lab"}
    assert [each["kind"] for each in alice.get("/api/v1/alerts?organisation=lab").json()["results"]] == kinds
    assert alice.get("/api/v1/events?organisation=lab").json()["results"] == events
    page = alice.get(PAGE, {"organisation": "lab", "kind": "canary_used"})
    assert [row["alert"].key.name for row in page.context["rows"]] == ["key-of-lab"]
    assert 'href="?state=open&amp;organisation=lab"' in text(page)
    assert len(alice.get(PAGE, {"organisation": "lab"}).context["rows"]) == 3
    for address, others in ((PAGE, "clinic"), ("/admin/keys/keyevent/", "key-of-clinic")):
        assert others not in text(alice.get(address, {"organisation": "lab"}))
        assert text(alice.get(address, {"organisation": "no\0ne"}))
