"""Deactivating a user pauses their keys at once; reactivating says what stays paused."""

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command

from keys import actions
from keys.actions import ActionError
from keys.models import ApiKey, KeyEvent, User
from tests.keys.people import USERS, key_of, queries, signed_in


def page(user: User, act: str) -> str:
    return f"{USERS}{user.pk}/{act}/"


def states(user: User) -> dict[str, str]:
    return {key.name: key.state for key in user.api_keys.all()}


@pytest.fixture
def dora(cast) -> User:
    for name in ("one", "two", "paused before", "revoked before"):
        key = key_of(cast["dora"], name=name)
        if name == "paused before":
            actions.pause(key=key)
        if name == "revoked before":
            actions.revoke(key=key)
    return cast["dora"]


def test_deactivating_pauses_every_key_that_works(cast, bob, dora):
    events = KeyEvent.objects.count()

    response = bob.post(page(dora, "deactivate"), {"reason": "left"}, follow=True)

    dora.refresh_from_db()
    assert not dora.is_active
    assert states(dora) == {
        "one": "paused",
        "two": "paused",
        "paused before": "paused",
        "revoked before": "revoked",
    }
    assert "dora is deactivated, and 2 keys are paused." in response.content.decode()
    assert KeyEvent.objects.count() == events + 2
    event = KeyEvent.objects.first()
    assert (event.kind, event.actor, event.address) == ("paused", cast["bob"], "127.0.0.1")
    assert event.detail == {"reason": "The account was deactivated: left"}
    assert "Deactivated; 2 keys are paused." in LogEntry.objects.get().get_change_message()


def test_the_page_that_asks_speaks_of_what_will_be(bob, dora):
    asked = bob.get(page(dora, "deactivate")).content.decode()
    assert "dora will no longer be able to sign in, and the keys below will be paused." in asked

    for key in dora.api_keys.active():
        actions.pause(key=key)
    without = bob.get(page(dora, "deactivate")).content.decode()
    assert "dora will no longer be able to sign in.</strong>" in without
    assert "the keys below" not in without
    done = bob.post(page(dora, "deactivate"), follow=True).content.decode()
    assert "dora is deactivated, and no key of theirs was working." in done


def test_their_sessions_end_at_once(cast, bob, dora):
    client = signed_in(cast["charlie"])
    assert client.get("/admin/").status_code == 200
    alice = signed_in(cast["alice"])

    alice.post(page(cast["charlie"], "deactivate"))

    assert client.get("/admin/").status_code == 302


def test_reactivating_lets_in_and_leaves_the_keys_paused(bob, dora):
    actions.deactivate(user=dora)

    response = bob.post(page(dora, "reactivate"), follow=True)

    dora.refresh_from_db()
    assert dora.is_active
    assert states(dora)["one"] == "paused"
    text = response.content.decode()
    assert "dora may sign in again. Still paused, to be resumed one by one: “one”, “two”" in text.replace(
        "&quot;", '"'
    )


def test_the_page_shows_what_will_be_paused(bob, dora):
    text = bob.get(page(dora, "deactivate")).content.decode()

    assert ">one<" in text
    assert ">two<" in text
    assert ">revoked before<" not in text


@pytest.mark.parametrize("act", ["deactivate", "reactivate"])
def test_what_is_so_already_is_said(bob, dora, act):
    if act == "deactivate":
        actions.deactivate(user=dora)

    text = bob.post(page(dora, act), follow=True).content.decode()

    assert "already" in text
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("name", ["alice", "charlie"])
@pytest.mark.parametrize("act", ["deactivate", "reactivate"])
def test_only_superusers_do_it_to_staff(cast, bob, name, act):
    assert bob.post(page(cast[name], act)).status_code == 403
    assert User.objects.get(username=name).is_active


def test_nobody_does_it_to_themselves(cast, alice):
    User.objects.create_superuser("another")

    text = alice.post(page(cast["alice"], "deactivate")).content.decode()

    assert "You cannot deactivate yourself; ask another administrator." in text
    assert User.objects.get(username="alice").is_active


