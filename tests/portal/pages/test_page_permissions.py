"""Who may open which page, and who may send to it. Each address of the admin and the account pages has a row here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve

from keys import actions
from keys.actions import collecting, organisations, requests
from keys.actions.actor import Actor, Via
from keys.models import Alert, Trust, User
from keys.rights.groups import AUDITORS, KEY_ADMINS
from portal.account.urls import urlpatterns as account_addresses
from proxy.models import Call, Owner, Registration
from tests.keys.people import call, everything_stored, signed_in
from tests.portal.account.test_usage import total
from tests.proxy.ledger_rows import row

PEOPLE = ("anonymous", "holder", "staff without rights", "auditor", "key admin", "superuser")
ALL = frozenset(PEOPLE)
STAFF = frozenset(PEOPLE[2:])
VIEWERS = frozenset(PEOPLE[3:])
KEEPERS = frozenset(PEOPLE[4:])  # of keys and users
SUPERUSERS = frozenset(PEOPLE[5:])
NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Row:
    """Who is answered. Anybody else is sent to sign in, or told 403, 404 or 405."""

    get: frozenset[str]
    post: frozenset[str] = NOBODY


READ = Row(VIEWERS)  # what nobody changes, whether Django has an address for it or not
# A list's form of actions is a POST to the list itself; without an action it does nothing.
LIST = Row(VIEWERS, VIEWERS)
DO = Row(KEEPERS, KEEPERS)


def record(prefix: str, **special: Row) -> dict[str, Row]:
    """The addresses that Django makes for each model; what is only read, unless `special` says otherwise."""
    usual = {"": LIST, "add/": Row(NOBODY), "<path:object_id>/history/": LIST}
    usual |= {"<path:object_id>/delete/": Row(NOBODY), "<path:object_id>/change/": READ}
    usual |= {"<path:object_id>/": Row(STAFF, STAFF)}  # a redirect to …/change/
    return {f"admin/{prefix}/{tail}": row for tail, row in {**usual, **special}.items()}


ROWS: dict[str, Row] = {
    "admin": Row(ALL, ALL),  # a redirect to the next
    "admin/": Row(STAFF, STAFF),
    "admin/login/": Row(STAFF, STAFF),  # to the admin's start; others to the one sign-in page
    "admin/logout/": Row(ALL, ALL),  # asks first, unless by POST
    "admin/password_change/": Row(ALL, ALL),  # a redirect to the account page
    "admin/password_change/done/": Row(STAFF),
    "admin/autocomplete/": Row(NOBODY),  # no page asks it
    "admin/jsi18n/": Row(STAFF),
    "admin/search/": Row(NOBODY),  # unfold's, which the palette replaces
    "admin/palette/": Row(NOBODY, STAFF),  # each person's own results
    "admin/progress/<str:progress_id>/": Row(STAFF),  # of each person's own forms
    "admin/incident/<int:pk>/": Row(VIEWERS, KEEPERS),
    "admin/group-rules/": Row(VIEWERS, KEEPERS),
    "admin/group-rules/<int:pk>/remove/": Row(NOBODY, KEEPERS),
    "admin/alerts/": READ,
    "admin/alerts/test/": Row(NOBODY, KEEPERS),
    "admin/alerts/<int:pk>/settle/": Row(NOBODY, KEEPERS),
    "admin/quarantine/<int:pk>/lift/": Row(KEEPERS, KEEPERS),
    "admin/r/<path:content_type_id>/<path:object_id>/": Row(NOBODY),
    "admin/<app_label>/": Row(VIEWERS, VIEWERS),
    "admin/(?P<url>.*)$": Row(NOBODY),
    "admin/try/<int:pk>/": Row(VIEWERS, VIEWERS),  # reads by POST
    **record("keys/apikey", **{"add/": DO, "find/": LIST, "export/": LIST, "export/jsonl/": LIST}),
    **{f"admin/keys/apikey/<int:pk>/{act}/": DO for act in ("rights", "pause", "resume", "rotate", "revoke")},
    "admin/keys/apikey/<int:pk>/end_old_secret/": DO,
    "admin/keys/apikey/requests/": READ,
    "admin/keys/apikey/requests/<int:pk>/": DO,
    "admin/keys/apikey/requests/<int:pk>/approve/": Row(NOBODY, KEEPERS),
    "admin/keys/apikey/prepared/": READ,
    "admin/keys/apikey/prepared/<int:pk>/renew/": Row(NOBODY, KEEPERS),
    "admin/keys/apikey/prepared/<int:pk>/withdraw/": DO,
    **record(
        "keys/user",
        **{
            "add/": DO,
            "export/": LIST,
            "export/jsonl/": LIST,
            "<path:object_id>/change/": Row(VIEWERS, KEEPERS),
            "<id>/password/": DO,
            "<int:pk>/invite/": DO,
            "<int:pk>/withdraw/": DO,
        },
    ),
    **{f"admin/keys/user/<int:pk>/{act}/": DO for act in ("deactivate", "reactivate")},
    "admin/keys/user/<int:pk>/remove_factors/": Row(SUPERUSERS, SUPERUSERS),
    **record("keys/organisation", **{"add/": DO, "export/": LIST, "export/jsonl/": LIST}),
    **{
        f"admin/keys/organisation/<int:pk>/{act}/": DO
        for act in (
            *("limits", "close", "members/add"),
            *("members/<int:member>/role", "members/<int:member>/remove"),
        )
    },
    # A trust's page is that of its key: a redirect.
    **record(
        "keys/trust",
        **{"export/": LIST, "export/jsonl/": LIST, "<path:object_id>/change/": LIST},
    ),
    **record("keys/keyevent", **{"export/": LIST, "export/jsonl/": LIST}),
    **record("admin/logentry", **{"export/": LIST, "export/jsonl/": LIST}),
    "admin/publications/": READ,
    "admin/publications/<int:pk>/withdraw/": Row(NOBODY),  # there is no publication
    "admin/ledger/": Row(VIEWERS, VIEWERS),
    "admin/publications/rule/<int:pk>/": Row(NOBODY, KEEPERS),
    "admin/usage/": READ,
    "admin/usage/find/": Row(NOBODY, VIEWERS),
    "admin/usage/export/": READ,
    "admin/health/": READ,
    "admin/settings/": Row(SUPERUSERS),
    **record("proxy/call", **{"": READ, "find/": Row(NOBODY, VIEWERS), "export/": READ}),
    **record(
        "proxy/registration",
        **{"": READ, "find/": Row(NOBODY, VIEWERS), "export/": READ, "model/": READ},
    ),
    **record("proxy/owner", **{"hand-over/": DO, "share/": DO, "export/": LIST, "export/jsonl/": LIST}),
}

SIGNED_IN = ALL - {"anonymous"}
HOLDER = frozenset({"holder"})
# Beside the admin: by address, with the holder's own key, call and model in it. Nobody else sees those, not even a
# superuser: these pages are each person's own.
OTHERS: dict[str, Row] = {
    "/": Row(ALL, ALL),
    "/docs/": Row(ALL, ALL),
    "/docs/operations/": Row(ALL, ALL),
    "/docs/quickstart/": Row(ALL, ALL),
    "/leaks": Row(ALL, ALL),
    "/api/v1/docs/": Row(ALL),
    "/account/language/": Row(ALL, ALL),
    "/account/": Row(SIGNED_IN, SIGNED_IN),
    "/account/keys/{key}/": Row(HOLDER, HOLDER),
    "/account/keys/{key}/rotate/": Row(HOLDER, HOLDER),
    "/account/keys/{key}/revoke/": Row(HOLDER, HOLDER),
    "/account/keys/{key}/end-old-secret/": Row(HOLDER, HOLDER),
    "/account/keys/{key}/request/scope/": Row(HOLDER, HOLDER),
    "/account/keys/request/": Row(SIGNED_IN, SIGNED_IN),
    "/account/keys/requests/{request}/withdraw/": Row(NOBODY, HOLDER),
    "/account/collect/{prepared}/": Row(HOLDER, HOLDER),
    "/account/collect/link/hkc_none/": Row(NOBODY),
    "/account/keys/issue/": Row(SIGNED_IN, SIGNED_IN),
    "/account/usage/": Row(SIGNED_IN, SIGNED_IN),
    "/account/usage/report/": Row(SIGNED_IN, SIGNED_IN),
    "/account/usage/download.csv": Row(SIGNED_IN, SIGNED_IN),
    "/account/calls/": Row(SIGNED_IN, SIGNED_IN),
    "/account/calls/download.csv": Row(SIGNED_IN, SIGNED_IN),
    "/account/calls/find/": Row(SIGNED_IN, SIGNED_IN),
    "/account/calls/{call}/": Row(HOLDER, HOLDER),
    "/account/organisation/": Row(NOBODY),  # needs the slug of an own organisation
    "/account/organisations/acme/": Row(HOLDER, HOLDER),
    "/account/organisations/acme/invite/": Row(HOLDER, HOLDER),
    "/account/organisations/acme/invitations/1/withdraw/": Row(NOBODY),  # there is no invitation
    "/account/organisations/invitations/1/accept/": Row(NOBODY),
    "/account/organisations/acme/members/{user}/": Row(HOLDER, HOLDER),
    "/account/organisations/acme/members/{user}/remove/": Row(HOLDER, HOLDER),
    "/account/organisations/acme/service-users/": Row(HOLDER, HOLDER),
    "/account/organisations/acme/publications/": Row(HOLDER, HOLDER),
    "/account/organisations/acme/publications/publish/": Row(HOLDER, HOLDER),
    "/account/organisations/acme/publications/1/withdraw/": Row(NOBODY),  # there is no publication
    "/account/organisations/acme/publications/rule/": Row(NOBODY, HOLDER),
    "/account/organisations/acme/keys/issue/": Row(HOLDER, HOLDER),
    "/account/organisations/acme/hand-over/": Row(HOLDER, HOLDER),
    **{
        f"/account/organisations/acme/{what}/download.csv": Row(HOLDER, HOLDER)
        for what in ("calls", "registrations", "usage")
    },
    **{  # staff who change organisations manage trusts, too
        f"/account/organisations/acme/{page}/": Row(HOLDER | KEEPERS, HOLDER | KEEPERS)
        for page in ("trusts", "trusts/add", "trusts/try")
    },
    "/account/organisations/acme/trusts/key_1/": Row(NOBODY),
    "/account/organisations/acme/keys/{key}/pause/": Row(NOBODY),  # the key is not the organisation's
    "/account/palette/": Row(NOBODY, SIGNED_IN),  # each person's own results
    "/account/registrations/": Row(SIGNED_IN, SIGNED_IN),
    "/account/registrations/download.csv": Row(SIGNED_IN, SIGNED_IN),
    "/account/registrations/model/?name=fraud": Row(HOLDER, HOLDER),
    "/account/registrations/version/?name=fraud&version=1": Row(NOBODY),  # this version has no manifest
    "/account/2fa/": Row(SIGNED_IN),
}


def addresses(patterns: list[URLPattern | URLResolver], before: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, route)
        elif route.startswith("admin"):
            yield re.sub(r"\^\(\?P<app_label>.*\)/\$", "<app_label>/", route)  # the apps, in any order


def make_people() -> dict[str, Client]:
    users = {
        "holder": User.objects.create_user("dora"),
        "staff without rights": User.objects.create_user("charlie", is_staff=True),
        "auditor": User.objects.create_user("audrey", is_staff=True),
        "key admin": User.objects.create_user("karl", is_staff=True),
        "superuser": User.objects.create_superuser("alice"),
    }
    users["auditor"].groups.set(Group.objects.filter(name=AUDITORS))
    users["key admin"].groups.set(Group.objects.filter(name=KEY_ADMINS))
    return {"anonymous": Client()} | {name: signed_in(user) for name, user in users.items()}


@pytest.fixture(scope="module")
def stored(django_db_setup, django_db_blocker) -> Iterator[tuple[dict[str, Client], dict[str, int]]]:
    """People and one row of everything, in a transaction around the transactions of this file's tests."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield make_people(), make_rows()
        transaction.set_rollback(True)


