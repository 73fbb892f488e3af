"""Publishing on the account page and over the API: owners publish, members look, and others see nothing of it."""

import pytest

from keys.actions import organisations
from keys.models import Organisation, User
from keys.rights.scopes import Scope
from portal.account.organisations import publications as account_page
from proxy.admin import publication_pages
from proxy.ledger import publishing
from proxy.models import Publication, PublicationReader
from tests.keys.api.callers import program, refused
from tests.keys.people import signed_in
from tests.proxy.registries import RUN, MemoryRegistry

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
PAGE = "/account/organisations/lab/publications/"


@pytest.fixture
def lab(settings, monkeypatch) -> Organisation:
    """Olga owns it, mia is a member; carl owns the clinic."""
    settings.ISOLATION, settings.MLFLOW_TEST_URL = "required", ""
    lab, clinic = (organisations.create_organisation(slug=slug) for slug in ("lab", "clinic"))
    for organisation, name, role in (
        (lab, "olga", "owner"),
        (lab, "mia", "member"),
        (clinic, "carl", "owner"),
    ):
        user = User.objects.create_user(name, email=f"{name}@example.org", password="x")
        organisations.add_member(organisation=organisation, user=user, role=role)
    registry = MemoryRegistry(lab, {"churn": ["1", "2"]})
    monkeypatch.setattr(publishing, "registry_of", lambda namespace: registry)
    return lab


def client_of(name: str):
    return signed_in(User.objects.get(username=name))


def api_of(name: str, organisation: str):
    found = Organisation.objects.get(slug=organisation)
    return program(User.objects.get(username=name), Scope.PORTAL_ADMIN, organisation=found)


def test_an_owner_sees_what_becomes_visible_publishes_it_and_withdraws_it(lab):
    olga, form = client_of("olga"), {"name": "churn", "version": "2", "readers": "one", "reader": "clinic"}

    shown = olga.post(f"{PAGE}publish/", form).content.decode()
    assert f"<code>{RUN}</code>" in shown
    assert "stage = checked" in shown
    assert not Publication.objects.exists()
    assert olga.post(f"{PAGE}publish/", {**form, "step": "publish"}).status_code == 302
    [row] = Publication.objects.all()
    PublicationReader.objects.create(
        publication=row, organisation=Organisation.objects.get(slug="clinic"), reads=7, loads=1
    )
    page = olga.get(PAGE).content.decode()
    assert "<code>clinic</code>: 1 load, 7 reads since" in page
    carls = client_of("carl").get("/account/organisations/clinic/publications/").content.decode()
    assert "/api/mlflow/w/lab" in carls
    assert 'load_model("models:/churn/2")' in carls.replace("&quot;", '"')
    assert olga.post(f"{PAGE}{row.pk}/withdraw/").status_code == 302
    assert Publication.objects.get().withdrawn_by.username == "olga"
    assert "Withdrawn" in olga.get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reader": ""}, "Name the organisation."),
        ({"name": "made-up"}, "there is no registered model"),
        ({"reader": "lab"}, "an organisation reads its own models anyway"),
        ({"version": "x"}, "give a version"),
    ],
)
def test_the_form_says_what_is_wrong(lab, change, words):
    form = {"name": "churn", "version": "", "readers": "one", "reader": "clinic", **change}

    assert words in client_of("olga").post(f"{PAGE}publish/", form).content.decode()


def test_members_look_and_others_see_nothing(lab):
    row = Publication.objects.create(environment="live", organisation=lab, name="churn")

    statuses = {
        name: [client_of(name).get(path).status_code for path in (PAGE, f"{PAGE}publish/")]
        + [client_of(name).post(f"{PAGE}{row.pk}/withdraw/").status_code]
        for name in ("mia", "carl")
    }
    assert statuses == {"mia": [200, 404, 404], "carl": [404, 404, 404]}


