"""Trying a call, who owns what, sharing and handing over, as the admin pages offer them."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.models import ApiKey, User
from keys.pages import progress
from proxy.models import Call, Owner
from proxy.policy import owner_actions
from tests.keys.people import everything_stored, key_of, make_cast, page_of, queries, signed_in

OWNERS = "/admin/proxy/owner/"
SHARE = f"{OWNERS}share/"
HAND_OVER = f"{OWNERS}hand-over/"


@pytest.fixture
def cast(db) -> dict[str, User]:
    people = make_cast()
    allow(people["bob"], "view_apikey", "view_user", "view_owner", "change_owner")
    return people


@pytest.fixture
def bob(cast) -> Client:
    return signed_in(cast["bob"])


@pytest.fixture
def key(cast) -> ApiKey:
    return key_of(cast["dora"])


def allow(user: User, *codenames: str) -> None:
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))


def owned(name: str, user: User | None, kind: str = "run", **more) -> Owner:
    return Owner.objects.create(environment="live", kind=kind, name=name, user=user, **more)


class TestWhoMay:
    @pytest.mark.parametrize("path", ["try", OWNERS, SHARE, HAND_OVER])
    @pytest.mark.parametrize(
        ("name", "status"), [("alice", 200), ("bob", 200), ("charlie", 403), ("dora", 302), (None, 302)]
    )
    def test_see_a_page(self, cast, key, path, name, status):
        client = signed_in(cast[name]) if name else Client()

        assert client.get(f"/admin/try/{key.pk}/" if path == "try" else path).status_code == status

    @pytest.mark.parametrize(
        ("codename", "pages"),
        [
            ("view_apikey", {"try"}),
            ("change_apikey", {"try"}),
            ("view_owner", {OWNERS}),
            ("change_owner", {OWNERS, SHARE, HAND_OVER}),
        ],
    )
    def test_each_permission_opens_its_own_pages_only(self, cast, key, codename, pages):
        allow(cast["charlie"], codename)
        charlie = signed_in(cast["charlie"])

        for path in ("try", OWNERS, SHARE, HAND_OVER):
            status = charlie.get(f"/admin/try/{key.pk}/" if path == "try" else path).status_code
            assert status == (200 if path in pages else 403), path

    @pytest.mark.parametrize("name", ["charlie", "dora"])
    def test_write(self, cast, name):
        run = owned("r", cast["dora"])
        client = signed_in(cast[name])

        client.post(SHARE, {"experiment_id": "1", "environment": "live", "is_shared": "yes"})
        client.post(HAND_OVER, {"giver": cast["dora"].pk, "taker": cast["alice"].pk, "confirmed": "yes"})

        assert Owner.objects.get() == run
        assert Owner.objects.get().user == cast["dora"]

    def test_nothing_happens_by_a_get_or_without_the_csrf_token(self, cast, bob):
        owned("r", cast["dora"])
        strict = signed_in(cast["alice"], enforce_csrf_checks=True)
        over = {"giver": cast["dora"].pk, "taker": cast["alice"].pk, "confirmed": "yes"}
        shared = {"experiment_id": "1", "environment": "live", "is_shared": "yes"}

        for path, answers in ((HAND_OVER, over), (SHARE, shared)):
            assert bob.get(path, answers).status_code == 200
            assert strict.post(path, answers).status_code == 403

        assert Owner.objects.get().user == cast["dora"]
        assert not LogEntry.objects.exists()

    def test_nobody_edits_or_deletes_a_row(self, cast):
        alice, row = signed_in(cast["alice"]), owned("r", cast["dora"])

        assert alice.post(f"{OWNERS}{row.pk}/change/", {"user": cast["alice"].pk}).status_code == 403
        assert alice.post(f"{OWNERS}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert alice.post(f"{OWNERS}add/", {"name": "x"}).status_code == 403
        alice.post(OWNERS, {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})

        assert Owner.objects.get().user == cast["dora"]


class TestTryingACall:
    def tried(self, client: Client, key: ApiKey, method: str, path: str, **more: str):
        return client.post(f"/admin/try/{key.pk}/", {"method": method, "path": path, **more})

    def test_that_passes_says_so(self, bob, key):
        response = self.tried(bob, key, "GET", "/api/2.0/mlflow/experiments/get?experiment_id=1")

        verdict, page = response.context["verdict"], response.content.decode()
        assert (verdict.passes, verdict.operation) == (True, "experiments.get")
        assert "This call would be allowed." in page
        assert "experiments.get" in page

    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "reason", "operation", "said"),
        [
            (
                "POST",
                "https://registry.example/api/mlflow/api/2.0/mlflow/runs/delete",
                '{"run_id": "r"}',
                403,
                "scope",
                "runs.delete",
                "needs the scope tracking:delete",
            ),
            (
                "POST",
                "/mlflow/api/2.0/mlflow/runs/log-metric",
                '{"run_id": "r", "key": "a", "value": 1}',
                403,
                "not_owner",
                "runs.log-metric",
                "Run “r” belongs to alice.",
            ),
            ("GET", "/api/2.0/mlflow/nothing", "", 404, "not_a_route", "", "is not an MLflow route"),
            ("POST", "/api/2.0/mlflow/runs/log-metric", "{", 400, None, "runs.log-metric", ""),
        ],
    )
    def test_that_is_refused_says_why(
        self, cast, bob, key, method, path, body, status, reason, operation, said
    ):
        owned("r", cast["alice"])

        response = self.tried(bob, key, method, path, body=body)

        verdict, page = response.context["verdict"], response.content.decode()
        assert (verdict.passes, verdict.status, verdict.operation) == (False, status, operation)
        assert verdict.reason == (reason or verdict.reason)
        assert f"This call would be refused: {status}" in page
        assert said in page

    def test_takes_the_address_into_account(self, bob, key):
        actions.change(key=key, networks=["10.0.0.0/8"])
        path = "/api/2.0/mlflow/experiments/get?experiment_id=1"

        assert self.tried(bob, key, "GET", path).context["verdict"].passes
        refused = self.tried(bob, key, "GET", path, address="192.0.2.1").context["verdict"]
        assert (refused.status, refused.reason) == (403, "network")

    def test_with_a_paused_key_says_that_it_is_paused(self, bob, key):
        actions.pause(key=key)

        verdict = self.tried(bob, key, "GET", "/api/2.0/mlflow/experiments/get").context["verdict"]

        assert (verdict.status, verdict.reason) == (401, "paused_key")

    def test_sends_and_records_nothing_and_keeps_what_was_typed(self, bob, key):
        body = '{"name": "<fraud>", "secret-looking": "s3cr3t-value"}'

        page = self.tried(bob, key, "POST", "/api/2.0/mlflow/experiments/create", body=body).content.decode()

        assert "&lt;fraud&gt;" in page
        assert "<fraud>" not in page
        assert not Call.objects.exists()
        assert not Owner.objects.exists()
        assert not LogEntry.objects.exists()
        assert "s3cr3t-value" not in everything_stored()
        assert key.events.count() == 1

    @pytest.mark.parametrize(
        "wrong", [{"method": "TRACE"}, {"path": ""}, {"address": "here"}, {"path": "/a\0b"}]
    )
    def test_that_is_none_is_asked_for_again(self, bob, key, wrong):
        answers = {"method": "GET", "path": "/version", **wrong}

        response = bob.post(f"/admin/try/{key.pk}/", answers)

        assert (response.status_code, response.context["verdict"]) == (200, None)
        assert response.context["form"].errors

    def test_is_linked_from_the_key_and_needs_one(self, bob, key):
        assert f'href="/admin/try/{key.pk}/"' in bob.get(page_of(key)).content.decode()
        assert bob.get("/admin/try/999999/").status_code == 404


class TestOwners:
    @pytest.mark.parametrize("term", ["fraud", "dora"])
    def test_are_found_by_name_and_by_user(self, cast, bob, term):
        wanted = owned("fraud-detector", cast["dora"], "registered_model")
        owned("churn", cast["alice"], "registered_model")

        assert list(bob.get(OWNERS, {"q": term}).context["cl"].queryset) == [wanted]

    def test_are_filtered_by_kind(self, cast, bob):
        wanted = owned("1", cast["dora"], "experiment")
        owned("r", cast["dora"], "run")

        assert list(bob.get(OWNERS, {"kind": "experiment"}).context["cl"].queryset) == [wanted]

    @pytest.mark.parametrize(("choice", "name"), [("nobody", "1"), ("user", "r")])
    def test_are_filtered_by_whether_there_is_one(self, cast, bob, choice, name):
        owned("1", None, "experiment")
        owned("r", cast["dora"])

        assert [row.name for row in bob.get(OWNERS, {"owned": choice}).context["cl"].queryset] == [name]

    def test_every_kind_that_operations_make_can_be_chosen(self, bob):
        from proxy.admin.owners import kinds

        page = bob.get(OWNERS).content.decode()

        assert {"experiment", "run", "registered_model", "logged_model", "trace"} <= set(kinds())
        assert all(f'<option value="{kind}">' in page for kind in kinds())

    def test_take_as_many_queries_for_1000_rows_as_for_10_and_never_count(
        self, bob, django_assert_num_queries
    ):
        counts = []
        for rows in (10, 990):
            names = [f"user-{rows}-{number}" for number in range(rows)]
            users = User.objects.bulk_create(User(username=name) for name in names)
            owners = [Owner(environment="live", kind="run", name=user.username, user=user) for user in users]
            Owner.objects.bulk_create(owners)
            counts.append(queries(lambda: bob.get(OWNERS)))

        assert counts[0] == counts[1]
        with django_assert_num_queries(counts[1]) as captured:
            bob.get(OWNERS)
        assert not any("COUNT(" in query["sql"] for query in captured)

    def test_lead_to_mlflows_pages_unless_they_are_of_the_test_environment(self, cast, bob):
        row = owned("0af1", cast["dora"])
        address = 'href="/mlflow/#/runs/0af1"'

        assert address in bob.get(OWNERS).content.decode()
        assert address in bob.get(f"{OWNERS}{row.pk}/change/").content.decode()

        Owner.objects.update(environment="test")
        assert address not in bob.get(OWNERS).content.decode()

    def test_details_say_when_and_with_which_key_it_was_made(self, cast, bob, key):
        row = owned("r", cast["dora"], key=key)

        page = bob.get(f"{OWNERS}{row.pk}/change/").content.decode()

        assert "nightly training" in page
        assert f"{timezone.now():%Y-%m-%d}" in page

    def test_are_linked_from_the_user(self, cast, bob):
        wanted = owned("r", cast["dora"])
        owned("s", cast["alice"])
        link = f"{OWNERS}?user__id__exact={cast['dora'].pk}"

        page = bob.get(f"/admin/keys/user/{cast['dora'].pk}/change/").content.decode()

        assert f'href="{link}"' in page
        assert f'href="{HAND_OVER}?giver={cast["dora"].pk}"' in page
        assert list(bob.get(link).context["cl"].queryset) == [wanted]


class TestSharing:
    @pytest.mark.parametrize("is_shared", ["yes", "no"])
    def test_marks_an_experiment_and_leaves_its_owner(self, cast, bob, is_shared):
        row = owned("7", cast["dora"], "experiment", is_shared=is_shared == "no")
        owned("7", cast["dora"], "run")

        answers = {"experiment_id": "7", "environment": "live", "is_shared": is_shared}
        response = bob.post(SHARE, answers, REMOTE_ADDR="192.0.2.7")

        row.refresh_from_db()
        assert (row.is_shared, row.user) == (is_shared == "yes", cast["dora"])
        assert response["Location"] == f"{OWNERS}{row.pk}/change/"
        assert Owner.objects.get(kind="run").is_shared is False
        entry = LogEntry.objects.get()
        assert (entry.user, entry.object_id) == (cast["bob"], str(row.pk))
        assert "From 192.0.2.7." in entry.change_message

    def test_of_an_experiment_that_nobody_owns_makes_a_row_without_a_user(self, bob):
        bob.post(SHARE, {"experiment_id": "12", "environment": "test", "is_shared": "yes"})

        row = Owner.objects.get()
        assert (row.environment, row.kind, row.name) == ("test", "experiment", "12")
        assert (row.user, row.is_shared) == (None, True)

    @pytest.mark.parametrize("wrong", ["", "seven", "007", "-1", "1 2", "1" * 19, "٧", "7\n"])
    def test_takes_an_experiments_id(self, bob, wrong):
        bob.post(SHARE, {"experiment_id": wrong, "environment": "live", "is_shared": "yes"})

        assert set(Owner.objects.values_list("name", flat=True)) <= ({"7"} if wrong == "7\n" else set())

    def test_is_offered_on_the_experiments_page_filled_in(self, cast, bob):
        row = owned("7", cast["dora"], "experiment", is_shared=True)
        run = owned("r", cast["dora"])
        link = f"{SHARE}?experiment_id=7&environment=live&is_shared=no"

        assert link in bob.get(f"{OWNERS}{row.pk}/change/").content.decode().replace("&amp;", "&")
        assert SHARE not in bob.get(f"{OWNERS}{run.pk}/change/").content.decode()
        form = bob.get(link).context["form"]
        assert (form["experiment_id"].value(), form["is_shared"].value()) == ("7", "no")


class TestHandingOver:
    def test_says_first_how_much_it_is(self, cast, bob):
        for number in range(3):
            owned(f"r{number}", cast["dora"])
        owned("m", cast["dora"], "registered_model")
        answers = {"giver": cast["dora"].pk, "taker": cast["alice"].pk}

        page = bob.post(HAND_OVER, answers).content.decode()

        assert "alice becomes the owner of 4 objects of dora." in page
        assert "<dt>Registered model</dt><dd>1</dd><dt>Run</dt><dd>3</dd>" in page
        assert Owner.objects.filter(user=cast["dora"]).count() == 4

    def test_makes_all_of_it_the_others_once_that_is_confirmed(self, cast, bob):
        for number in range(3):
            owned(f"r{number}", cast["dora"])
        other = owned("other", cast["charlie"])
        User.objects.filter(pk=cast["dora"].pk).update(is_active=False)
        answers = {"giver": cast["dora"].pk, "taker": cast["alice"].pk, "confirmed": "yes"}

        response = bob.post(HAND_OVER, answers, REMOTE_ADDR="192.0.2.7")

        assert "3 objects of dora now belong to alice." in bob.get(response["Location"]).content.decode()
        assert Owner.objects.filter(user=cast["alice"]).count() == 3
        other.refresh_from_db()
        assert other.user == cast["charlie"]
        entry = LogEntry.objects.get()
        assert (entry.user, entry.object_id) == (cast["bob"], str(cast["dora"].pk))
        assert "Handed over 3 objects to alice. From 192.0.2.7." in entry.change_message

    def test_tells_its_own_page_how_far_it_has_got(self, cast, bob, alice, monkeypatch):
        monkeypatch.setattr(owner_actions, "BATCH", 2)
        monkeypatch.setattr(progress, "PAUSE_SECONDS", 0)
        seen, keep = [], progress.cache.set
        monkeypatch.setattr(progress.cache, "set", lambda *args: (seen.append(args[1]), keep(*args)))
        for number in range(3):
            owned(f"r{number}", cast["dora"])
        answers = {"giver": cast["dora"].pk, "taker": cast["alice"].pk}
        form_id = bob.post(HAND_OVER, answers).context["progress_id"]

        assert bob.get(f"/admin/progress/{form_id}/").json() == {}
        bob.post(HAND_OVER, {**answers, "confirmed": "yes", "progress": form_id})

        assert seen == [{"done": 2, "total": 3}, {"done": 3, "total": 3}]
        assert bob.get(f"/admin/progress/{form_id}/").json() == seen[-1]
        assert alice.get(f"/admin/progress/{form_id}/").json() == {}

    def test_takes_two_users_of_whom_one_owns_something_and_the_other_is_active(self, cast, bob):
        owned("r", cast["dora"])
        User.objects.filter(username="charlie").update(is_active=False)
        ids = {name: user.pk for name, user in cast.items()} | {"nobody": ""}

        for giver, taker in [
            ("dora", "dora"),
            ("dora", "charlie"),
            ("alice", "dora"),
            ("dora", "nobody"),
            ("nobody", "alice"),
        ]:
            answers = {"giver": ids[giver], "taker": ids[taker], "confirmed": "yes"}
            response = bob.post(HAND_OVER, answers)
            assert response.context["form"].errors

        assert Owner.objects.get().user == cast["dora"]