@pytest.fixture
def people(stored, db) -> Iterator[dict[str, Client]]:
    clients, _ = stored
    cookies = {name: client.cookies.copy() for name, client in clients.items()}
    yield clients
    for name, client in clients.items():
        client.cookies = cookies[name]  # a test may have signed out


@pytest.fixture
def numbers(stored, db) -> dict[str, int]:
    return stored[1]


def make_rows() -> dict[str, int]:
    """What to put into an address that wants a number, by the model's name in it."""
    holder = User.objects.get(username="dora")
    key = actions.issue(owner=holder, name="nightly training")[0]
    owner = Owner.objects.create(environment="live", kind="run", name="a run", user=holder)
    write = Registration.objects.create(
        request_id="req_1", at=key.created_at, user=holder, key=key, operation="registered-models.create"
    )
    version = row(key, "model-versions.create", "fraud", version="1")
    about = ContentType.objects.get_for_model(User)
    entry = LogEntry.objects.create(user=holder, content_type=about, object_id=str(holder.pk), action_flag=2)
    total(key)
    prepared, _ = collecting.prepare(owner=holder, name="another")
    actor = Actor(user=holder, address=None, via=Via.PAGE)
    requested = requests.request(kind="scope", key=key, scopes=["traces:delete"], actor=actor)
    made = organisations.create_organisation(slug="acme")
    member = organisations.add_member(organisation=made, user=holder, role="owner")  # the last one stays
    lena = organisations.add_member(organisation=made, user=User.objects.create_user("lena")).user
    trust = Trust.objects.create(
        key=actions.issue(owner=lena, name="ci")[0],
        issuer="https://a.b",
        audience="x",
        conditions={"sub": ["y"]},
    )
    numbers = {"apikey": key.pk, "user": holder.pk, "call": call(key, 1).pk, "owner": owner.pk}
    return {
        "logentry": entry.pk,
        "requests": requested.pk,
        "prepared": prepared.pk,  # before "apikey", which its address has too
        **numbers,
        "organisation": made.pk,
        "trust": trust.pk,
        "<int:member>": member.pk,
        "registration": write.pk,
        "try": key.pk,
        "incident": key.pk,
        "quarantine": version.pk,
        "alerts": Alert.objects.create(key=key, kind="canary_used", occasion="once").pk,
        "keyevent": key.events.last().pk,
    }