def test_the_last_superuser_stays(cast):
    User.objects.create_superuser("gone", is_active=False)

    with pytest.raises(ActionError, match="last superuser"):
        actions.deactivate(user=cast["alice"])  # by the command: in the pages, only another superuser could

    assert User.objects.get(username="alice").is_active


def test_the_form_of_a_user_no_longer_does_it_by_itself(cast, bob, dora):
    none = {"api_keys-TOTAL_FORMS": "0", "api_keys-INITIAL_FORMS": "0"}

    bob.post(f"{USERS}{dora.pk}/change/", {"username": "dora", **none})

    assert User.objects.get(username="dora").is_active
    assert states(dora)["one"] == "active"


def test_the_users_page_offers_it_to_those_who_may(cast, bob, alice, dora):
    assert page(dora, "deactivate") in bob.get(f"{USERS}{dora.pk}/change/").content.decode()
    assert (
        page(cast["charlie"], "deactivate")
        not in bob.get(f"{USERS}{cast['charlie'].pk}/change/").content.decode()
    )
    assert (
        page(cast["alice"], "deactivate")
        not in alice.get(f"{USERS}{cast['alice'].pk}/change/").content.decode()
    )
    cast["charlie"].user_permissions.set(Permission.objects.filter(codename="view_user"))
    charlie = signed_in(cast["charlie"])
    assert page(dora, "deactivate") not in charlie.get(f"{USERS}{dora.pk}/change/").content.decode()


def test_the_list_counts_keys_in_as_many_queries_for_1000_users_as_for_10(cast, alice):
    counts = []
    for number in (10, 990):
        users = User.objects.bulk_create(User(username=f"user {number} {n}") for n in range(number))
        key_of(users[0])
        counts.append(queries(lambda: alice.get(USERS)))

    assert counts[0] == counts[1]


def test_a_users_page_takes_as_many_queries_for_1000_keys_as_for_10(cast, alice):
    dora, counts = cast["dora"], []
    key = key_of(dora)
    values = {name: getattr(key, name) for name in ("owner", "scopes", "prefix", "last4")}
    for first, last in ((1, 10), (10, 1000)):
        ApiKey.objects.bulk_create(
            ApiKey(**values, name=f"key {number}", digest=f"{number:064x}") for number in range(first, last)
        )
        counts.append(queries(lambda: alice.get(f"{USERS}{dora.pk}/change/")))

    assert counts[0] == counts[1]


class TestRemovingSecondFactors:
    """For who lost phone and recovery codes."""

    @pytest.fixture
    def dora(self, dora):
        Authenticator.objects.create(user=dora, type="totp", data={"secret": "x"})
        Authenticator.objects.create(user=dora, type="recovery_codes", data={"seed": "x"})
        return dora

    def test_a_superuser_removes_them_by_post_and_it_is_recorded(self, cast, dora):
        alice = signed_in(cast["alice"])
        link = page(dora, "remove_factors")
        assert link in alice.get(f"{USERS}{dora.pk}/change/").content.decode()

        assert "This removes dora's" in alice.get(link).content.decode()
        assert Authenticator.objects.filter(user=dora).count() == 2
        done = alice.post(link, follow=True).content.decode()

        assert "The second factors of dora are removed." in done
        assert not Authenticator.objects.filter(user=dora).exists()
        assert "Second factors removed. From 127.0.0.1." in LogEntry.objects.get().get_change_message()
        assert link not in alice.get(f"{USERS}{dora.pk}/change/").content.decode()

    def test_nobody_else_does(self, cast, bob, dora):
        link = page(dora, "remove_factors")

        assert link not in bob.get(f"{USERS}{dora.pk}/change/").content.decode()
        for client in (bob, signed_in(cast["charlie"])):
            assert client.post(link).status_code == 403
        assert Authenticator.objects.filter(user=dora).count() == 2

    def test_a_command_does_when_no_superuser_can(self, dora, capsys):
        for words in ("second factors are removed", "no second factor"):
            call_command("remove_second_factors", "--user", "dora")
            assert words in capsys.readouterr().out
        assert not Authenticator.objects.filter(user=dora).exists()
        with pytest.raises(CommandError, match="no user “nobody”"):
            call_command("remove_second_factors", "--user", "nobody")
