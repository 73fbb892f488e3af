"""The four people of the admin tests: alice is superuser, bob may do everything with keys, charlie is staff
without permissions, dora only holds keys. And what they do in one line."""

import re

from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from keys import actions
from keys.actions.actor import Actor, Via
from keys.models import ApiKey, User
from proxy.models import Call

SECRET = re.compile(r"hk_(?:live|test)_[0-9A-Za-z]{32}")
BOBS_PERMISSIONS = [
    "view_apikey",
    "add_apikey",
    "change_apikey",
    "view_call",
    "view_user",
    "add_user",
    "change_user",
]
KEYS = "/admin/keys/apikey/"
ISSUE = "/admin/keys/apikey/add/"
CALLS = "/admin/proxy/call/"
USERS = "/admin/keys/user/"


def make_cast() -> dict[str, User]:
    people = {
        "alice": User.objects.create_superuser("alice"),
        "bob": User.objects.create_user("bob", is_staff=True),
        "charlie": User.objects.create_user("charlie", is_staff=True),
        "dora": User.objects.create_user("dora"),
    }
    people["bob"].user_permissions.set(Permission.objects.filter(codename__in=BOBS_PERMISSIONS))
    return people


def signed_in(user: User, **options) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def key_of(owner: User, name: str = "nightly training") -> ApiKey:
    return actions.issue(owner=owner, name=name)[0]


def by(user: User | None, address: str | None = None) -> Actor:
    return Actor(user=user, address=address, via=Via.PAGE)


def page_of(key: ApiKey, name: str = "change") -> str:
    """The key's own page, or the one to change `rights`, `pause`, `resume`, `rotate` or `revoke` it."""
    return reverse(f"admin:keys_apikey_{name}", args=[key.pk])


def filled(client: Client, user: User, /, **changes: str) -> dict[str, str]:
    """The form to issue a key as it is handed out, filled in."""
    form_id = client.get(ISSUE).context["form"]["form_id"].value()
    answers = {"owner": str(user.pk), "name": "laptop", "environment": "live", "expires_in": "90"}
    answers["preset"] = "contributor"
    return {**answers, "form_id": form_id, **changes}


def call(key: ApiKey, number: int, **changes) -> Call:
    fields = {
        "request_id": f"req_{number:032x}",
        "at": timezone.now(),
        "key": key,
        "user": key.owner,
        "operation": "experiments.get",
        "method": "GET",
        "path": "/api/mlflow/api/2.0/mlflow/experiments/get",
        "status": 200,
        "duration_ms": 3.0,
    }
    return Call.objects.create(**{**fields, **changes})


def queries(act) -> int:
    act()  # fills Django's own caches, of content types for one
    with CaptureQueriesContext(connection) as captured:
        assert act().status_code == 200
    return len(captured)


def everything_stored() -> str:
    """Every row of every table, as text."""
    with connection.cursor() as cursor:
        rows = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'select t::text from "{table}" t')
            rows += [row[0] for row in cursor.fetchall()]
    return "\n".join(rows)
