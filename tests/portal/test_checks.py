"""Settings that do not fit together: errors stop the start, warnings are said, each in one line."""

import ipaddress

import pytest

from portal.checks import check_settings
from tests.portal.test_settings import start

ANYWHERE = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("0.0.0.0/0")]
GOOD = {
    "DEBUG": False,
    "HOST": "0.0.0.0",
    "PUBLIC_URL": "https://registry.example",
    "ALLOWED_HOSTS": ["registry.example"],
    "TRUSTED_PROXIES": 1,
    "METRICS_ALLOW": [ipaddress.ip_network("127.0.0.0/8")],
    "MLFLOW_URL": "https://mlflow.internal",
    "MLFLOW_TEST_URL": "https://mlflow-test.internal",
    "MLFLOW_CA_BUNDLE": "/ca.pem",
    "MLFLOW_CLIENT_CERT": "/cert.pem",
    "MLFLOW_CLIENT_KEY": "/key.pem",
    "MLFLOW_AUTHORIZATION": "Bearer x",
    "SECRET_KEY": "s" * 50,
    "KEY_PEPPERS": ["p" * 40, "q" * 40],
    "WORKERS": 2,
    "REDIS_URL": "redis://redis.internal",
    "THREADS": 32,
    "MAX_IN_FLIGHT": 28,
}
BARE = {"MLFLOW_CA_BUNDLE": "", "MLFLOW_CLIENT_CERT": "", "MLFLOW_CLIENT_KEY": ""}
# What is set otherwise, and which settings the one finding names.
FAULTS = [
    ({"DEBUG": True}, "portal.E001", ["DEBUG", "registry.example"]),
    ({"DEBUG": True, "PUBLIC_URL": "http://127.0.0.1", "ALLOWED_HOSTS": ["127.0.0.1"]}, "portal.E001", ["0.0.0.0"]),
    ({"ALLOWED_HOSTS": ["localhost"]}, "portal.E002", ["ALLOWED_HOSTS", "registry.example", "PUBLIC_URL"]),
    ({"ALLOWED_HOSTS": ["*"]}, "portal.W001", ["ALLOWED_HOSTS"]),
    ({"PUBLIC_URL": "http://registry.example"}, "portal.W002", ["PUBLIC_URL", "https"]),
    ({"TRUSTED_PROXIES": 0}, "portal.W003", ["PUBLIC_URL", "TRUSTED_PROXIES"]),
    ({"METRICS_ALLOW": ANYWHERE}, "portal.W004", ["METRICS_ALLOW", "0.0.0.0/0"]),
    ({"MLFLOW_TEST_URL": "https://mlflow.internal"}, "portal.E003", ["MLFLOW_TEST_URL", "MLFLOW_URL"]),
    ({"MLFLOW_CLIENT_CERT": ""}, "portal.E004", ["MLFLOW_CLIENT_KEY", "MLFLOW_CLIENT_CERT"]),
    (
        {**BARE, "MLFLOW_URL": "http://localhost:5000", "MLFLOW_CA_BUNDLE": "/ca.pem"},
        "portal.W005",
        ["MLFLOW_CA_BUNDLE", "MLFLOW_URL"],
    ),
    (
        {**BARE, "MLFLOW_URL": "http://mlflow.internal"},
        "portal.W006",
        ["MLFLOW_AUTHORIZATION", "MLFLOW_URL"],
    ),
    ({"SECRET_KEY": "short"}, "portal.W007", ["SECRET_KEY"]),
    ({"KEY_PEPPERS": ["p" * 40, "p" * 40]}, "portal.W008", ["KEY_PEPPERS"]),
    ({"KEY_PEPPERS": ["s" * 50]}, "portal.W009", ["SECRET_KEY", "KEY_PEPPERS"]),
    ({"MAX_IN_FLIGHT": 32}, "portal.W011", ["MAX_IN_FLIGHT", "THREADS"]),
    ({"REDIS_URL": ""}, "portal.W010", ["WORKERS", "REDIS_URL"]),
]  # fmt: skip


@pytest.fixture
def set_all(settings):
    def apply(**changes):
        for name, value in {**GOOD, **changes}.items():
            setattr(settings, name, value)

    return apply


def test_settings_that_fit_together_are_not_remarked_on(set_all):
    set_all()
    assert check_settings() == []
    set_all(PUBLIC_URL="https://[::1]:8443", ALLOWED_HOSTS=["[::1]"])
    assert check_settings() == []
    set_all(ALLOWED_HOSTS=[".example"])
    assert check_settings() == []


@pytest.mark.parametrize(("changes", "name", "words"), FAULTS)
def test_what_does_not_fit_is_said_in_one_line(changes, name, words, set_all):
    set_all(**changes)
    [message] = check_settings()

    assert message.id == name
    assert message.is_serious() == ("E" in name)
    assert [word for word in words if word not in message.msg] == []
    assert "\n" not in message.msg


@pytest.mark.parametrize(
    "command", [("manage.py", "check"), ("-m", "gunicorn", "--config", "python:portal.server", "portal.wsgi")]
)
def test_an_error_stops_each_way_to_start(command, tmp_path):
    result = start(tmp_path, *command, DEBUG="true", HOST="0.0.0.0", PUBLIC_URL="http://127.0.0.1:8000")

    assert result.returncode != 0
    assert "DEBUG shows settings and code" in result.stderr
    assert "Traceback" not in result.stderr
