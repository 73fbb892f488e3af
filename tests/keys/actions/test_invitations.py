"""Links with which users set a password."""

import datetime
import json
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from keys.actions import ActionError, invitations
from keys.credentials.tokens import hide
from keys.models import Invitation, User
from keys.rights.groups import KEY_ADMINS
from tests.keys.people import USERS, by

LINK = re.compile(r"/account/invitation/hki_[0-9A-Za-z]{40}/")
PASSWORD = "correct horse battery staple"
BOTH = {"password": PASSWORD, "again": PASSWORD}
ACCEPT = "/account/invitation/"


@pytest.fixture
def link(alice):
    """The link that alice made for a new user, eve."""
    answer = alice.post(f"{USERS}add/", {"name": "eve", "email": "eve@example.com", "sign_in": "link"})
    return LINK.search(answer.content.decode())[0]


def eve() -> User:
    return User.objects.get(username="eve")


def test_the_whole_way(link):
    client = Client()
    opened = client.get(link)
    page = client.get(ACCEPT)
    done = client.post(ACCEPT, BOTH)

    assert (opened.status_code, opened["Location"]) == (302, ACCEPT)
    assert "Welcome, eve" in page.content.decode()
    assert (done.status_code, done["Location"]) == (302, "/account/")
    assert client.session["_auth_user_id"] == str(eve().pk)
    assert eve().check_password(PASSWORD)
    assert eve().invitations.get().accepted_address == "127.0.0.1"
    assert not eve().is_staff


@pytest.mark.parametrize(("role", "first"), [("auditor", "/admin/"), ("holder", "/account/")])
def test_a_superuser_adds_a_person_with_a_role_whose_link_works(alice, role, first):
    answers = {"name": "eve", "sign_in": "link", "role": role}
    link = LINK.search(alice.post(f"{USERS}add/", answers).content.decode())[0]
    client = Client()
    client.get(link)

    assert client.post(ACCEPT, BOTH)["Location"] == first
    assert eve().role == role


def test_who_gives_no_roles_adds_key_holders_and_a_machine_has_no_role(alice, bob):
    bob.post(f"{USERS}add/", {"name": "eve", "sign_in": "link", "role": "superuser"})
    refused = alice.post(f"{USERS}add/", {"name": "m", "sign_in": "none", "role": "auditor"})

    assert eve().role == "holder"
    assert "role" in refused.context["form"].errors


def test_a_new_role_says_that_it_ended_the_sign_in_link(alice, link):
    answers = {"username": "eve", "role": "auditor", "api_keys-TOTAL_FORMS": 0, "api_keys-INITIAL_FORMS": 0}
    saved = alice.post(f"{USERS}{eve().pk}/change/", answers, follow=True).content.decode()

    assert "The sign-in link that eve had does not work any more" in saved
    assert Client().get(link).status_code == 404


def test_no_page_of_it_is_stored_and_the_secret_named_to_nobody(link):
    client = Client()
    for answer in (client.get(link), client.get(ACCEPT), client.post(ACCEPT, BOTH), client.get(link)):
        has_secret = answer.request["PATH_INFO"] != ACCEPT
        # The page with the form needs a policy under which browsers send its Origin: CSRF refuses `null`.
        assert answer["Referrer-Policy"] == ("no-referrer" if has_secret else "same-origin")
        assert answer["Cache-Control"] == "private, no-store"


def test_the_link_works_once(link):
    first, second = Client(), Client()
    for client in (first, second):
        client.get(link)
    first.post(ACCEPT, BOTH)
    late = second.post(
        ACCEPT, {"password": "another phrase altogether", "again": "another phrase altogether"}
    )

    for answer in (late, Client().get(link)):
        assert answer.status_code == 404
        assert "already been used" in answer.content.decode()
    assert eve().check_password(PASSWORD)
    assert "_auth_user_id" not in second.session


def test_opening_it_uses_nothing_up(link):
    for _ in range(3):
        assert Client().get(link).status_code == 302


@pytest.mark.parametrize("when", ["before it is opened", "while the page is open"])
@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: Invitation.objects.update(expires_at=timezone.now()), "expired"),
        (lambda: invitations.withdraw(user=eve()), "withdrawn"),
        (lambda: invitations.invite(user=eve()), "newer one"),
        (lambda: User.objects.filter(username="eve").update(is_active=False), "deactivated"),
    ],
)
def test_a_link_that_has_ended_is_refused(link, end, words, when):
    client = Client()
    if when == "while the page is open":
        client.get(link)
    end()
    answer = client.get(link) if when == "before it is opened" else client.post(ACCEPT, BOTH)

    assert answer.status_code == 404
    assert words in answer.content.decode()
    assert not eve().has_usable_password()


