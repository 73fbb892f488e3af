"""The admin pages, as four people see them: alice is superuser, bob may do everything with keys, charlie is
staff without permissions, dora only holds keys."""

import re
import threading
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from keys import actions
from keys.models import ApiKey, KeyEvent, User
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


@pytest.fixture
def cast(db) -> dict[str, User]:
    return make_cast()


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


@pytest.fixture
def alice(cast) -> Client:
    return signed_in(cast["alice"])


@pytest.fixture
def bob(cast) -> Client:
    return signed_in(cast["bob"])


def key_of(owner: User, name: str = "nightly training") -> ApiKey:
    return actions.issue(owner=owner, name=name)[0]


def revoke_page(key: ApiKey) -> str:
    return reverse("admin:keys_apikey_revoke", args=[key.pk])


def filled(client: Client, user: User, /, **changes: str) -> dict[str, str]:
    """The form to issue a key as it is handed out, filled in."""
    form_id = client.get(ISSUE).context["form"]["form_id"].value()
    answers = {"owner": str(user.pk), "name": "laptop", "environment": "live", "expires_in": "90"}
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


class TestWhoMay:
    @pytest.mark.parametrize("path", [KEYS, ISSUE, CALLS, USERS])
    @pytest.mark.parametrize(
        ("name", "status"), [("alice", 200), ("bob", 200), ("charlie", 403), ("dora", 302), (None, 302)]
    )
    def test_see_a_page(self, cast, path, name, status):
        client = signed_in(cast[name]) if name else Client()

        assert client.get(path).status_code == status

    @pytest.mark.parametrize(
        ("name", "status", "count"),
        [("alice", 200, 1), ("bob", 200, 1), ("charlie", 403, 0), ("dora", 302, 0)],
    )
    def test_issue_a_key(self, cast, alice, name, status, count):
        response = signed_in(cast[name]).post(ISSUE, filled(alice, cast["dora"]))

        assert (response.status_code, ApiKey.objects.count()) == (status, count)

    @pytest.mark.parametrize(
        ("name", "state"),
        [("alice", "revoked"), ("bob", "revoked"), ("charlie", "active"), ("dora", "active")],
    )
    def test_revoke_a_key(self, cast, name, state):
        key = key_of(cast["dora"])

        signed_in(cast[name]).post(revoke_page(key), {"confirmation": key.name})

        key.refresh_from_db()
        assert key.state == state

    @pytest.mark.parametrize(
        ("codename", "may_issue", "may_revoke"),
        [("view_apikey", False, False), ("add_apikey", True, False), ("change_apikey", False, True)],
    )
    def test_each_permission_opens_its_own_page_only(self, cast, codename, may_issue, may_revoke):
        cast["charlie"].user_permissions.set(Permission.objects.filter(codename=codename))
        charlie = signed_in(cast["charlie"])
        key = key_of(cast["dora"])

        assert (charlie.get(ISSUE).status_code == 200) is may_issue
        assert (charlie.get(revoke_page(key)).status_code == 200) is may_revoke


