"""Organisations in the admin pages: what staff see and change, through the same checks as the API and the commands."""

import csv
import io

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from keys import actions
from keys.actions import organisations
from keys.models import ApiKey, Organisation
from tests.keys.people import queries
from tests.portal.account.test_usage import total

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
LIST = "/admin/keys/organisation/"


@pytest.fixture
def lab(cast) -> Organisation:
    made = organisations.create_organisation(slug="lab", name="The Lab")
    organisations.add_member(organisation=made, user=cast["dora"], role="owner")
    return made


def page(name: str, *numbers: int) -> str:
    return reverse(f"admin:keys_organisation_{name}", args=numbers)


def errors(response) -> str:
    return str(response.context["form"].errors)


def test_the_list_and_its_file_count_members_keys_and_calls(cast, alice, lab):
    key = actions.issue(owner=cast["dora"], name="training", organisation=lab)[0]
    actions.revoke(key=actions.issue(owner=cast["dora"], name="old", organisation=lab)[0])
    total(key, organisation=lab, calls=7)

    rows = {row.slug: row for row in alice.get(LIST).context["cl"].result_list}
    file = b"".join(alice.get(f"{LIST}export/").streaming_content).decode()

    assert (rows["lab"].member_count, rows["lab"].key_count, rows["lab"].calls_in_month) == (1, 1, 7)
    [listed] = [row for row in csv.DictReader(io.StringIO(file)) if row["slug"] == "lab"]
    assert [listed[name] for name in ("name", "members", "keys", "calls_30_days")] == [
        "The Lab",
        "1",
        "1",
        "7",
    ]
    assert [row.slug for row in alice.get(LIST, {"q": "lab the"}).context["cl"].result_list] == ["lab"]


def test_the_list_takes_as_many_queries_for_30_organisations_as_for_one(alice, lab):
    before = queries(lambda: alice.get(LIST))
    for number in range(29):
        organisations.create_organisation(slug=f"org-{number}")

    assert queries(lambda: alice.get(LIST)) == before


def test_the_page_shows_members_keys_limits_and_usage(cast, alice, lab):
    key = actions.issue(owner=cast["dora"], name="training", organisation=lab)[0]
    total(key, organisation=lab, calls=7)
    organisations.change_organisation(organisation=lab, monthly_requests=10)

    text = alice.get(page("change", lab.pk)).content.decode()

    for words in ("dora", "Owner", "training", key.masked, "7 of 10 (70 %)", "Successful (2xx): 7"):
        assert words in text, words


def test_staff_create_change_and_close_an_organisation(cast, alice):
    assert "2 to 63 characters" in errors(alice.post(page("add"), {"slug": "The Lab"}))
    alice.post(page("add"), {"slug": "lab", "name": "The Lab"})
    lab = Organisation.objects.get(slug="lab")
    form = alice.get(page("limits", lab.pk)).context["form"]
    unchanged = {form[name].html_initial_name: form[name].value() or "" for name in form.fields}
    sent = {**unchanged, "name": "Lab", "monthly_bytes": "10G", "requests_per_minute": "600"}
    lab.monthly_requests = 5000
    lab.save()  # by a colleague, while the page was open
    alice.post(page("limits", lab.pk), {**sent, "monthly_requests": ""})
    lab.refresh_from_db()
    assert (lab.name, lab.monthly_bytes, lab.requests_per_minute) == ("Lab", 10 * 2**30, 600)
    assert lab.monthly_requests == 5000
    assert "size" in errors(alice.post(page("limits", lab.pk), {**sent, "monthly_bytes": "-1"}))

    alice.post(page("add_member", lab.pk), {"user": cast["dora"].pk, "role": "owner"})
    key = actions.issue(owner=cast["dora"], name="training", organisation=lab)[0]
    assert "Type “lab”" in errors(alice.post(page("close", lab.pk), {"confirmation": "Lab"}))
    alice.post(page("close", lab.pk), {"confirmation": "lab", "reason": "done"})

    lab.refresh_from_db()
    assert lab.closed_at
    assert ApiKey.objects.get(pk=key.pk).revoked_reason == "The organisation was closed: done"
    assert "was closed on" in errors(alice.post(page("limits", lab.pk), {**sent, "name": "again"}))
    assert LogEntry.objects.filter(object_id=str(lab.pk), user=cast["alice"]).count() == 4


def test_staff_add_change_and_remove_members(cast, alice, lab):
    alice.post(page("add_member", lab.pk), {"user": cast["charlie"].pk, "role": "member"})
    key = actions.issue(owner=cast["charlie"], name="training", organisation=lab)[0]
    charlie, dora = (lab.memberships.get(user__username=name) for name in ("charlie", "dora"))
    again = alice.post(page("add_member", lab.pk), {"user": cast["charlie"].pk, "role": "member"})
    assert "is a member of lab already" in errors(again)
    assert "the last owner" in errors(alice.post(page("role", lab.pk, dora.pk), {"role": "member"}))
    assert "the last owner" in errors(alice.post(page("remove_member", lab.pk, dora.pk)))

    alice.post(page("role", lab.pk, charlie.pk), {"role": "owner"})
    assert lab.memberships.get(pk=charlie.pk).role == "owner"
    assert "training" in alice.get(page("remove_member", lab.pk, charlie.pk)).content.decode()
    alice.post(page("remove_member", lab.pk, charlie.pk))

    assert not lab.memberships.filter(pk=charlie.pk).exists()
    assert ApiKey.objects.get(pk=key.pk).revoked_at
    other = organisations.create_organisation(slug="clinic")
    assert alice.get(page("role", other.pk, dora.pk)).status_code == 404


def test_the_organisation_of_users_without_one_stays_open(alice):
    shared = Organisation.objects.shared()

    text = alice.get(page("change", shared.pk)).content.decode()

    assert "Users without an organisation use this one." in text
    assert page("close", shared.pk) not in text
    assert "stays open" in errors(alice.post(page("close", shared.pk), {"confirmation": "shared"}))
