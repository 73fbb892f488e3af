"""The page of settings in force lists what is documented, and no secret."""

import re
from pathlib import Path

import pytest
from django.conf import settings as in_force
from django.contrib.auth.models import Group
from django.test import Client

from keys.models import User
from keys.rights.scopes import Scope
from portal.api.schema import schema
from tests.keys.api.callers import program, refused

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

PAGE = "/admin/settings/"
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "settings.md"
SECRETS = {
    "SECRET_KEY": "a-secret-for-sessions",
    "KEY_PEPPERS": ["a-pepper-for-the-keys-that-is-long"],
    "DATABASE_URL": "postgresql://portal:database-password@db/portal",
    "REDIS_URL": "redis://:redis-password@redis",
    "ALERT_WEBHOOK_URL": "https://chat.example/hooks/webhook-credential",
    "SMTP_URL": "smtp://mail:mail-password@mail",
    "MLFLOW_AUTHORIZATION": "Bearer upstream-credential",
    "OIDC_CLIENT_SECRET": "a-client-secret",
    "MLFLOW_TEST_URL": "http://somebody:url-password@mlflow",
}


@pytest.fixture
def alice() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("alice"))
    return client


def listed(client: Client):
    return {setting.name: setting for setting in client.get(PAGE).context["settings"]}


def test_it_lists_exactly_the_documented_settings(alice):
    documented = re.findall(r"^\| `([A-Z_]+)` \|", DOCUMENT.read_text(), re.MULTILINE)

    assert list(listed(alice)) == documented


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_set_or_not_and_never_shown(request, settings, monkeypatch, name):
    value = SECRETS[name]
    setattr(settings, name, value)
    monkeypatch.setenv(name, value if isinstance(value, str) else ",".join(value))
    alice = request.getfixturevalue("alice")  # signed in under that SECRET_KEY

    found, page = listed(alice)[name], alice.get(PAGE).content.decode()

    assert (found.value, found.source) == ("set", "environment")
    assert re.search(r"a-[a-z-]*|[a-z]+-(password|credential)", str(value))[0] not in page


def test_no_secret_of_this_process_is_on_the_page(alice):
    page = alice.get(PAGE).content.decode()

    for secret in (in_force.SECRET_KEY, *in_force.KEY_PEPPERS):
        assert secret not in page


def test_a_value_says_where_it_comes_from(alice, settings, monkeypatch):
    settings.THREADS, settings.DEBUG, settings.ALLOWED_ARTIFACT_SCHEMES = 7, False, ["s3", "gs"]
    monkeypatch.setenv("THREADS", "7")
    monkeypatch.delenv("DEBUG", raising=False)

    found = listed(alice)

    assert (found["THREADS"].value, found["THREADS"].source) == ("7", "environment")
    assert (found["DEBUG"].value, found["DEBUG"].source) == ("false", "default")
    assert found["ALLOWED_ARTIFACT_SCHEMES"].value == "s3, gs"
    assert found["MLFLOW_AUTHORIZATION"].value == "not set"


def test_it_is_for_superusers_and_reading(alice):
    client = Client()
    client.force_login(User.objects.create_user("charlie", is_staff=True))

    assert client.get(PAGE).status_code == 403
    assert alice.post(PAGE).status_code == 405


def test_the_api_tells_superusers_the_same_and_nobody_else(monkeypatch):
    monkeypatch.setenv("OIDC_CLIENT_SECRET", "a-client-secret")
    monkeypatch.setattr(in_force, "OIDC_CLIENT_SECRET", "a-client-secret")
    staff = User.objects.create_user("charlie", is_staff=True)
    staff.groups.set(Group.objects.all())
    refused(program(staff, Scope.PORTAL_ADMIN).get("/settings"), 403, "permission")

    answer = program(User.objects.create_superuser("alice"), Scope.PORTAL_READ).get("/settings")

    found = {row["name"]: row for row in answer.json()["results"]}
    assert list(found) == re.findall(r"^\| `([A-Z_]+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert found["OIDC_CLIENT_SECRET"]["value"] == "set"
    assert "a-client-secret" not in answer.content.decode()


def test_what_make_run_sets_is_not_said_to_be_the_operators(alice, monkeypatch):
    monkeypatch.setenv("PORT", "9321")
    monkeypatch.setenv("THREADS", "7")
    monkeypatch.setenv("SET_BY_MAKE_RUN", "PORT,DATA_DIR")

    found = listed(alice)
    assert (found["PORT"].source, found["THREADS"].source) == ("set by make run", "environment")


def test_what_follows_from_another_setting_is_shown_as_it_is_in_force(alice, settings):
    settings.MLFLOW_URL, settings.MLFLOW_HOST_HEADER = "http://mlflow.internal:5000", ""
    settings.PUBLIC_URL, settings.ENVIRONMENT_NAME = "https://registry.example", ""

    found = listed(alice)
    assert found["MLFLOW_HOST_HEADER"].value == "mlflow.internal:5000"
    assert found["ENVIRONMENT_NAME"].value == "registry.example"
    assert (found["ENVIRONMENT_NAME"].source, found["DEBUG"].value) == ("default", "false")


def test_the_api_says_whence_in_the_words_of_its_schema(monkeypatch):
    monkeypatch.setenv("SET_BY_MAKE_RUN", "PORT,MLFLOW_URL")
    row = schema()["components"]["schemas"]["Setting"]["properties"]["source"]
    name = row.get("$ref", row.get("allOf", [{}])[0].get("$ref", "")).rpartition("/")[2]
    words = (schema()["components"]["schemas"][name] if name else row)["enum"]

    answer = program(User.objects.create_superuser("alice"), Scope.PORTAL_READ).get("/settings")

    assert "set by make run" in words
    assert {setting["source"] for setting in answer.json()["results"]} <= set(words)
