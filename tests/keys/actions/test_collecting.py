"""A key that an administrator prepares is issued when its holder collects it, once, signed in."""

import datetime
import re

import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.actions import collecting
from keys.actions.actor import Actor, Via
from keys.credentials.tokens import hide
from keys.models import ApiKey, Invitation, PreparedKey, User
from keys.rights.scopes import Preset
from tests.keys.people import ISSUE, SECRET, USERS, by, everything_stored, filled, signed_in

pytestmark = pytest.mark.django_db

LINK = re.compile(r"/account/collect/link/hkc_[0-9A-Za-z]{40}/")
INVITATION = re.compile(r"/account/invitation/hki_[0-9A-Za-z]{40}/")
PASSWORD = "correct horse battery staple"


@pytest.fixture
def dora(cast) -> Client:
    cast["dora"].set_password(PASSWORD)
    cast["dora"].save()
    return signed_in(cast["dora"])


def prepared_for(cast, **changes) -> tuple[PreparedKey, str]:
    return collecting.prepare(
        **{"owner": cast["dora"], "name": "training", "actor": by(cast["bob"], "192.0.2.1"), **changes}
    )


def page_of(prepared: PreparedKey) -> str:
    return f"/account/collect/{prepared.public_id}/"


def form_of(client: Client, prepared: PreparedKey) -> dict[str, str]:
    return {"form_id": client.get(page_of(prepared)).context["form"]["form_id"].value()}


def text(answer) -> str:
    return answer.content.decode()