class TestIssuing:
    def test_makes_the_key_that_the_form_says(self, cast, bob):
        answers = filled(bob, cast["dora"], name="nightly", purpose="the cluster", environment="test")

        bob.post(ISSUE, answers, REMOTE_ADDR="192.0.2.7")

        key = ApiKey.objects.get()
        assert (key.owner, key.name, key.purpose) == (cast["dora"], "nightly", "the cluster")
        assert (key.environment, key.created_by) == ("test", cast["bob"])
        assert abs(key.expires_at - timezone.now() - timedelta(days=90)) < timedelta(minutes=1)
        event = key.events.get()
        assert (event.kind, event.actor, event.address) == ("issued", cast["bob"], "192.0.2.7")

    def test_makes_a_key_that_never_expires_if_asked(self, cast, alice):
        alice.post(ISSUE, filled(alice, cast["dora"], expires_in="never"))

        assert ApiKey.objects.get().expires_at is None

    def test_shows_the_secret_with_the_lines_that_connect_a_client(self, cast, alice, settings):
        settings.PUBLIC_URL = "https://registry.example"

        response = alice.post(ISSUE, filled(alice, cast["dora"]))

        page = response.content.decode()
        [secret] = set(SECRET.findall(page))
        assert f'<code id="secret">{secret}</code>' in page
        assert "export MLFLOW_TRACKING_URI=https://registry.example/api/mlflow\n" in page
        assert f"export MLFLOW_TRACKING_TOKEN={secret}\n" in page
        assert "shown only this once" in page

    def test_shows_the_secret_nowhere_but_in_that_answer(self, cast, alice):
        answers = filled(alice, cast["dora"])
        response = alice.post(ISSUE, answers)
        [secret] = set(SECRET.findall(response.content.decode()))
        key = ApiKey.objects.get()

        assert "no-store" in response["Cache-Control"]
        assert secret not in str(response.headers) + str(response.cookies) + str(alice.cookies)
        assert not list(response.wsgi_request._messages)
        for path in (
            ISSUE,
            KEYS,
            f"{KEYS}{key.pk}/change/",
            f"{KEYS}{key.pk}/history/",
            revoke_page(key),
            "/admin/",
        ):
            assert not SECRET.search(alice.get(path).content.decode()), path
        assert not SECRET.search(alice.post(ISSUE, answers).content.decode())
        assert secret not in everything_stored()
        assert not any(secret in str(session.get_decoded()) for session in Session.objects.all())
        assert not LogEntry.objects.exists()

    def test_sent_twice_issues_one_key_and_says_so(self, cast, alice):
        answers = filled(alice, cast["dora"])
        alice.post(ISSUE, answers)

        page = alice.post(ISSUE, answers).content.decode()

        assert ApiKey.objects.count() == 1
        assert KeyEvent.objects.count() == 1
        assert "was issued already and its secret is not shown again" in page
        assert ApiKey.objects.get().public_id in page

    def test_with_another_form_issues_another_key(self, cast, alice):
        alice.post(ISSUE, filled(alice, cast["dora"]))
        alice.post(ISSUE, filled(alice, cast["dora"]))

        assert ApiKey.objects.count() == 2

    def test_leaves_the_person_signed_in_and_the_form_usable_after_an_error(self, cast, alice):
        answers = filled(alice, cast["dora"], name="", purpose="What was <typed>", expires_in="365")

        page = alice.post(ISSUE, answers).content.decode()

        assert ApiKey.objects.count() == 0
        assert "No key was issued." in page
        assert "This field is required." in page
        assert "What was &lt;typed&gt;" in page
        assert '<option value="365" selected>' in page
        assert f'<option value="{cast["dora"].pk}" selected>' in page
        assert answers["form_id"] in page
        alice.post(ISSUE, {**answers, "name": "now with a name"})
        assert ApiKey.objects.get().name == "now with a name"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"owner": ""},
            {"owner": "0"},
            {"name": "   "},
            {"name": "x" * 101},
            {"name": "a\0b"},
            {"purpose": "x" * 501},
            {"environment": "prod"},
            {"expires_in": "1000000"},
            {"form_id": ""},
        ],
    )
    def test_refuses_what_makes_no_key(self, cast, alice, wrong):
        response = alice.post(ISSUE, filled(alice, cast["dora"], **wrong))

        assert response.status_code == 200
        assert ApiKey.objects.count() == 0

    def test_offers_no_deactivated_owner(self, cast, alice):
        User.objects.filter(pk=cast["dora"].pk).update(is_active=False)

        alice.post(ISSUE, filled(alice, cast["dora"]))

        assert ApiKey.objects.count() == 0

    def test_needs_a_post_with_the_csrf_token(self, cast, alice):
        answers = filled(alice, cast["dora"])
        strict = signed_in(cast["alice"], enforce_csrf_checks=True)

        assert strict.post(ISSUE, answers).status_code == 403
        alice.get(ISSUE, answers)
        assert ApiKey.objects.count() == 0

    def test_keeps_the_secret_out_of_exception_pages(self, cast, alice, settings, monkeypatch):
        def broken(*arguments, **options):
            raise RuntimeError("a template is broken")

        answers = filled(alice, cast["dora"])
        settings.DEBUG = True
        monkeypatch.setattr("keys.admin.render", broken)
        alice.raise_request_exception = False

        response = alice.post(ISSUE, answers)

        assert response.status_code == 500
        assert b"a template is broken" in response.content
        assert not SECRET.search(response.content.decode())

    def test_records_the_address_behind_our_own_proxies(self, cast, alice, settings):
        settings.TRUSTED_PROXIES = 1

        alice.post(ISSUE, filled(alice, cast["dora"]), HTTP_X_FORWARDED_FOR="203.0.113.9, 198.51.100.4")

        assert KeyEvent.objects.get().address == "198.51.100.4"


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_the_same_moment_issue_one_key():
    people = make_cast()
    client = signed_in(people["alice"])
    answers = filled(client, people["dora"])
    pages: list[str] = []
    start = threading.Barrier(4)

    def click() -> None:
        clicking = Client()
        clicking.cookies = client.cookies
        start.wait(10)
        try:
            pages.append(clicking.post(ISSUE, answers).content.decode())
        finally:
            connection.close()

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert ApiKey.objects.count() == 1
    assert sum(bool(SECRET.search(page)) for page in pages) == 1
    assert sum("was issued already" in page for page in pages) == 3


