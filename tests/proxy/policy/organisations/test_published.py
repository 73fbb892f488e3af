"""What an organisation reads of another one: published models by name, and the folders of their files."""

from dataclasses import replace

import pytest

from keys import actions
from keys.actions import organisations
from keys.credentials.caller import Caller
from keys.models import Organisation, User
from keys.refusals import Refusal
from keys.rights.scopes import Preset
from proxy.models import Publication, PublicationReader, PublishedFiles
from proxy.policy.organisations import published, published_reads, selection
from proxy.routes.operations import Match
from proxy.routes.table import OPERATIONS
from tests.proxy.registries import RUN, MemoryRegistry

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
FOLDER = f"workspaces/lab/1/{RUN}/artifacts/m"


@pytest.fixture
def lab(settings) -> Organisation:
    settings.ISOLATION = "required"
    return organisations.create_organisation(slug="lab")


@pytest.fixture
def caller(lab) -> Caller:
    """A key of the clinic."""
    clinic, user = organisations.create_organisation(slug="clinic"), User.objects.create_user("carl")
    organisations.add_member(organisation=clinic, user=user)
    key = actions.issue(owner=user, name="k", organisation=clinic, scopes=Preset.FULL.scopes)[0]
    return Caller.by_key(key)


@pytest.fixture(autouse=True)
def forgotten():
    """Publications of another test are not in memory: none of its notifications arrived here."""
    published.known_publications.entries.clear()


@pytest.fixture
def registry(lab, monkeypatch) -> MemoryRegistry:
    registry = MemoryRegistry(lab, {"churn": ["1", "2"], "fraud": ["1"], "secret": ["1"]})
    monkeypatch.setattr(published_reads, "Registry", lambda *_, **__: registry)
    return registry


def publish(lab: Organisation, name: str, version: str = "", reader: str = "clinic") -> Publication:
    published.known_publications.entries.clear()
    return Publication.objects.create(
        environment="live", organisation=lab, name=name, version=version, reader=reader
    )


def match_of(name: str, method: str = "GET", **arguments: str) -> Match:
    found = [each for each in OPERATIONS if (each.name, each.method) == (name, method)]
    return Match(operation=found[0], path=found[0].path, arguments=arguments)


def ask(caller: Caller, operation: str, query: str = "", body: bytes = b"", method: str = "GET"):
    """The response to a reader's call, or the refusal's status and reason."""
    match = match_of(operation, method)
    try:
        published_reads.check(caller, match, query)
        return published_reads.answer(caller, match, query, body, url="http://127.0.0.1:9")
    except Refusal as refusal:
        return refusal.status, refusal.reason


def read_as(caller: Caller, slug: str = "lab") -> Caller:
    reader = published.as_reader(caller, slug)
    assert reader is not None
    return reader


@pytest.mark.parametrize("reader", ["clinic", "", "school"])
def test_only_the_address_names_the_publisher_and_only_for_its_readers(lab, caller, reader):
    publish(lab, "churn", reader=reader)

    def select(in_address: str, in_header: str = "") -> str:
        try:
            chosen = selection.select(caller, {selection.HEADER: in_header}, in_address)
        except Refusal as refusal:
            return refusal.message
        return f"{chosen.organisation} for {chosen.home}"

    other = select("made-up")
    assert select("lab") == (other if reader == "school" else "lab for clinic")
    assert select("", "lab") == select("made-up", "lab") == select("lab", "made-up") == other
    assert select("clinic") == "clinic for None"


def test_what_is_withdrawn_or_of_a_closed_organisation_is_not_read(lab, caller):
    row = publish(lab, "churn")
    assert published.as_reader(caller, "lab")

    Publication.objects.filter(pk=row.pk).update(withdrawn_at=row.published_at)
    published.drop_changed("publication", str(row.pk))
    assert published.as_reader(caller, "lab") is None
    publish(lab, "churn")
    organisations.close_organisation(organisation=lab)
    published.drop_changed("organisation", str(lab.pk))
    assert published.as_reader(caller, "lab") is None