def target(route: str, numbers: dict[str, int]) -> str:
    number = next((str(value) for name, value in numbers.items() if f"/{name}/" in route), "1")
    route = route.replace("<int:member>", str(numbers["<int:member>"]))
    for placeholder in ("<path:object_id>", "<int:pk>", "<id>", "<path:content_type_id>"):
        route = route.replace(placeholder, number)
    return "/" + route.replace("<app_label>", "keys").replace("(?P<url>.*)$", "no/such/page")


def is_answered(client: Client, method: str, address: str) -> bool:
    response = getattr(client, method)(address)
    if response.streaming:
        b"".join(response.streaming_content)  # to its end, so that the export's slot is free again
    if response.status_code in (301, 302, 303):
        return "login" not in response["Location"]
    assert response.status_code in (200, 400, 403, 404, 405), (method, address, response.status_code)
    return response.status_code in (200, 400)


def test_auditors_get_every_export(people, numbers):
    exports = [route for route in ROWS if route.endswith("export/")]

    assert len(exports) == len(set(exports)) == 10
    for route in exports:
        answer = people["auditor"].get(f"/{route}")
        assert answer["Content-Type"].startswith("text/csv"), route
        assert len(b"".join(answer.streaming_content).splitlines()) > 1, route


def test_every_address_of_the_admin_has_a_row():
    found = set(addresses(get_resolver().url_patterns))

    assert found - set(ROWS) == set(), "give each of these a row in ROWS"
    assert set(ROWS) - found == set(), "these are gone"


