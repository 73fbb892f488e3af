"""Who holds a permission may see and do the same in the admin pages and over the API."""

from dataclasses import dataclass

import pytest
from django.contrib.auth.models import Permission

from keys.models import Alert, ApiKey
from keys.rights.permissions import DESCRIPTIONS
from keys.rights.scopes import Scope
from proxy.models import Owner, Registration
from tests.keys.api.callers import program
from tests.keys.people import call, key_of, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

HEALTH = "view_calltotal"  # which comes with the groups alone
WHOLE = (*DESCRIPTIONS, HEALTH)
SETS = [(), *((name,) for name in WHOLE)]
SETS += [(name, "view_registration") for name in ("view_apikey", "change_apikey")]
SETS += [("change_apikey", "add_apikey")]
KEY = "/admin/keys/apikey/{pk}/"


@dataclass(frozen=True)
class Both:
    """A page and the operation beside it; `shows`: what of dora's is in the operation's answer."""

    page: str
    operation: str
    shows: str = ""
    method: str = "GET"


SINCE = "since=2026-01-01T00:00:00Z"
PAIRS = [
    Both(f"{KEY}change/", "/keys/{key}", "{key}"),
    Both(f"{KEY}history/", "/keys/{key}/events", "issued"),
    Both("/admin/try/{pk}/", "/keys/{key}/try", method="POST"),
    Both("/admin/incident/{pk}/", f"/keys/{{key}}/touched?{SINCE}", "results"),
    Both("/admin/incident/{pk}/", f"/keys/{{key}}/files?{SINCE}", "results"),
    Both("/admin/alerts/", "/alerts", "{key}"),
    Both("/admin/keys/keyevent/", "/events", "{key}"),
    Both("/admin/admin/logentry/", "/admin-log"),
    Both("/admin/keys/apikey/add/", "/keys", method="POST"),
    *(Both(f"{KEY}{act}/", f"/keys/{{key}}/{act}", method="POST") for act in ("pause", "rotate", "revoke")),
    Both("/admin/keys/user/", "/users", "{user}"),
    Both("/admin/keys/user/add/", "/users", method="POST"),
    Both("/admin/keys/user/{owner}/deactivate/", "/users/{user}/deactivate", method="POST"),
    Both("/admin/proxy/owner/", "/owners", "doras-run"),
    Both("/admin/proxy/owner/share/", "/experiments/share", method="POST"),
    Both("/admin/proxy/call/", "/calls", "{key}"),
    Both("/admin/proxy/registration/", "/registrations", "doras-model"),
    Both("/admin/health/", "/health"),
]
BAD = {"no such field": 1}  # so that who may do it is told 400, and nothing is done


@pytest.fixture
def doras(cast) -> ApiKey:
    key = key_of(cast["dora"])
    call(key, 1)
    Alert.objects.create(key=key, kind="canary_used", occasion="once", detail={"address": "192.0.2.1"})
    Owner.objects.create(environment="live", kind="run", name="doras-run", user=cast["dora"])
    row = {"operation": "registered-models.create", "object_name": "doras-model"}
    Registration.objects.create(request_id="req_1", at=key.created_at, user=cast["dora"], key=key, **row)
    return key


@pytest.mark.parametrize("names", SETS, ids=lambda names: "+".join(names) or "none")
def test_page_and_operation_are_for_the_same_people(cast, doras, names):
    staff = cast["charlie"]
    staff.user_permissions.set(Permission.objects.filter(codename__in=names))
    browser, caller = signed_in(staff), program(staff, Scope.PORTAL_ADMIN)
    known = {"pk": doras.pk, "owner": doras.owner_id, "key": doras.public_id, "user": doras.owner.public_id}

    by_page, by_operation = {}, {}
    for both in PAIRS:
        name = f"{both.method} {both.operation}"
        by_page[name] = browser.get(both.page.format(**known)).status_code == 200
        answer = caller(both.method, both.operation.format(**known), None if both.method == "GET" else BAD)
        assert answer.status_code in (200, 400, 403, 404), (name, answer.content)
        by_operation[name] = answer.status_code in (200, 400) and (
            both.shows.format(**known) in answer.content.decode()
        )

    assert by_operation == by_page


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (("change_apikey",), 403),
        (("view_registration", "view_apikey"), 403),
        (("change_apikey", "view_registration"), 400),
    ],
)
def test_quarantine_is_for_who_may_do_it_on_its_page(cast, doras, names, status):
    cast["charlie"].user_permissions.set(Permission.objects.filter(codename__in=names))
    page = signed_in(cast["charlie"]).post(f"/admin/incident/{doras.pk}/", {"since": "x"})

    assert page.status_code == (200 if status == 400 else 403)
    answer = program(cast["charlie"], Scope.PORTAL_ADMIN).post(f"/keys/{doras.public_id}/quarantine", BAD)
    assert answer.status_code == status