def test_the_api_does_the_same(lab):
    olga, mia, carl = api_of("olga", "lab"), api_of("mia", "lab"), api_of("carl", "clinic")
    asked = {"name": "churn", "reader": "clinic"}

    dry = olga.post("/organisations/lab/publish", {**asked, "dry_run": True}).json()
    assert (dry["publication"], len(dry["visible"]["versions"])) == (None, 2)
    made = olga.post("/organisations/lab/publish", asked).json()["publication"]
    assert (made["name"], made["version"], made["reader"], made["published_by"]) == (
        "churn",
        "",
        "clinic",
        "olga",
    )
    refused(olga.post("/organisations/lab/publish", asked), 409, "not_possible")
    for sent in (asked, {**asked, "dry_run": True}):
        refused(mia.post("/organisations/lab/publish", sent), 403, "not_granted")
        assert carl.post("/organisations/lab/publish", sent).status_code == 404
    assert [each["id"] for each in mia.get("/organisations/lab/publications").json()["results"]] == [
        made["id"]
    ]
    assert carl.get("/organisations/lab/publications").status_code == 404
    [readable] = carl.get("/organisations/clinic/readable").json()["results"]
    assert (readable["organisation"], readable["name"]) == ("lab", "churn")
    assert "readers" not in readable

    for publication in (made["id"] + 1, "x"):
        assert olga.post(f"/organisations/lab/publications/{publication}/withdraw").status_code == 404
    withdrawn = olga.post(f"/organisations/lab/publications/{made['id']}/withdraw").json()
    assert withdrawn["withdrawn_at"]
    assert carl.get("/organisations/clinic/readable").json()["results"] == []


def test_lists_say_that_they_are_cut_and_a_withdrawal_leads_back_to_its_list(lab, monkeypatch):
    olga, alice = client_of("olga"), signed_in(User.objects.create_superuser("alice"))
    for module in (account_page, publication_pages):
        monkeypatch.setattr(module, "LATEST", 1)
    staff_list = "/admin/publications/?organisation=lab"

    def pages() -> list[str]:
        carl = client_of("carl").get("/account/organisations/clinic/publications/")
        return [page.content.decode() for page in (olga.get(PAGE), carl, alice.get(staff_list))]

    rows = [publishing.publish(organisation=lab, name="churn", reader="clinic")[0]]
    assert not any("The latest" in page for page in pages())
    rows += [publishing.publish(organisation=lab, name="churn", version="1", reader="clinic")[0]]
    assert all("The latest 1." in page for page in pages())

    for sent, address in (({"organisation": "lab"}, staff_list), ({}, "/admin/publications/")):
        assert (
            alice.post(f"/admin/publications/{rows.pop().pk}/withdraw/", sent).headers["Location"] == address
        )


def test_owners_and_staff_set_which_versions_may_be_published(lab):
    olga, alice = client_of("olga"), signed_in(User.objects.create_superuser("alice"))
    assert (
        olga.post(f"{PAGE}publish/", {"name": "churn", "version": "1", "readers": "all"})
        .content.decode()
        .count("The portal has no list of its files yet")
        == 1
    )
    assert client_of("mia").post(f"{PAGE}rule/", {"rule": "refuse"}).status_code == 404
    assert olga.post(f"{PAGE}rule/", {"rule": "refuse"}).status_code == 302
    assert (
        "Only single versions whose pickles were all examined to their end" in olga.get(PAGE).content.decode()
    )
    shown = alice.get("/admin/publications/?organisation=lab").content.decode()
    assert "It publishes only single versions" in shown
    assert alice.post(f"/admin/publications/rule/{lab.pk}/", {"rule": "warn"}).status_code in (302, 303)

    path, sent = "/organisations/lab/publication-rule", {"rule": "refuse"}
    refused(api_of("mia", "lab").post(path, sent), 403, "not_granted")
    assert api_of("olga", "lab").post(path, sent).json()["publication_rule"] == "refuse"
