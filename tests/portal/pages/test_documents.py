"""docs/*.md as pages."""

import re

import pytest
from django.conf import settings

from portal.pages import documents
from portal.pages.documents import DOCUMENTS
from portal.pages.explanations import explanations
from proxy.routes.table import OPERATIONS


def shown(client, path: str, **query: str) -> str:
    response = client.get(path, query)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("path", ["/docs/", "/docs/operations/", *(f"/docs/{slug}/" for slug in DOCUMENTS)])
def test_anybody_reads_the_documents_without_the_database(client, path):
    page = shown(client, path)  # pytest-django refuses the database to tests that do not ask for it

    for document in DOCUMENTS.values():
        assert f'href="/docs/{document.slug}/"' in page
    assert 'href="/api/v1/docs/"' in page


def test_the_documents_know_this_portals_address(client, settings):
    settings.PUBLIC_URL = "https://registry.test"

    for path in ("/docs/", "/docs/quickstart/"):
        page = shown(client, path)
        assert "MLFLOW_TRACKING_URI=https://registry.test/api/mlflow" in page
        assert documents.HOST not in page


@pytest.mark.parametrize("slug", DOCUMENTS)
def test_every_link_between_the_documents_leads_to_a_page(client, slug):
    article = (
        shown(client, f"/docs/{slug}/").partition('<article class="prose">')[2].partition("</article>")[0]
    )
    for target in re.findall(r'href="([^"]*)"', article):
        path, _, place = target.partition("#")
        assert path.startswith(("/docs/", "/account/")), target
        if path.startswith("/docs/"):
            assert not place or f'id="{place}"' in shown(client, path), target


def test_every_page_of_the_documents_that_a_template_names_is_there():
    named = {
        (file.name, slug)
        for file in (settings.BASE_DIR / "templates").rglob("*.html")
        for slug in re.findall(r'(?:docs-page" "|href="/docs/)([a-z-]+)', file.read_text(encoding="utf-8"))
    }

    assert len(named) > 5
    assert {(file, slug) for file, slug in named if slug not in {*DOCUMENTS, "operations"}} == set()


@pytest.mark.parametrize(
    ("slug", "inside", "outside"),
    [
        ("limits", "Size of one call", "Loss of Redis"),
        ("integrations", "Kedro, Dagster and ZenML", "Secret scanners"),
        ("workload-identity", "Exchange a token for a key", "For administrators"),
        ("provenance", "model_signing verify key", "Killed workers"),
        ("api", "Idempotency-Key", "manage.py"),
    ],
)
def test_a_page_has_the_sections_for_key_holders(client, slug, inside, outside):
    page = shown(client, f"/docs/{slug}/")

    assert inside in page
    assert outside not in page
    for title in DOCUMENTS[slug].sections:
        assert f'<h2 id="{documents.anchor(title)}">' in page


def test_every_reason_has_its_place_on_the_page(client):
    page = shown(client, "/docs/errors/")

    for reason in explanations():
        assert f'<tr id="{reason}">' in page


def test_markup_in_a_document_is_text():
    assert documents.inline("a <b> & `<i>`") == "a &lt;b&gt; &amp; <code>&lt;i&gt;</code>"


def test_what_is_no_document_is_not_found(client):
    assert client.get("/docs/settings/").status_code == 404
    assert client.get("/docs/..%2fsettings/").status_code == 404


def test_the_operations_are_the_codes(client):
    page = shown(client, "/docs/operations/")

    for operation in OPERATIONS:
        assert f"{operation.method} {operation.path}" in page
    assert "`" not in page


@pytest.mark.parametrize(
    ("query", "inside", "outside"),
    [
        ({"q": "LOG-batch"}, "runs.log-batch", "experiments.get"),
        ({"scope": "registry:delete"}, "model-versions.delete", "runs.delete"),
        ({"scope": "no:such"}, "No served route matches.", "runs.delete"),
        ({"q": "<script>"}, "&lt;script&gt;", "<script>alert"),
    ],
)
def test_the_operations_are_searched_without_a_script(client, query, inside, outside):
    page = shown(client, "/docs/operations/", **query)

    assert inside in page
    assert outside not in page