@pytest.mark.parametrize("route", ROWS)
def test_each_page_answers_those_who_may(people, numbers, route):
    address, row = target(route, numbers), ROWS[route]
    for method, may in (("get", row.get), ("post", row.post)):
        answered = {name for name, client in people.items() if is_answered(client, method, address)}
        assert answered == may, f"{method} {address}"


def test_every_address_of_the_account_pages_has_a_row():
    ours = [address.partition("?")[0] for address in OTHERS if address.startswith("/account/")]
    names = {
        resolve(
            address.format(key="key_1", call="req_1", prepared="prep_1", request="ask_1", user="usr_1")
        ).url_name
        for address in ours
    }

    assert {pattern.name for pattern in account_addresses} <= names


@pytest.mark.parametrize("address", OTHERS)
def test_each_page_beside_the_admin_answers_those_who_may(people, numbers, settings, address):
    settings.SELF_SERVICE = True
    holder = User.objects.get(username="dora")
    key = holder.api_keys.get()
    row(key, "registered-models.create", "fraud")
    prepared = holder.prepared_keys.get().public_id
    requested = holder.key_requests.get().public_id
    placeholders = {"key": key.public_id, "call": Call.objects.get().request_id, "prepared": prepared}
    where = address.format(**placeholders, request=requested, user=holder.public_id)
    for method, may in (("get", OTHERS[address].get), ("post", OTHERS[address].post)):
        answered = {name for name, client in people.items() if is_answered(client, method, where)}
        assert answered == may, f"{method} {where}"


def test_mlflows_pages_are_for_everybody_who_is_signed_in(people):
    """Where a browser is sent that goes there; what MLflow then answers is not asked."""
    browser = {"HTTP_ACCEPT": "text/html", "HTTP_SEC_FETCH_DEST": "document"}
    sent_to = {name: client.get("/mlflow", **browser)["Location"] for name, client in people.items()}

    assert {name for name, where in sent_to.items() if where == "/mlflow/"} == SIGNED_IN
    assert sent_to["anonymous"].startswith("/account/login/")


@pytest.mark.parametrize("name", ["staff without rights", "auditor"])
def test_no_post_of_those_who_only_read_changes_anything(people, numbers, name):
    before = everything_stored()

    for route in ROWS:
        if not route.endswith(("logout/", "login/")):
            people[name].post(target(route, numbers), {"confirmation": "nightly training", "reason": "x"})

    assert everything_stored() == before
