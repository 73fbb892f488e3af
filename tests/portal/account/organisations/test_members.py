"""An organisation's page: what members, maintainers and owners see and do, and that it does not exist for others."""

import pytest
from django.urls import reverse

from keys import actions
from keys.actions import collecting, organisations
from keys.actions.errors import ActionError
from keys.models import ApiKey, MemberInvitation, Membership, Organisation, PreparedKey, User
from keys.organisations import maintainers
from keys.rights.scopes import Preset
from proxy.policy.browser import CHOSEN
from tests.keys.people import SECRET, by, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
LAB = "/account/organisations/lab/"


@pytest.fixture
def lab() -> Organisation:
    """Olga owns it, max maintains it, mia is a member; eve is in another one."""
    lab = organisations.create_organisation(slug="lab", name="The Lab")
    for name, role in (("olga", "owner"), ("max", "maintainer"), ("mia", "member")):
        user = User.objects.create_user(name, email=f"{name}@example.org", password="x")
        organisations.add_member(organisation=lab, user=user, role=role)
    other = organisations.create_organisation(slug="clinic")
    eve = User.objects.create_user("eve", email="eve@example.org", password="x")
    organisations.add_member(organisation=other, user=eve, role="owner")
    return lab


@pytest.fixture
def mias(lab) -> ApiKey:
    return actions.issue(owner=User.objects.get(username="mia"), name="mias key")[0]


def client_of(name: str):
    return signed_in(User.objects.get(username=name))


def addresses(key: ApiKey) -> list[str]:
    member = User.objects.get(username="mia").public_id
    ends = ["", "invite/", "service-users/", "keys/issue/", f"members/{member}/", f"members/{member}/remove/"]
    return [
        *(LAB + end for end in ends),
        *(f"{LAB}keys/{key.public_id}/{verb}/" for verb in ("pause", "revoke")),
    ]


def test_each_page_is_for_its_roles_and_a_404_for_all_others(lab, mias):
    statuses = {
        name: [client_of(name).get(address).status_code for address in addresses(mias)]
        for name in ("olga", "max", "mia", "eve")
    }
    assert statuses == {
        "olga": [200] * 8,
        "max": [200, 404, 200, 200, 404, 404, 200, 200],
        "mia": [200, *[404] * 7],
        "eve": [404] * 8,
    }
    made_up = [address.replace("/lab/", "/made-up/") for address in addresses(mias)]
    assert {client_of("eve").get(address).status_code for address in made_up} == {404}


def test_a_key_of_another_organisation_is_not_there(lab, mias):
    foreign = actions.issue(owner=User.objects.get(username="eve"), name="foreign")[0]

    assert client_of("max").post(f"{LAB}keys/{foreign.public_id}/pause/").status_code == 404
    assert ApiKey.objects.get(pk=foreign.pk).paused_at is None


def test_a_member_sees_the_name_and_the_own_role_only(lab, mias):
    page = client_of("mia").get(LAB).content.decode()

    assert "The Lab" in page
    assert "You are member" in page
    assert "olga" not in page
    assert "mias key" not in page
    assert "The Lab" in client_of("mia").get("/account/").content.decode()


def test_maintainers_pause_resume_and_revoke_keys_of_members(lab, mias):
    client = client_of("max")
    address = f"{LAB}keys/{mias.public_id}/"

    client.post(f"{address}pause/", {"reason": "too many calls"})
    assert ApiKey.objects.get(pk=mias.pk).state == "paused"
    client.post(f"{address}resume/")
    assert ApiKey.objects.get(pk=mias.pk).state == "active"
    client.post(f"{address}revoke/", {"confirmation": "mias key", "reason": ""})
    assert ApiKey.objects.get(pk=mias.pk).state == "revoked"
    assert mias.events.first().actor.username == "max"


def issue(client, owner: User, name: str):
    form = client.get(f"{LAB}keys/issue/").context["form"]
    answers = {"owner": owner.public_id, "name": name, "preset": "reader", "environment": "live"}
    answers |= {"days": str(form["days"].initial), "form_id": form["form_id"].value()}
    return client.post(f"{LAB}keys/issue/", answers).content.decode()