class TestRevoking:
    def test_takes_the_keys_name_and_records_who_and_why(self, cast, bob):
        key = key_of(cast["dora"])

        response = bob.post(
            revoke_page(key), {"confirmation": key.name, "reason": "laptop lost"}, REMOTE_ADDR="192.0.2.7"
        )

        assert response["Location"] == f"{KEYS}{key.pk}/change/"
        assert "is revoked" in bob.get(response["Location"]).content.decode()
        key.refresh_from_db()
        assert key.state == "revoked"
        event = key.events.get(kind="revoked")
        assert (event.actor, event.address, event.detail["reason"]) == (
            cast["bob"],
            "192.0.2.7",
            "laptop lost",
        )

    def test_refuses_another_name_and_keeps_what_was_typed(self, cast, bob):
        key = key_of(cast["dora"])

        page = bob.post(revoke_page(key), {"confirmation": "laptop", "reason": "lost"}).content.decode()

        key.refresh_from_db()
        assert key.state == "active"
        assert "This is not the key&#x27;s name. Nothing was revoked." in page
        assert 'value="laptop"' in page
        assert 'value="lost"' in page

    def test_takes_the_name_as_a_page_shows_it(self, cast, bob):
        key = key_of(cast["dora"], name="two  spaces")

        bob.post(revoke_page(key), {"confirmation": " two spaces "})

        key.refresh_from_db()
        assert key.state == "revoked"

    def test_happens_once(self, cast, bob):
        key = key_of(cast["dora"])
        for _ in range(2):
            assert bob.post(revoke_page(key), {"confirmation": key.name}).status_code == 302

        assert key.events.filter(kind="revoked").count() == 1
        assert bob.get(revoke_page(key)).status_code == 302

    def test_needs_a_post_with_the_csrf_token(self, cast, bob):
        key = key_of(cast["dora"])
        strict = signed_in(cast["bob"], enforce_csrf_checks=True)

        bob.get(revoke_page(key), {"confirmation": key.name})
        assert strict.post(revoke_page(key), {"confirmation": key.name}).status_code == 403

        key.refresh_from_db()
        assert key.state == "active"

    def test_of_a_key_that_is_none_is_not_found(self, alice):
        assert alice.get(f"{KEYS}999999/revoke/").status_code == 404


