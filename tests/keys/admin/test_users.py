"""Users in the admin pages: who may raise whom, and what their page shows."""

import re

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse

from keys.actions import invitations
from keys.models import User
from tests.keys.people import (
    KEYS,
    USERS,
    by,
    key_of,
)


class TestUsers:
    def test_staff_cannot_raise_themselves(self, cast, bob):
        crafted = {
            "username": "bob",
            "is_active": "on",
            "is_staff": "on",
            "is_superuser": "on",
            "role": "superuser",
        }

        assert bob.post(f"{USERS}{cast['bob'].pk}/change/", crafted).status_code == 403
        assert not User.objects.get(username="bob").is_superuser

    def test_staff_cannot_raise_others(self, cast, bob):
        crafted = {
            "username": "dora",
            "is_active": "on",
            "is_staff": "on",
            "is_superuser": "on",
            "role": "superuser",
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
            "role": "custom",
            "user_permissions": [permission.pk],
            "api_keys-TOTAL_FORMS": "0",
            "api_keys-INITIAL_FORMS": "0",
        }

        made, _ = invitations.invite(user=cast["charlie"], actor=by(cast["alice"]))
        alice.post(f"{USERS}{cast['charlie'].pk}/change/", answers)

        assert list(cast["charlie"].user_permissions.all()) == [permission]
        made.refresh_from_db()
        assert made.withdrawn_at, "a link made for one with other rights"

    def test_a_new_user_needs_no_password(self, alice):
        alice.post(f"{USERS}add/", {"name": "nightly-job", "sign_in": "none"})

        assert not User.objects.get(username="nightly-job").has_usable_password()

    def test_the_page_shows_id_and_keys_and_edits_neither(self, cast, alice):
        key = key_of(cast["dora"])

        page = alice.get(f"{USERS}{cast['dora'].pk}/change/").content.decode()

        assert cast["dora"].public_id in page
        assert 'name="public_id"' not in page
        assert key.masked in page
        assert f'href="{KEYS}{key.pk}/change/"' in page


def test_the_page_says_whether_there_is_a_password_and_nothing_of_how_it_is_stored(cast, alice):
    dora = cast["dora"]
    for password, words in (("a phrase of dora's", "set"), (None, "not set")):
        dora.set_password(password)
        dora.save()
        page = alice.get(f"{USERS}{dora.pk}/change/").content.decode()

        assert re.search(rf">\s*{words}\s*<", page)
        assert not re.search("salt|algorithm|pbkdf2|argon2|scrypt|bcrypt", page)


def test_an_e_mail_address_is_shown_changed_and_told(cast, alice):
    dora, none = cast["dora"], {"api_keys-TOTAL_FORMS": "0", "api_keys-INITIAL_FORMS": "0"}
    page = f"{USERS}{dora.pk}/change/"

    alice.post(page, {"username": "dora", "email": "dora@example.org", "role": "holder", **none})

    assert User.objects.get(pk=dora.pk).email == "dora@example.org"
    assert "dora@example.org" in alice.get(page).content.decode()
    assert "dora@example.org" in alice.get(USERS).content.decode()
    assert LogEntry.objects.get(object_id=dora.pk).get_change_message() == "Changed E-mail."


def test_an_e_mail_address_of_another_is_refused(cast, alice):
    User.objects.filter(pk=cast["charlie"].pk).update(email="Charlie@example.org")
    answers = {"username": "dora", "email": "charlie@example.org"}

    page = alice.post(f"{USERS}{cast['dora'].pk}/change/", answers).content.decode()

    assert "Another user has this e-mail address." in page
    assert User.objects.get(username="dora").email == ""


def test_who_may_not_change_a_user_reads_the_address_and_sends_none(cast, bob):
    User.objects.filter(pk=cast["alice"].pk).update(email="alice@example.org")
    page = f"{USERS}{cast['alice'].pk}/change/"

    shown = bob.get(page).content.decode()

    assert "alice@example.org" in shown
    assert 'name="email"' not in shown
    assert bob.post(page, {"username": "alice", "email": "bob@example.org"}).status_code == 403