class TestOnThePages:
    def test_the_admin_sends_a_link_and_the_holder_alone_sees_the_secret(self, cast, bob, dora):
        answer = bob.post(ISSUE, filled(bob, cast["dora"], delivery="collect", preset="reader"))

        assert "no-store" in answer["Cache-Control"]
        assert not SECRET.search(text(answer))
        assert not ApiKey.objects.exists()
        link = LINK.search(text(answer))[0]
        assert link.split("/")[-2] not in everything_stored()

        opened = dora.get(link)
        prepared = PreparedKey.objects.get()
        assert (opened.status_code, opened["Location"]) == (302, page_of(prepared))
        assert (opened["Referrer-Policy"], opened["Cache-Control"]) == ("no-referrer", "private, no-store")
        assert "Reader" in text(dora.get(page_of(prepared)))
        assert not ApiKey.objects.exists()

        answers = form_of(dora, prepared)
        shown = dora.post(page_of(prepared), answers, REMOTE_ADDR="192.0.2.7")
        [secret] = set(SECRET.findall(text(shown)))
        assert secret not in everything_stored()
        assert "data-connection" in text(shown)
        key = ApiKey.objects.get()
        assert (key.owner, key.created_by, key.scopes) == (
            cast["dora"],
            cast["bob"],
            list(Preset.READER.scopes),
        )
        collected, issued = key.events.all()
        assert (issued.kind, issued.actor) == ("issued", cast["bob"])
        assert (collected.kind, collected.actor, collected.address) == (
            "collected",
            cast["dora"],
            "192.0.2.7",
        )
        prepared.refresh_from_db()
        assert (prepared.key, prepared.collected_address) == (key, "192.0.2.7")

        assert "cannot be shown again" in text(dora.post(page_of(prepared), answers))
        assert "already been collected" in text(dora.get(page_of(prepared)))
        assert "already been collected" in text(dora.post(page_of(prepared), {"form_id": "another"}))
        assert dora.get(link).status_code == 404
        assert ApiKey.objects.count() == 1

    def test_opening_the_link_uses_nothing_up_and_opens_nothing_by_itself(self, cast):
        prepared, secret = prepared_for(cast)
        stranger = Client()

        for _ in range(2):
            opened = stranger.get(f"/account/collect/link/{secret}/", follow=True)
            assert "login" in opened.redirect_chain[-1][0]
            assert secret not in opened.redirect_chain[-1][0]
        assert collecting.end_reason(prepared) == ""

    @pytest.mark.parametrize("name", ["bob", "alice", "charlie"])
    def test_nobody_but_the_holder_collects(self, cast, name):
        prepared, secret = prepared_for(cast)
        other = signed_in(cast[name])

        assert other.get(f"/account/collect/link/{secret}/", follow=True).status_code == 404
        assert other.post(page_of(prepared), {"form_id": "x"}).status_code == 404
        assert not ApiKey.objects.exists()

    def test_the_account_page_names_it_until_it_is_collected(self, cast, dora):
        prepared, _ = prepared_for(cast)

        account = text(dora.get("/account/"))
        assert page_of(prepared) in account
        assert "Collect the key above." in account
        dora.post(page_of(prepared), form_of(dora, prepared))
        assert page_of(prepared) not in text(dora.get("/account/"))

    def test_a_lost_message_is_written_again_with_a_link_that_replaces_the_former(self, cast, bob, dora):
        prepared, secret = prepared_for(cast, scopes=Preset.READER.scopes)
        person = text(signed_in(cast["alice"]).get(f"{USERS}{cast['dora'].pk}/change/"))
        assert "The key “training” waits for dora to collect it" in person
        shown = bob.post(f"/admin/keys/apikey/prepared/{prepared.pk}/renew/")

        new = PreparedKey.objects.waiting().get()
        link = LINK.search(text(shown))[0]
        assert (new.owner, new.name) == (prepared.owner, prepared.name)
        assert collecting.stored_rights(new) == collecting.stored_rights(prepared)
        assert collecting.find_prepared(link.split("/")[-2]) == new
        assert collecting.end_reason(collecting.find_prepared(secret)) == "withdrawn"
        again = bob.post(f"/admin/keys/apikey/prepared/{prepared.pk}/renew/", follow=True)
        assert "no longer waits, or has a newer message" in text(again)

    def test_the_form_is_set_to_collecting_except_for_machines_and_canaries(self, cast, bob):
        machine, person = User.objects.create_user("m"), User.objects.create_user("p", email="p@example.com")
        for owner, delivery in ((None, "collect"), (machine, "show"), (person, "collect")):
            form = bob.get(ISSUE, {"owner": owner.pk} if owner else {}).context["form"]
            assert (form["delivery"].value(), form["owner"].value()) == (delivery, owner and owner.pk)
        assert bob.get(ISSUE, {"owner": "x"}).status_code == 200
        assert bob.get(f"{USERS}add/").context["form"]["preset"].value() == "contributor"

        bob.post(ISSUE, filled(bob, cast["dora"], delivery="collect", is_canary="on"))
        assert ApiKey.objects.get().is_canary

    def test_one_message_brings_a_new_person_to_the_key(self, cast, bob):
        person = {
            "name": "eve",
            "email": "",
            "sign_in": "link",
            "preset": "contributor",
            "key_name": "laptop",
        }
        answer = bob.post(f"{USERS}add/", {**person, "expires_in": "30"})

        link = INVITATION.search(text(answer))[0]
        assert not LINK.search(text(answer))
        assert not SECRET.search(text(answer))
        eve, prepared = User.objects.get(username="eve"), PreparedKey.objects.get()
        client = Client()
        client.get(link)
        done = client.post("/account/invitation/", {"password": PASSWORD, "again": PASSWORD})
        assert done["Location"] == page_of(prepared)
        shown = client.post(page_of(prepared), form_of(client, prepared))
        assert SECRET.search(text(shown))
        assert ApiKey.objects.get().owner == eve

    def test_the_message_is_mailed_where_mail_is_configured(self, cast, bob, settings):
        settings.SMTP_URL = {"EMAIL_HOST": "mail.example"}
        User.objects.filter(pk=cast["dora"].pk).update(email="dora@example.com")

        answer = bob.post(ISSUE, filled(bob, cast["dora"], delivery="collect"))

        assert "was sent to dora@example.com" in text(answer)
        [message] = mail.outbox
        assert message.to == ["dora@example.com"]
        assert INVITATION.search(message.body)  # she has no password yet
        assert not SECRET.search(message.body)

    def test_a_machine_collects_nothing(self, bob, db):
        answer = bob.post(
            f"{USERS}add/", {"name": "m", "sign_in": "none", "preset": "reader", "key_name": "k"}
        )

        assert "A machine cannot collect a key." in text(answer)
        assert not User.objects.filter(username="m").exists()

    def test_only_who_issues_keys_prepares_one_for_a_new_person(self, cast):
        cast["charlie"].user_permissions.set(
            Permission.objects.filter(codename__in=["add_user", "change_user"])
        )
        person = {"name": "eve", "sign_in": "link", "preset": "reader", "key_name": "k", "expires_in": "30"}

        answer = signed_in(cast["charlie"]).post(f"{USERS}add/", person)

        assert INVITATION.search(text(answer))
        assert not PreparedKey.objects.exists()

    def test_what_waits_is_listed_and_withdrawn(self, cast, bob, dora):
        prepared, _ = prepared_for(cast)
        listed = "/admin/keys/apikey/prepared/"
        withdraw = f"{listed}{prepared.pk}/withdraw/"

        assert withdraw in text(bob.get(listed))
        assert "training" in text(bob.get(withdraw))
        assert "is withdrawn" in text(bob.post(withdraw, follow=True))
        assert withdraw not in text(bob.get(listed))
        assert "was withdrawn" in text(dora.get(page_of(prepared)))
        assert dora.get(listed).status_code == 302
        assert signed_in(cast["charlie"]).get(listed).status_code == 403