RIGHTS = [
    lambda user: User.objects.filter(pk=user.pk).update(is_staff=True),
    lambda user: User.objects.filter(pk=user.pk).update(is_superuser=True),
    lambda user: user.groups.add(Group.objects.get(name=KEY_ADMINS)),
    lambda user: user.user_permissions.add(Permission.objects.get(codename="add_apikey")),
]


@pytest.fixture
def keeper(db) -> User:
    """Who may invite those without rights."""
    user = User.objects.create_user("keeper", is_staff=True)
    user.groups.add(Group.objects.get(name=KEY_ADMINS))
    return user


@pytest.mark.parametrize("raise_", RIGHTS, ids=["staff", "superuser", "a group", "a permission"])
def test_a_key_admins_link_sets_no_password_of_who_has_got_rights_since(keeper, raise_):
    made, secret = invitations.invite(user=invitations.add_user(name="eve"), actor=by(keeper))
    raise_(eve())

    assert "been given rights" in Client().get(f"{ACCEPT}{secret}/").content.decode()
    with pytest.raises(ActionError, match="only a superuser's link"):
        invitations.accept(invitation=made, password=PASSWORD)
    assert not eve().has_usable_password()


@pytest.mark.parametrize("raise_", RIGHTS, ids=["staff", "superuser", "a group", "a permission"])
@pytest.mark.parametrize("who", ["a superuser", "the command line"])
def test_a_superusers_link_sets_everybodys(keeper, raise_, who):
    User.objects.filter(pk=keeper.pk).update(is_superuser=True)
    actor = User.objects.get(pk=keeper.pk) if who == "a superuser" else None
    made, _ = invitations.invite(user=invitations.add_user(name="eve"), actor=by(actor))
    raise_(eve())

    invitations.accept(invitation=made, password=PASSWORD)
    assert eve().check_password(PASSWORD)


def test_a_made_up_link_is_refused_and_so_is_the_page_without_one(db):
    assert Client().get(f"{ACCEPT}hki_{'a' * 40}/").status_code == 404
    assert Client().post(ACCEPT, BOTH).status_code == 404


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"password": "short", "again": "short"}, "too short"),
        ({"password": PASSWORD, "again": "something else entirely"}, "passwords do not match"),
        ({"password": "password1234", "again": "password1234"}, "too common"),
    ],
)
def test_a_weak_or_mistyped_password_uses_nothing_up(link, answers, words):
    client = Client()
    client.get(link)

    assert words in client.post(ACCEPT, answers).content.decode()
    assert client.post(ACCEPT, BOTH).status_code == 302


def test_who_has_a_second_factor_is_asked_for_it(link):
    from allauth.mfa.models import Authenticator

    Authenticator.objects.create(user=eve(), type="totp", data={"secret": "x"})
    client = Client()
    client.get(link)

    assert client.post(ACCEPT, BOTH)["Location"].startswith("/account/2fa/authenticate/")
    assert "_auth_user_id" not in client.session


def test_the_secret_is_nowhere_in_the_database_or_the_session(link):
    secret = link.split("/")[-2]
    client = Client()
    client.get(link)

    assert Invitation.objects.get().digest == invitations.digest(secret) != secret
    assert secret not in json.dumps(dict(client.session.items()))
    assert not LogEntry.objects.filter(change_message__contains=secret).exists()


@pytest.mark.parametrize(
    "path", ["/account/invitation/hki_{0}/", "/account/password/reset/key/1a-{0}/", "/x?next=%2Fhki_{0}"]
)
def test_logs_do_not_keep_a_link(path):
    assert "Zz9" * 12 not in hide(path.format("Zz9" * 12))


def test_the_admins_history_says_who_invited(link, cast):
    entry = LogEntry.objects.filter(object_id=str(eve().pk)).latest("pk")

    assert (entry.user, "link made" in entry.change_message) == (cast["alice"], True)
    assert Invitation.objects.get().created_by == cast["alice"]


def test_the_link_is_mailed_if_there_is_mail(alice, settings):
    settings.SMTP_URL = {"EMAIL_HOST": "mail.internal"}
    answer = alice.post(f"{USERS}add/", {"name": "eve", "email": "eve@example.com", "sign_in": "link"})

    [message] = mail.outbox
    assert message.to == ["eve@example.com"]
    assert LINK.search(answer.content.decode())[0] in message.body


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"name": "dora"}, "already exists"),
        ({"name": "DORA"}, "already"),
        ({"name": "two words"}, "valid username"),
        ({"name": "eve", "email": "nobody"}, "valid email"),
        ({"name": ""}, "required"),
    ],
)
def test_a_user_that_cannot_be_is_not_added(alice, answers, words):
    page = alice.post(f"{USERS}add/", {"sign_in": "link", **answers}).content.decode()

    assert words in page
    assert not Invitation.objects.exists()