def test_a_session_reads_nothing_of_others(lab, caller):
    publish(lab, "churn")

    assert published.as_reader(replace(caller, key=None), "lab") is None


def test_every_operation_is_refused_to_a_reader_but_reads_of_models_and_of_their_files(lab, caller):
    publish(lab, "churn")
    reader, passed = read_as(caller), set()
    for operation in OPERATIONS:
        match = Match(operation=operation, path=operation.path, arguments={"artifact_path": f"1/{RUN}/x"})
        try:
            published_reads.check(reader, match, "name=churn")
            passed.add((operation.name, operation.method))
        except Refusal as refusal:
            assert (refusal.status, refusal.reason) == (403, "published_only"), operation

    assert passed == {
        ("registered-models.get", "GET"),
        ("registered-models.get-by-alias", "GET"),
        ("registered-models.get-latest-versions", "GET"),
        ("registered-models.get-latest-versions", "POST"),
        ("registered-models.search", "GET"),
        ("model-versions.get", "GET"),
        ("model-versions.get-download-uri", "GET"),
        ("model-versions.search", "GET"),
        ("meta.server-info", "GET"),
        ("meta.health", "GET"),
        ("meta.version", "GET"),
    }


def test_a_single_version_is_read_and_nothing_else_of_its_model(lab, caller, registry):
    publish(lab, "churn", "1")
    reader = read_as(caller)
    first = registry.version("churn", "1")

    for operation, query, expected in (
        ("model-versions.get", "name=churn&version=1", {"model_version": first}),
        (
            "registered-models.get",
            "name=churn",
            {"registered_model": {"name": "churn", "latest_versions": [first]}},
        ),
        ("registered-models.get-latest-versions", "name=churn", {"model_versions": [first]}),
        ("registered-models.get-latest-versions", "name=churn&stages=Production", {"model_versions": []}),
        ("model-versions.search", "filter=name%3D'churn'", {"model_versions": [first]}),
        ("model-versions.search", "filter=name%3D'secret'", {"model_versions": []}),
        (
            "registered-models.search",
            "filter=tag.`mlflow.prompt.is_prompt`%20%3D%20'true'",
            {"registered_models": []},
        ),
        ("model-versions.get", "name=churn&version=2", (404, "not_published")),
        ("model-versions.get", "name=churn&version=01", (404, "not_published")),
        ("registered-models.get-by-alias", "name=churn&alias=champion", (404, "not_published")),
        ("registered-models.get", "name=secret", (404, "not_published")),
        ("registered-models.get", "name=made-up", (404, "not_published")),
        ("registered-models.get", "", (404, "not_published")),
        ("registered-models.get", "name=churn&name=secret", (400, "bad_query")),
        ("registered-models.search", "filter=run_id%3D'x'", (400, "bad_filter")),
        ("registered-models.search", "page_token=x", (400, "bad_filter")),
    ):
        assert ask(reader, operation, query) == expected, (operation, query)


def test_a_whole_model_is_read_and_searches_have_pages(lab, caller, registry):
    publish(lab, "churn")
    publish(lab, "fraud", reader="")
    reader = read_as(caller)

    assert ask(reader, "registered-models.get", "name=churn")["registered_model"]["description"]
    assert ask(reader, "registered-models.get-by-alias", "name=churn&alias=champion")
    latest = ask(reader, "registered-models.get-latest-versions", "", b'{"name": "churn"}', "POST")
    assert latest == {"model_versions": [registry.version("churn", "2")]}
    page = ask(reader, "model-versions.search", "max_results=2")
    rest = ask(reader, "model-versions.search", f"max_results=2&page_token={page['next_page_token']}")
    found = [(each["name"], each["version"]) for each in page["model_versions"] + rest["model_versions"]]
    assert found == [("churn", "1"), ("churn", "2"), ("fraud", "1")]
    assert "next_page_token" not in rest