class TestNobodyEdits:
    """Not even a superuser, by whatever POST."""

    def test_a_key(self, cast, alice):
        key = key_of(cast["dora"])
        changes = {
            "name": "mine now",
            "owner": cast["alice"].pk,
            "expires_at_0": "2099-01-01",
            "expires_at_1": "0:0",
        }
        events = {"events-TOTAL_FORMS": "0", "events-INITIAL_FORMS": "0"}

        assert alice.post(f"{KEYS}{key.pk}/change/", {**changes, **events}).status_code == 403
        assert alice.post(f"{KEYS}{key.pk}/delete/", {"post": "yes"}).status_code == 403
        alice.post(KEYS, {"action": "delete_selected", "_selected_action": [key.pk], "post": "yes"})

        stored = ApiKey.objects.get()
        assert (stored.name, stored.owner, stored.expires_at) == (key.name, cast["dora"], None)
        assert KeyEvent.objects.count() == 1

    def test_a_call(self, cast, alice):
        record = call(key_of(cast["dora"]), 1)

        assert alice.post(f"{CALLS}{record.pk}/change/", {"status": "500"}).status_code == 403
        assert alice.post(f"{CALLS}{record.pk}/delete/", {"post": "yes"}).status_code == 403
        assert alice.post(f"{CALLS}add/", {"status": "500"}).status_code == 403
        alice.post(CALLS, {"action": "delete_selected", "_selected_action": [record.pk], "post": "yes"})

        assert Call.objects.get().status == 200

    def test_a_user_out_of_the_records(self, cast, alice):
        assert alice.post(f"{USERS}{cast['dora'].pk}/delete/", {"post": "yes"}).status_code == 403
        assert User.objects.filter(username="dora").exists()

    def test_keys_by_way_of_their_owner(self, cast, alice):
        key = key_of(cast["dora"])
        crafted = {
            "username": "dora",
            "is_active": "on",
            "api_keys-TOTAL_FORMS": "1",
            "api_keys-INITIAL_FORMS": "1",
            "api_keys-0-id": key.pk,
            "api_keys-0-owner": cast["dora"].pk,
            "api_keys-0-name": "mine now",
            "api_keys-0-DELETE": "on",
        }

        assert alice.post(f"{USERS}{cast['dora'].pk}/change/", crafted).status_code == 302

        assert ApiKey.objects.get().name == key.name


class TestUsers:
    def test_staff_cannot_raise_themselves(self, cast, bob):
        crafted = {"username": "bob", "is_active": "on", "is_staff": "on", "is_superuser": "on"}

        assert bob.post(f"{USERS}{cast['bob'].pk}/change/", crafted).status_code == 403
        assert not User.objects.get(username="bob").is_superuser

    def test_staff_cannot_raise_others(self, cast, bob):
        crafted = {
            "username": "dora",
            "is_active": "on",
            "is_staff": "on",
            "is_superuser": "on",
            "user_permissions": [Permission.objects.get(codename="add_apikey").pk],
            "api_keys-TOTAL_FORMS": "0",
            "api_keys-INITIAL_FORMS": "0",
        }

        assert bob.post(f"{USERS}{cast['dora'].pk}/change/", crafted).status_code == 302

        dora = User.objects.get(username="dora")
        assert (dora.is_staff, dora.is_superuser) == (False, False)
        assert not dora.user_permissions.exists()

    def test_staff_cannot_set_the_password_of_staff(self, cast, bob):
        page = reverse("admin:auth_user_password_change", args=[cast["alice"].pk])

        assert bob.post(page, {"password1": "x" * 20, "password2": "x" * 20}).status_code == 403

    def test_superusers_give_permissions(self, cast, alice):
        permission = Permission.objects.get(codename="view_call")
        answers = {
            "username": "charlie",
            "is_active": "on",
            "is_staff": "on",
            "user_permissions": [permission.pk],
            "api_keys-TOTAL_FORMS": "0",
            "api_keys-INITIAL_FORMS": "0",
        }

        alice.post(f"{USERS}{cast['charlie'].pk}/change/", answers)

        assert list(cast["charlie"].user_permissions.all()) == [permission]

    def test_a_new_user_needs_no_password(self, alice):
        alice.post(f"{USERS}add/", {"username": "nightly-job", "usable_password": "false"})

        assert not User.objects.get(username="nightly-job").has_usable_password()

    def test_the_page_shows_id_and_keys_and_edits_neither(self, cast, alice):
        key = key_of(cast["dora"])

        page = alice.get(f"{USERS}{cast['dora'].pk}/change/").content.decode()

        assert cast["dora"].public_id in page
        assert 'name="public_id"' not in page
        assert key.masked in page
        assert f'href="{KEYS}{key.pk}/change/"' in page