def test_two_users_never_have_the_same_address(db):
    invitations.add_user(name="one", email="same@example.com")

    with pytest.raises(ActionError, match="another user"):
        invitations.add_user(name="two", email="Same@Example.com")


class TestAnotherLink:
    def test_for_a_holder_who_forgot_the_password(self, bob, cast):
        page = bob.post(f"{USERS}{cast['dora'].pk}/invite/").content.decode()
        client = Client()
        client.get(LINK.search(page)[0])

        assert client.post(ACCEPT, BOTH).status_code == 302
        assert client.session["_auth_user_id"] == str(cast["dora"].pk)

    def test_for_staff_only_superusers_make_one(self, bob, cast):
        for action in ("invite", "withdraw"):
            assert bob.post(f"{USERS}{cast['alice'].pk}/{action}/").status_code == 403
        assert not Invitation.objects.exists()

    def test_is_withdrawn_by_a_post(self, bob, cast):
        invitations.invite(user=cast["dora"])
        page = f"{USERS}{cast['dora'].pk}/withdraw/"

        assert bob.get(page).status_code == 200
        assert Invitation.objects.get().withdrawn_at is None
        bob.post(page)
        assert Invitation.objects.get().withdrawn_at

    def test_there_is_none_for_a_deactivated_user(self, cast):
        cast["dora"].is_active = False
        cast["dora"].save()

        with pytest.raises(ActionError, match="deactivated"):
            invitations.invite(user=cast["dora"])


class TestTheCommand:
    def test_makes_user_and_link(self, db, capsys):
        call_command("invite_user", "--user", "eve", "--email", "eve@example.com", "--json")

        shown = json.loads(capsys.readouterr().out)
        assert LINK.search(shown["link"])
        assert (shown["user"], shown["mailed"]) == ("eve", False)
        assert eve().email == "eve@example.com"

    def test_says_that_there_was_no_such_user(self, db, capsys):
        call_command("invite_user", "--user", "eve")
        assert capsys.readouterr().err == "The user eve did not exist and was created.\n"

        call_command("invite_user", "--user", "eve")
        assert capsys.readouterr().err == ""

    def test_ends_the_open_link(self, db, client, capsys):
        call_command("invite_user", "--user", "eve")
        link = LINK.search(capsys.readouterr().out)[0]
        for words in ("The link of eve no longer works.", "eve has no open link."):
            call_command("invite_user", "--user", "eve", "--withdraw")
            assert capsys.readouterr().out == f"{words}\n"
        assert "This link was withdrawn" in client.get(link).content.decode()

        call_command("invite_user", "--user", eve().public_id, "--withdraw", "--json")
        shown = {"user": "eve", "user_id": eve().public_id, "withdrawn": False}
        assert json.loads(capsys.readouterr().out) == shown

    def test_makes_nobody_to_end_a_link(self, db):
        with pytest.raises(CommandError, match="there is no user “eve”"):
            call_command("invite_user", "--user", "eve", "--withdraw")
        assert not User.objects.exists()

    def test_gives_no_address_to_who_is_there(self, cast):
        with pytest.raises(CommandError, match=r"“dora” already exists.*Leave --email out"):
            call_command("invite_user", "--user", "dora", "--email", "dora@example.com")
        assert not Invitation.objects.exists()


class TestConstraints:
    def made(self, **fields) -> Invitation:
        user = fields.pop("user", None) or User.objects.create_user(f"user{User.objects.count()}")
        ends = timezone.now() + datetime.timedelta(days=1)
        number = Invitation.objects.count()
        return Invitation.objects.create(
            **{"user": user, "digest": f"{number:064x}", "expires_at": ends, **fields}
        )

    @pytest.mark.parametrize(
        ("name", "fields"),
        [
            ("invitation_digest_is_sha256", {"digest": "hki_secret"}),
            ("invitation_ends_once", {"accepted_at": timezone.now(), "withdrawn_at": timezone.now()}),
        ],
    )
    def test_of_one_row(self, db, name, fields):
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            self.made(**fields)

    def test_one_open_link_a_user(self, db):
        first = self.made()

        with pytest.raises(IntegrityError, match="invitation_one_open_a_user"), transaction.atomic():
            self.made(user=first.user)