def test_the_publisher_sees_who_reads_and_how_often(lab, caller, registry):
    publication = publish(lab, "churn")
    reader = read_as(caller)
    for operation in ("model-versions.get", "model-versions.get-download-uri"):
        ask(reader, operation, "name=churn&version=1")
    ask(reader, "model-versions.get", "name=churn&version=9")

    [row] = PublicationReader.objects.all()
    assert (row.publication, str(row.organisation), row.reads, row.loads) == (publication, "clinic", 2, 1)


def test_files_are_read_once_their_version_is_asked_for_and_only_below_its_folder(lab, caller, registry):
    publish(lab, "churn", "1")
    reader = read_as(caller)

    def reads(path: str) -> bool:
        match = match_of("artifacts.download", artifact_path=path)
        followed = published.follow_path(caller, match, "")
        assert (followed.home is not None) == (
            path.startswith("workspaces/") and published.covers_files(reader, path)
        )
        return published.covers_files(reader, path)

    assert not reads(f"{FOLDER}/weights.txt")
    ask(reader, "model-versions.get-download-uri", "name=churn&version=1")
    assert reads(f"{FOLDER}/weights.txt")
    assert reads(f"1/{RUN}/artifacts/m/deep/weights.txt")
    for path in (
        f"{FOLDER}2/x",
        f"workspaces/lab/1/{RUN}/artifacts",
        f"workspaces/lab/2/{RUN}/artifacts/m/x",
        "workspaces/lab",
    ):
        assert not reads(path), path
    query = f"path={FOLDER}".replace("/", "%2F")
    assert published.follow_path(caller, match_of("artifacts.list"), query).home is not None
    assert published.follow_path(caller, match_of("artifacts.list"), f"{query}&{query}").home is None


@pytest.mark.parametrize(
    ("address", "location"),
    [
        (f"mlflow-artifacts:/{FOLDER}", FOLDER),
        (f"mlflow-artifacts:/1/{RUN}/artifacts", f"workspaces/lab/1/{RUN}/artifacts"),
        (
            f"mlflow-artifacts:/workspaces/lab/1/models/m-{RUN}/artifacts",
            f"workspaces/lab/1/models/m-{RUN}/artifacts",
        ),
        (f"mlflow-artifacts://host/{FOLDER}", ""),
        (f"mlflow-artifacts:/workspaces/other/1/{RUN}/artifacts/m", ""),
        (f"mlflow-artifacts:/1/{RUN}/artifacts/../../..", ""),
        (f"mlflow-artifacts:/1/{RUN}/artifacts/%2e%2e", ""),
        ("mlflow-artifacts:/workspaces/lab/1", ""),
        ("mlflow-artifacts:/", ""),
        (f"runs:/{RUN}/m", ""),
        ("s3://bucket/1", ""),
        ("", ""),
    ],
)
def test_which_folder_a_version_opens(address, location):
    assert published.location_of("lab", address) == location


def test_files_whose_folder_is_not_plain_are_not_opened(lab, caller, registry):
    publish(lab, "churn", "1")
    registry.locations["churn", "1"] = "mlflow-artifacts:/workspaces/lab/1"
    ask(read_as(caller), "model-versions.get-download-uri", "name=churn&version=1")

    assert not PublishedFiles.objects.exists()


@pytest.mark.parametrize(
    ("source", "location"),
    [
        (f"runs:/{RUN}/m", FOLDER),
        (f"runs:/{RUN}", f"workspaces/lab/1/{RUN}/artifacts"),
        (f"runs:/{'b' * 32}/m", None),
        (f"runs:/{RUN}/../../{'b' * 32}/artifacts", None),
        (f"runs:/{RUN}/%2e%2e", None),
    ],
)
def test_a_source_that_names_a_run_opens_the_runs_folder(lab, caller, registry, source, location):
    publish(lab, "churn", "1")
    registry.locations["churn", "1"] = source

    answered = ask(read_as(caller), "model-versions.get-download-uri", "name=churn&version=1")

    assert PublishedFiles.objects.values_list("location", flat=True).first() == location
    if location:
        assert answered == {"artifact_uri": f"mlflow-artifacts:/{location}"}