class TestLists:
    def test_show_each_keys_state_in_words(self, cast, alice):
        for state in ("active", "expired", "revoked"):
            key = key_of(cast["dora"], name=f"an {state} key")
            if state == "revoked":
                actions.revoke(key=key)
            if state == "expired":
                ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(days=1))

        for state in ("active", "expired", "revoked"):
            page = alice.get(KEYS, {"state": state}).content.decode()
            assert re.findall(r"an (\w+) key", page) == [state]
            assert len(re.findall(rf">\s*{state}\s*</span>", page)) == 1

    @pytest.mark.parametrize("part", ["name", "username", "masked", "prefix", "last4", "public_id"])
    def test_find_a_key_by_what_is_known_of_it(self, cast, alice, part):
        key = key_of(cast["dora"], name="findable")
        key_of(cast["charlie"], name="another")
        term = key.owner.username if part == "username" else getattr(key, part)

        found = alice.get(KEYS, {"q": term}).context["cl"].queryset

        assert list(found) == [key]

    @pytest.mark.parametrize("part", ["request_id", "operation"])
    def test_find_a_call(self, cast, alice, part):
        key = key_of(cast["dora"])
        wanted = call(key, 1, operation="runs.create")
        call(key, 2)

        assert list(alice.get(CALLS, {"q": getattr(wanted, part)}).context["cl"].queryset) == [wanted]

    def test_of_calls_of_one_key_are_linked_from_the_key(self, cast, alice):
        key, other = key_of(cast["dora"]), key_of(cast["dora"])
        wanted = call(key, 1)
        call(other, 2)
        link = re.search(
            r'href="(/admin/proxy/call/\?[^"]+)"', alice.get(f"{KEYS}{key.pk}/change/").content.decode()
        )

        assert list(alice.get(link[1]).context["cl"].queryset) == [wanted]

    @pytest.mark.parametrize("status", [204, 302, 404, 503])
    def test_of_calls_are_filtered_by_class_of_status(self, cast, alice, status):
        key = key_of(cast["dora"])
        for number, code in enumerate([204, 302, 404, 503]):
            call(key, number, status=code)

        found = alice.get(CALLS, {"status": str(status)[0]}).context["cl"].queryset

        assert [record.status for record in found] == [status]

    @pytest.mark.parametrize("path", [KEYS, CALLS, USERS])
    def test_take_as_many_queries_for_30_rows_as_for_3(self, cast, alice, path):
        counts = [queries_of(alice, path, rows) for rows in (3, 30)]

        assert counts[0] == counts[1]
        assert counts[0] <= 6  # session, user, rows, and for keys and users their number

    def test_of_calls_never_count_the_log(self, cast, alice, django_assert_num_queries):
        queries_of(alice, CALLS, 3)
        with django_assert_num_queries(3) as captured:  # session, user, one page of calls
            alice.get(CALLS)

        assert not any("COUNT(" in query["sql"] for query in captured)

    def test_details_take_as_many_queries_for_30_events_as_for_3(self, cast, alice):
        key = key_of(cast["dora"])
        counts = []
        for events in (3, 27):
            for _ in range(events):
                actions.record(key, KeyEvent.Kind.ISSUED, actor=cast["bob"], address=None)
            counts.append(queries(lambda: alice.get(f"{KEYS}{key.pk}/change/")))

        assert counts[0] == counts[1]


def queries_of(client: Client, path: str, rows: int) -> int:
    """How many queries the list takes with that many more rows, each with an owner of its own."""
    for number in range(rows):
        owner = User.objects.create(username=f"user-{rows}-{number}")
        key = actions.issue(owner=owner, name="a key", actor=owner)[0]
        call(key, rows * 1000 + number)
    return queries(lambda: client.get(path))


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
