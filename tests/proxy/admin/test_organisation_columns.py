"""The organisation in the admin's lists, files and pages of calls, registrations, owners and usage."""

import csv
import io
import re
from html import unescape

import pytest

from keys import actions
from keys.actions import organisations
from keys.models import ApiKey
from proxy.ledger import incident
from proxy.ledger.incident import QuarantineResult
from proxy.models import Owner
from tests.keys.people import call, signed_in
from tests.portal.account.test_usage import total
from tests.proxy.ledger_rows import row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def keys(cast) -> dict[str, ApiKey]:
    """A key of dora's in `lab`, and one of charlie's in none, with an object, a registration and a call of each."""
    lab = organisations.create_organisation(slug="lab")
    organisations.add_member(organisation=lab, user=cast["dora"])
    made = {name: actions.issue(owner=cast[name], name=f"of {name}")[0] for name in ("dora", "charlie")}
    for number, key in enumerate(made.values()):
        call(key, number, organisation=key.organisation)
        row(key, "registered-models.create", "fraud", organisation=key.organisation)
        total(key, organisation=key.organisation, calls=5)
        Owner.objects.create(
            environment="live",
            kind="trace",
            name=f"tr-{number}",
            user=key.owner,
            organisation=key.organisation,
        )
    return made


def file_of(response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))


@pytest.mark.parametrize("path", ["proxy/call", "proxy/registration"])
def test_wide_lists_have_no_column_while_there_is_only_shared(alice, keys, path):
    text = alice.get(f"/admin/{path}/?organisation=shared").content.decode()

    assert 'data-label="Organisation"' not in text
    assert "of charlie" in text


@pytest.mark.parametrize("path", ["proxy/call", "proxy/registration", "proxy/owner", "keys/apikey"])
def test_each_list_shows_it_filters_by_it_and_exports_it_last(alice, keys, path):
    for query, organisations_listed in (("", ["lab", "shared"]), ("?organisation=lab", ["lab"])):
        rows = file_of(alice.get(f"/admin/{path}/export/{query}"))
        assert sorted(each["organisation"] for each in rows) == organisations_listed
    text = alice.get(f"/admin/{path}/?organisation=lab").content.decode()
    assert ("lab</td>" in text, "shared</td>" in text) == (True, False)


def test_the_pages_of_a_call_a_registration_and_a_model_name_it(alice, keys):
    key = keys["dora"]
    registration = key.registrations.get()
    pages = {
        f"/admin/proxy/call/{key.calls.get().pk}/change/": "?organisation=lab",
        f"/admin/proxy/registration/{registration.pk}/change/": "organisation=lab&amp;name=fraud",
        "/admin/proxy/registration/model/?name=fraud&organisation=lab": "in lab</small>",
    }
    for address, words in pages.items():
        assert words in alice.get(address).content.decode(), address


def test_usage_is_grouped_by_it(alice, keys):
    text = alice.get("/admin/usage/?by=organisation&each=whole").content.decode()
    rows = file_of(alice.get("/admin/usage/export/?by=organisation&each=whole"))
    by_key = file_of(alice.get("/admin/usage/export/?each=whole"))

    assert 'data-label="Organisation">lab</td>' in text
    assert 'data-label="User"' not in text
    assert [(each["organisation"], each["user"], each["calls"]) for each in rows] == [
        ("lab", "", "5"),
        ("shared", "", "5"),
    ]
    assert {each["user"]: each["organisation"] for each in by_key} == {"dora": "lab", "charlie": "shared"}
    assert list(by_key[0])[-1] == "organisation"


def links_to_models(page: str, path: str) -> list[str]:
    return [unescape(found) for found in re.findall(f'href="({path}[^"]+)"', page)]


def test_every_link_to_a_model_names_its_organisation(cast, alice, keys, monkeypatch):
    """The same name in two organisations is two models."""
    lab = keys["dora"].organisation
    for key in keys.values():
        Owner.objects.create(
            environment="live",
            kind="registered_model",
            name="fraud",
            user=key.owner,
            organisation=key.organisation,
        )
    admin, account = "/admin/proxy/registration/model/", "/account/registrations/model/"
    pages = [alice.post("/admin/palette/", {"text": "fraud"}), alice.get("/admin/proxy/registration/")]
    for page in pages:
        links = links_to_models(page.content.decode(), admin)
        assert sorted(re.findall(r"organisation=(\w+)", "".join(links))) == ["lab", "shared"]
        assert [alice.get(link).status_code for link in links] == [200, 200]

    dora = signed_in(cast["dora"])
    call_of = f"/account/calls/{keys['dora'].registrations.get().request_id}/"
    keys["dora"].calls.update(request_id=keys["dora"].registrations.get().request_id)
    for page in (
        dora.post("/account/palette/", {"text": "fraud"}),
        dora.get("/account/registrations/"),
        dora.get(call_of),
    ):
        [link] = links_to_models(page.content.decode(), account)
        assert dora.get(link).status_code == 200, link

    version = row(keys["dora"], "model-versions.create", "fraud", version="3", organisation=lab)
    marks = [QuarantineResult(name="fraud", version="3", result="marked")]
    monkeypatch.setattr(incident, "quarantine", lambda **options: marks)
    sent = {"since": "2020-01-01T00:00", "reason": "leaked", "confirmed": "yes"}
    page = alice.post(f"/admin/incident/{keys['dora'].pk}/", sent).content.decode()
    after = [*links_to_models(page, admin), alice.get(f"/admin/quarantine/{version.pk}/lift/").url]
    assert [re.findall(r"organisation=(\w+)", link) for link in after] == [["lab"], ["lab"]]