class TestWhatIsGranted:
    def test_rights_are_those_that_the_admin_fixed(self, cast):
        expires_at = timezone.now() + datetime.timedelta(days=30)
        prepared, _ = prepared_for(
            cast,
            scopes=Preset.READER.scopes,
            networks=["192.0.2.0/24"],
            monthly_bytes=2**30,
            expires_at=expires_at,
        )

        key, _ = collecting.collect(prepared=prepared, actor=by(cast["dora"]))

        assert (key.networks, key.monthly_bytes, key.expires_at) == (["192.0.2.0/24"], 2**30, expires_at)

    @pytest.mark.parametrize("change", [{"is_active": False}, {"is_staff": False}])
    def test_an_admin_who_no_longer_issues_keys_issues_this_one_neither(self, cast, change):
        prepared, _ = prepared_for(cast)
        User.objects.filter(pk=cast["bob"].pk).update(**change)

        with pytest.raises(actions.ActionError, match="may no longer issue it"):
            collecting.collect(prepared=prepared, actor=by(cast["dora"]))

    def test_nobody_prepares_more_than_they_may_issue(self, cast):
        with pytest.raises(actions.NotAllowed, match="only a superuser"):
            prepared_for(cast, scopes=["portal:admin"])
        with pytest.raises(actions.NotAllowed, match="only a superuser"):
            prepared_for(cast, owner=cast["alice"])

    def test_no_key_collects(self, cast):
        prepared, _ = prepared_for(cast)
        own, _ = actions.issue(owner=cast["dora"], name="own")

        with pytest.raises(actions.NotAllowed):
            collecting.collect(
                prepared=prepared, actor=Actor(user=cast["dora"], address=None, via=Via.API, key=own)
            )

    def test_it_waits_for_a_week(self, cast):
        prepared, _ = prepared_for(cast)
        assert prepared.expires_at - timezone.now() <= datetime.timedelta(days=7)
        PreparedKey.objects.update(expires_at=timezone.now())

        with pytest.raises(actions.ActionError, match="not collected in time"):
            collecting.collect(prepared=prepared, actor=by(cast["dora"]))
        assert not PreparedKey.objects.waiting().exists()

    def test_a_new_one_of_the_same_name_replaces_it(self, cast):
        old, _ = prepared_for(cast)
        new, _ = prepared_for(cast)

        old.refresh_from_db()
        assert (collecting.end_reason(old), collecting.end_reason(new)) == ("withdrawn", "")

    def test_nobody_collects_a_canary(self, cast):
        with pytest.raises(actions.ActionError, match="canary"):
            prepared_for(cast, is_canary=True)

    def test_a_collected_key_is_not_withdrawn(self, cast):
        prepared, _ = prepared_for(cast)
        collecting.collect(prepared=prepared, actor=by(cast["dora"]))

        with pytest.raises(actions.ActionError, match="revoke it"):
            collecting.withdraw(prepared=prepared)


def test_a_person_with_a_password_gets_no_invitation(cast, bob, dora):
    bob.post(ISSUE, filled(bob, cast["dora"], delivery="collect"))

    assert not Invitation.objects.exists()


def test_logs_hide_the_links_secret(cast):
    _, secret = prepared_for(cast)

    assert secret not in hide(f"/account/collect/link/{secret}/")


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("prepared_digest_is_sha256", {"digest": "hkc_secret"}),
        ("prepared_name_not_empty", {"name": ""}),
        ("prepared_environment_known", {"environment": "prod"}),
        ("prepared_collected_is_a_key", {"collected_at": timezone.now()}),
    ],
)
def test_the_database_refuses_other_rows(cast, constraint, values):
    prepared, _ = prepared_for(cast)

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        PreparedKey.objects.filter(pk=prepared.pk).update(**values)


def test_a_collected_key_is_not_withdrawn_too(cast):
    prepared, _ = prepared_for(cast)
    collecting.collect(prepared=prepared, actor=by(cast["dora"]))

    with pytest.raises(IntegrityError, match="prepared_ends_once"), transaction.atomic():
        PreparedKey.objects.update(withdrawn_at=timezone.now())


def test_two_of_a_name_do_not_wait_at_once(cast):
    prepared_for(cast)
    other, _ = prepared_for(cast, name="other")

    with pytest.raises(IntegrityError, match="prepared_one_open_a_name"), transaction.atomic():
        PreparedKey.objects.filter(pk=other.pk).update(name="training")


def test_the_command_prints_a_link_and_lists_and_withdraws(capsys, cast, dora):
    call_command("issue_key", "--user", "dora", "--name", "training", "--collect")
    printed = capsys.readouterr()
    prepared = PreparedKey.objects.get()
    assert LINK.search(printed.out)
    assert "dora collects the key “training”" in printed.err

    call_command("prepared_keys")
    assert prepared.public_id in capsys.readouterr().out
    call_command("prepared_keys", "--withdraw", prepared.public_id)
    assert "can no longer be collected." in capsys.readouterr().out
    with pytest.raises(CommandError, match="there is no prepared key"):
        call_command("prepared_keys", "--withdraw", "prep_x")


@pytest.mark.parametrize("issue", [actions.issue, collecting.prepare])
def test_without_a_test_registry_there_are_no_test_keys(cast, settings, issue):
    settings.MLFLOW_TEST_URL = ""
    with pytest.raises(actions.ActionError, match="no test registry"):
        issue(owner=cast["dora"], name="training", environment="test")

    settings.MLFLOW_TEST_URL = "http://127.0.0.1:9"
    assert issue(owner=cast["dora"], name="training", environment="test")[0].environment == "test"
