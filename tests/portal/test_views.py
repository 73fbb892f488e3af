"""The front page, and errors as people see them."""

import pytest
from django.test import Client

from keys.models import User

BROWSER = {"HTTP_ACCEPT": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_the_front_page_says_how_to_connect(client, settings):
    settings.PUBLIC_URL = "https://registry.example"

    page = client.get("/").content.decode()

    assert "export MLFLOW_TRACKING_URI=https://registry.example/api/mlflow\n" in page
    assert "export MLFLOW_TRACKING_TOKEN=hk_live_…\n" in page
    assert 'href="/account/"' in page
    assert 'href="/docs/quickstart/"' in page
    assert 'href="/health"' in page


def test_pages_hold_no_script_and_no_style_of_their_own(client):
    for path in ("/", "/no/such/page"):
        page = client.get(path, **BROWSER).content.decode()
        assert "<style" not in page
        assert " style=" not in page
        assert page.count("<script") == page.count('<script src="/static/')


@pytest.mark.django_db
def test_an_error_page_names_the_request_and_needs_no_database(client, django_assert_num_queries):
    client.force_login(User.objects.create_superuser("alice"))

    with django_assert_num_queries(0):
        response = client.get("/no/such/page", **BROWSER)

    page = response.content.decode()
    assert response.status_code == 404
    assert "There is no such page" in page
    assert "ENDPOINT_NOT_FOUND" in page
    assert response["X-Request-ID"] in page


def test_a_program_gets_the_error_as_json(client):
    response = client.get("/no/such/page")

    assert response.json()["error_code"] == "ENDPOINT_NOT_FOUND"
    assert response.json()["request_id"] == response["X-Request-ID"]


def test_a_failure_tells_the_request_id_and_nothing_else(monkeypatch):
    monkeypatch.setattr("portal.views.settings", None)  # AttributeError: … has no attribute 'PUBLIC_URL'
    client = Client(raise_request_exception=False)

    response = client.get("/", **BROWSER)

    page = response.content.decode()
    assert response.status_code == 500
    assert "Something went wrong on our side" in page
    assert response["X-Request-ID"] in page
    assert "PUBLIC_URL" not in page
