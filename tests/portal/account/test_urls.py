"""Who may open which account page: one's own, signed in, and nobody else's."""

from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import get_resolver, reverse

from keys import actions
from keys.actions import collecting, organisations
from keys.models import ApiKey, Organisation
from tests.portal.account.conftest import Holder
from tests.proxy.ledger_rows import manifest_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

BROWSER = {"HTTP_ACCEPT": "text/html"}


def rotated(of: Holder) -> str:
    """The id of the holder's key, whose old secret still works."""
    if not ApiKey.objects.get(pk=of.key.pk).has_old_secret:
        actions.rotate(key=of.key, overlap="7d")
    return of.key.public_id


def prepared(of: Holder) -> str:
    """The id of a key that the holder has yet to collect."""
    return collecting.prepare(owner=of.user, name=f"{of.user.username}'s next key")[0].public_id


def version_of(of: Holder) -> dict[str, str]:
    """A version that the holder registered, with a manifest."""
    manifest = manifest_of(of.key, of.registration.object_name)
    return {"name": manifest.object_name, "version": manifest.version}


def organisation_of(of: Holder) -> str:
    """The slug of an organisation of the holder's."""
    slug = f"team-{of.user.pk}"
    if not Organisation.objects.filter(slug=slug).exists():
        made = organisations.create_organisation(slug=slug)
        organisations.add_member(organisation=made, user=of.user, role="owner")
    return slug


# What is asked for by id or name: each page and what in it is somebody's.
OWNED = {
    "account-key": lambda of: ([of.key.public_id], {}),
    "account-rotate": lambda of: ([of.key.public_id], {}),
    "account-end-old-secret": lambda of: ([rotated(of)], {}),
    "account-request": lambda of: ([of.key.public_id, "scope"], {}),
    "account-collect": lambda of: ([prepared(of)], {}),
    "account-revoke": lambda of: ([of.key.public_id], {}),
    "account-call": lambda of: ([of.call.request_id], {}),
    "account-version": lambda of: ([], version_of(of)),
    "account-organisation": lambda of: ([organisation_of(of)], {}),
    "account-organisation-download": lambda of: ([organisation_of(of), "calls", "csv"], {}),
    "account-organisation-hand-over": lambda of: ([organisation_of(of)], {}),
    "account-organisation-invite": lambda of: ([organisation_of(of)], {}),
    "account-organisation-issue": lambda of: ([organisation_of(of)], {}),
    "account-organisation-member": lambda of: ([organisation_of(of), of.user.public_id], {}),
    "account-organisation-publications": lambda of: ([organisation_of(of)], {}),
    "account-organisation-publish": lambda of: ([organisation_of(of)], {}),
    "account-organisation-remove": lambda of: ([organisation_of(of), of.user.public_id], {}),
    "account-organisation-service": lambda of: ([organisation_of(of)], {}),
    "account-trusts": lambda of: ([organisation_of(of)], {}),
    "account-trust-add": lambda of: ([organisation_of(of)], {}),
    "account-trust-try": lambda of: ([organisation_of(of)], {}),
    "account-model": lambda of: ([], {"name": of.registration.object_name, "environment": "live"}),
}
# What shows the whole of one's own, and nothing of another's.
LISTS = {
    "account": [],
    "account-request-new": [],
    "account-usage": [],
    "account-usage-report": [],
    "account-usage-download": ["csv"],
    "account-calls": [],
    "account-calls-download": ["csv"],
    "account-find": [],
    "account-registrations": [],
    "account-registrations-download": ["jsonl"],
}
OFF = {"account-issue": []}  # until SELF_SERVICE says otherwise
# What leads to one of these pages, which asks who is there: tests/keys/actions/test_collecting.py.
LINKS = {"account-collect-link"}
# What acts on a key, a trust, an invitation or a publication of an organisation: tests/portal/account/organisations;
# on a request: tests/keys/actions/test_requests.py.
ACTS = {
    *("account-organisation-answer", "account-organisation-key", "account-organisation-withdraw"),
    *("account-organisation-publication-withdraw", "account-organisation-publication-rule"),
    *("account-trust", "account-request-withdraw"),
}


def address(name: str, of: Holder) -> tuple[str, dict[str, str]]:
    arguments, query = OWNED[name](of) if name in OWNED else ((LISTS | OFF)[name], {})
    return reverse(name, args=arguments), query


def text(response) -> str:
    """The response's text, with names and paths as one word."""
    content = b"".join(response) if response.streaming else response.content
    return content.decode().replace("<wbr>", "")


def test_every_address_is_in_these_tables():
    names = {name for name in get_resolver().reverse_dict if isinstance(name, str)}

    assert {name for name in names if name.partition("-")[0] == "account"} == {
        *(*OWNED, *LISTS, *OFF, *LINKS, *ACTS)
    }


@pytest.mark.parametrize("name", [*OWNED, *LISTS])
def test_a_holder_sees_their_own(dora, name):
    path, query = address(name, dora)

    response = dora.client.get(path, query)

    assert response.status_code == 200
    assert response["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("name", OWNED)
@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_anothers_is_not_there(dora, mallory, name, method):
    path, query = address(name, mallory)
    before = mallory.key.events.count()

    answers = {"overlap": "now", "confirmation": mallory.key.name} if method == "post" else {}
    response = getattr(dora.client, method)(f"{path}?{urlencode(query)}", answers)

    assert response.status_code == 404
    assert "mallory's" not in text(response)
    assert mallory.key.events.count() == before


@pytest.mark.parametrize("name", LISTS)
def test_a_list_holds_nothing_of_anothers(dora, mallory, name):
    path, query = address(name, dora)

    shown = text(dora.client.get(path, query))

    for foreign in ("mallory", mallory.key.public_id, mallory.key.masked, mallory.call.request_id):
        assert foreign not in shown


@pytest.mark.parametrize("name", [*OWNED, *LISTS, *OFF])
@pytest.mark.parametrize("method", ["get", "post"])
def test_who_is_not_signed_in_is_asked_to(dora, name, method, settings):
    settings.SELF_SERVICE = True
    path, query = address(name, dora)

    response = getattr(Client(), method)(path, query)

    assert response.status_code == 302
    assert "next=/account/" in response["Location"]


def test_administrators_have_the_same_page_for_their_own_keys(dora, admin_client):
    shown = text(admin_client.get("/account/"))

    assert "dora" not in shown
    assert admin_client.get(reverse("account-key", args=[dora.key.public_id])).status_code == 404


def test_the_front_page_leads_those_signed_in_to_their_account(dora):
    response = dora.client.get("/")

    assert (response.status_code, response["Location"]) == (302, "/account/")
