"""The front page, and errors as people see them."""

import pytest
from django.db import InterfaceError, OperationalError
from django.templatetags.static import static
from django.test import Client, RequestFactory

from keys.models import User
from keys.refusals import Refusal
from proxy.answers import refuse

BROWSER = {"HTTP_ACCEPT": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_the_front_page_says_how_to_connect(client, settings):
    settings.PUBLIC_URL = "https://registry.example"

    page = client.get("/").content.decode()

    assert "export MLFLOW_TRACKING_URI=https://registry.example/api/mlflow\n" in page
    assert "export MLFLOW_TRACKING_TOKEN=hk_live_…\n" in page
    assert 'href="/account/"' in page
    assert 'href="/docs/quickstart/"' in page
    assert 'href="/health"' in page


def test_browsers_find_an_icon_where_they_look_by_themselves(client):
    assert client.get("/favicon.ico")["Location"] == static("portal/icon.svg")


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
    monkeypatch.setattr("portal.pages.home.settings", None)  # AttributeError: … has no attribute 'PUBLIC_URL'
    client = Client(raise_request_exception=False)

    response = client.get("/", **BROWSER)

    page = response.content.decode()
    assert response.status_code == 500
    assert "Something went wrong on our side" in page
    assert response["X-Request-ID"] in page
    assert "PUBLIC_URL" not in page


@pytest.fixture
def failing(monkeypatch, settings):
    """A portal of which the front page, the sessions and the context processors all fail with one exception."""

    def fail(exception: Exception) -> Client:
        def raising(*arguments, **options):
            raise exception

        class Session:
            """Fails as a session does whose table cannot be read."""

            session_key = None
            modified = False
            get = __getitem__ = __setitem__ = is_empty = save = raising

        monkeypatch.setattr("portal.pages.home.render", raising)
        monkeypatch.setattr(
            "django.contrib.sessions.middleware.SessionMiddleware.__call__", with_session(Session)
        )
        monkeypatch.setattr("django.contrib.auth.context_processors.auth", raising)
        return Client(raise_request_exception=False)

    def with_session(session):
        def middleware(self, request):
            request.session = session()
            return self.get_response(request)

        return middleware

    return fail


def test_a_failure_is_shown_when_session_and_context_fail_too(failing):
    response = failing(RuntimeError("of the hidden kind")).get("/", **BROWSER)

    page = response.content.decode()
    assert response.status_code == 500
    assert "Something went wrong on our side" in page
    assert response["X-Request-ID"] in page
    assert "hidden kind" not in page


@pytest.mark.parametrize("exception", [OperationalError("at 10.0.0.7"), InterfaceError("at 10.0.0.7")])
def test_an_absent_database_is_told_as_such(failing, exception):
    client = failing(exception)

    page, answer = client.get("/", **BROWSER), client.get("/")

    assert (page.status_code, answer.status_code) == (503, 503)
    assert "Not available just now" in page.content.decode()
    assert "10.0.0.7" not in page.content.decode()
    assert page["Retry-After"] == "5"
    assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"


def test_a_form_of_another_page_changes_nothing_and_says_so():
    response = Client(enforce_csrf_checks=True).post("/admin/login/", {}, **BROWSER)

    page = response.content.decode()
    assert response.status_code == 403
    assert "You may not do this" in page
    assert "Go back, reload the page and send it again." in page
    assert response["X-Request-ID"] in page


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 502, 503, 504])
def test_every_status_has_a_page_in_the_same_look(status):
    refusal = Refusal(status=status, error_code="CODE", reason="scope", message="What to do.")
    request = RequestFactory().get("/", **BROWSER)
    request.META["portal.request_id"] = "req_1"

    response = refuse(request, refusal)

    page = response.content.decode()
    assert response.status_code == status
    assert "This did not work" not in page
    for words in ("What to do.", "req_1", 'href="/static/portal/portal.css"', 'href="/docs/errors/"'):
        assert words in page


def test_a_host_that_is_not_ours_gets_a_page_too(client):
    response = client.get("/", HTTP_HOST="elsewhere.example", **BROWSER)

    assert response.status_code == 400
    assert "This request cannot be read" in response.content.decode()
