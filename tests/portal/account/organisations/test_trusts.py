"""An organisation's trusts on its pages, over the API and by command: the same in all three."""

import io
import json

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from keys.models import Organisation, Trust
from tests.issuers import AUDIENCE
from tests.keys.people import call, everything_stored, signed_in
from tests.keys.trusts import FIELDS, ISSUER, client_of, make_trust
from tests.proxy.ledger_rows import row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
PAGES = "/account/organisations/lab/trusts/"
API = "/api/v1/organisations/lab/trusts"


@pytest.fixture
def trust(db) -> Trust:
    return make_trust()


def test_each_page_is_for_its_roles(trust, alice):
    own = f"{PAGES}{trust.key.public_id}/"
    seen = {
        name: [client.get(page).status_code for page in (PAGES, f"{PAGES}add/", f"{PAGES}try/", own)]
        for name, client in {
            **{n: client_of(n) for n in ("olga", "max", "mia", "dora")},
            "alice": alice,
        }.items()
    }
    assert seen == {
        "olga": [200] * 4,
        "alice": [200] * 4,
        "max": [200, 404, 200, 404],
        "mia": [404] * 4,
        "dora": [404] * 4,
    }


def test_an_owner_adds_and_changes_a_trust_from_a_ready_made_form(trust):
    olga = client_of("olga")
    page = olga.get(f"{PAGES}add/?form=github")
    initial = page.context["form"].initial
    assert initial["issuer"] == "https://token.actions.githubusercontent.com"
    assert initial["audience"].endswith("/api/mlflow/w/lab")
    answers = {**initial, "name": "ci", "preset": "contributor", "conditions": "ref=refs/heads/main"}
    assert "anybody can get a token" in olga.post(f"{PAGES}add/", answers).content.decode()
    answers["conditions"] = "repository=acme/models\r\nref=refs/heads/main\r\nref=refs/tags/*\r\n"
    assert olga.post(f"{PAGES}add/", answers).status_code == 302
    added = Trust.objects.get(key__name="ci")
    assert added.conditions == {"repository": ["acme/models"], "ref": ["refs/heads/main", "refs/tags/*"]}
    page = f"{PAGES}{added.key.public_id}/"
    changed = {"issuer": added.issuer, "audience": AUDIENCE, "conditions": "repository=acme/models"}
    assert olga.post(page, changed).status_code == 302
    added.refresh_from_db()
    assert (added.audience, added.conditions) == (AUDIENCE, {"repository": ["acme/models"]})
    listed = olga.get(PAGES).content.decode()
    assert "repository=acme/models" in listed
    assert "acme/*" in listed
    assert "trust, no secret" in olga.get("/account/organisations/lab/").content.decode()


def test_log_ledger_pages_and_files_name_the_trust_and_the_subject(trust, alice):
    subject = "repo:acme/models:ref:refs/heads/main"
    made = call(trust.key, 7, subject=subject, at=timezone.now(), organisation=trust.key.organisation)
    registered = row(
        trust.key,
        "model-versions.create",
        "churn",
        version="1",
        subject=subject,
        organisation=trust.key.organisation,
    )
    api = ["/api/v1/calls", f"/api/v1/calls/{made.request_id}", "/api/v1/registrations"]
    admin = [
        *(reverse("admin:proxy_call_changelist"), reverse("admin:proxy_call_change", args=[made.pk])),
        *(
            f"{reverse('admin:proxy_call_export')}?form=csv",
            f"{reverse('admin:proxy_call_export')}?form=jsonl",
        ),
        reverse("admin:proxy_registration_changelist"),
        reverse("admin:proxy_registration_change", args=[registered.pk]),
        f"{reverse('admin:proxy_registration_export')}?form=csv",
        f"{reverse('admin:proxy_registration_model')}?name=churn&environment=live&organisation=lab",
    ]
    owner = [f"/account/organisations/lab/{what}/download.csv" for what in ("calls", "registrations")]
    holder = ["/account/calls/", f"/account/calls/{made.request_id}/", "/account/registrations/"]
    seen_by = ((alice, api + admin), (client_of("olga"), owner), (signed_in(trust.key.owner), holder))
    for client, addresses in seen_by:
        for address in addresses:
            answer = client.get(address)
            said = (answer.getvalue() if answer.streaming else answer.content).decode()
            assert (answer.status_code, subject in said, "nightly" in said) == (200, True, True), address


def test_a_pasted_token_is_explained_and_kept_nowhere(trust):
    good, bad = ISSUER.token(), ISSUER.token(repository="evil/models")
    maintainer = client_of("max")

    def said(text: str) -> str:
        page = maintainer.post(f"{PAGES}try/", {"token": text}).content.decode()
        assert text[:60] not in page
        return page

    assert "Would pass" in said(good)
    page = said(bad)
    assert "Would be refused" in page
    assert "evil/models (expected: acme/*)" in page
    assert "Would be refused" in said(f"{good[:-8]}AAAAAAAA")
    assert "Not checked" in said(json.dumps(ISSUER.claims()))
    assert "paste a signed token" in said("hello").lower()
    stored = everything_stored()
    assert good not in stored
    assert bad not in stored


def test_the_api_does_the_same(trust):
    olga = client_of("olga")
    new = {**FIELDS, "name": "api", "preset": "reader", "expires_in": "90d", "patterns": ["churn-*"]}
    made = olga.post(API, new, content_type="application/json")
    assert (made.status_code, made.json()["masked"], made.json()["patterns"]) == (
        201,
        "trust, no secret",
        ["churn-*"],
    )
    assert [each["name"] for each in olga.get(API).json()["trusts"]] == ["api", "nightly"]
    one = f"{API}/{made.json()['id']}"
    changed = olga.patch(one, {"conditions": {"sub": ["a"]}}, content_type="application/json")
    assert changed.json()["conditions"] == olga.get(one).json()["conditions"] == {"sub": ["a"]}
    tried = olga.post(f"{API}/try", {"token": ISSUER.token()}, content_type="application/json").json()
    assert {each["trust"]: each["passes"] for each in tried["trials"]} == {"nightly": True, "api": False}
    refused = olga.post(API, {**new, "conditions": {"sub": ["*"]}}, content_type="application/json")
    assert (refused.status_code, refused.json()["reason"]) == (409, "not_possible")
    assert client_of("max").post(API, new, content_type="application/json").status_code == 403
    assert client_of("mia").get(API).status_code == 403


def test_commands_list_try_and_change(trust, monkeypatch):
    def run(*options: str, given: str = "") -> str:
        told = io.StringIO()
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        call_command("trusts", "lab", *options, stdout=told)
        return told.getvalue()

    assert f"{trust.key.public_id}  nightly  active  {ISSUER.url}" in run()
    assert "nightly: would pass" in run("--try", given=ISSUER.token())
    run("--change", trust.key.public_id, "--claim", "ref=refs/tags/*")
    assert "ref: WRONG. refs/heads/main (expected: refs/tags/*)" in run("--try", given=ISSUER.token())
    assert json.loads(run("--json"))[0]["conditions"] == {"ref": ["refs/tags/*"]}
    assert Organisation.objects.get(slug="lab").api_keys.count() == 1