def test_a_maintainer_sees_the_secret_of_a_service_users_key_and_never_a_members(lab):
    client, mia = client_of("max"), User.objects.get(username="mia")
    client.post(f"{LAB}service-users/", {"name": "nightly"})
    machine = User.objects.get(username="lab.nightly")

    assert SECRET.search(issue(client, machine, "of the machine"))
    assert ApiKey.objects.get(owner=machine).organisation == lab
    assert not SECRET.search(issue(client, mia, "for mia"))
    prepared = PreparedKey.objects.get(owner=mia)
    assert collecting.collect(prepared=prepared, actor=by(mia))[0].organisation == lab


def test_a_service_user_cannot_sign_in_and_belongs_to_one_organisation(lab):
    machine = maintainers.add_service_user(
        organisation=lab, name="nightly", actor=by(User.objects.get(username="max"))
    )

    assert (machine.is_service, machine.has_usable_password(), machine.email) == (True, False, "")
    with pytest.raises(ActionError, match="cannot sign in"):
        actions_invite(machine)
    with pytest.raises(ActionError, match="belongs to one organisation"):
        organisations.add_member(organisation=Organisation.objects.get(slug="clinic"), user=machine)
    with pytest.raises(ActionError, match="a member only"):
        organisations.set_member_role(membership=machine.memberships.get(), role="owner")


def actions_invite(user: User) -> None:
    from keys.actions import invitations

    invitations.invite(user=user)


def test_a_maintainers_key_has_at_most_the_rights_of_self_service(lab):
    mia, owner = User.objects.get(username="mia"), by(User.objects.get(username="max"))
    settings = {"organisation": lab, "owner": mia, "name": "n", "actor": owner}
    from datetime import timedelta

    with pytest.raises(ActionError, match="at most the rights of contributor"):
        maintainers.issue_key(**settings, preset=Preset.FULL, expires_in=timedelta(days=1))
    with pytest.raises(ActionError, match="works for at most"):
        maintainers.issue_key(**settings, preset=Preset.READER, expires_in=timedelta(days=4000))


def test_an_invited_person_becomes_a_member_only_by_accepting(lab, mailoutbox, settings):
    settings.SMTP_URL = "smtp://127.0.0.1:9"
    client_of("olga").post(f"{LAB}invite/", {"email": "eve@example.org", "role": "maintainer"})
    invitation = MemberInvitation.objects.get()
    eve = client_of("eve")

    assert "The Lab" in mailoutbox[0].subject
    assert eve.get(LAB).status_code == 404
    assert "The Lab" in eve.get("/account/").content.decode()
    address = reverse("account-organisation-answer", args=[invitation.pk, "accept"])
    assert client_of("mia").post(address).status_code == 404
    eve.post(address)
    assert Membership.objects.get(user__username="eve", organisation=lab).role == "maintainer"
    assert eve.post(address).status_code == 404


def test_a_new_person_gets_a_sign_in_link_and_a_withdrawn_invitation_ends(lab):
    owner = client_of("olga")
    page = owner.post(f"{LAB}invite/", {"email": "new@example.org", "role": "member"}).content.decode()

    assert "/account/invitation/hki_" in page
    invitation = MemberInvitation.objects.get(user__email="new@example.org")
    owner.post(f"{LAB}invitations/{invitation.pk}/withdraw/")
    assert not MemberInvitation.objects.open().exists()


def test_owners_change_roles_and_remove_members_whose_keys_end(lab, mias):
    owner, mia = client_of("olga"), User.objects.get(username="mia")
    owner.post(f"{LAB}members/{mia.public_id}/", {"role": "maintainer"})
    assert mia.memberships.get().role == "maintainer"

    owner.post(f"{LAB}members/{mia.public_id}/remove/")
    assert not mia.memberships.exists()
    assert ApiKey.objects.get(pk=mias.pk).state == "revoked"
    olga = User.objects.get(username="olga").public_id
    assert "last owner" in owner.post(f"{LAB}members/{olga}/remove/").content.decode()


def test_the_chosen_organisation_is_one_of_the_users(lab):
    client = client_of("mia")

    assert client.post("/account/organisation/", {"organisation": "clinic"}).status_code == 404
    assert client.get("/account/organisation/").status_code == 405
    answer = client.post("/account/organisation/", {"organisation": "lab"})
    assert (answer.status_code, answer["Location"], client.session[CHOSEN]) == (302, "/mlflow/", "lab")
