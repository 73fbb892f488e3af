"""An invalid value stops the start with one clear line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
GOOD = {
    "SECRET_KEY": "s" * 50,
    "KEY_PEPPERS": "p" * 40,
    "DATABASE_URL": "postgresql://portal@127.0.0.1:1/portal",
    "MLFLOW_URL": "http://mlflow.internal:5000",
}
# What is set to a wrong value (or taken away), and what the line has to say beside its name.
WRONG = [
    ("SECRET_KEY", None, "not set"),
    ("KEY_PEPPERS", None, "not set"),
    ("KEY_PEPPERS", "short", "32 characters"),
    ("KEY_PEPPERS", f"{'p' * 40},short", "32 characters"),
    ("DATABASE_URL", None, "not set"),
    ("DATABASE_URL", "mysql://portal:pa55word@db/portal", "PostgreSQL"),
    ("DATABASE_URL", "nonsense", "PostgreSQL"),
    ("DATABASE_LISTEN_URL", "mysql://portal:pa55word@db/portal", "PostgreSQL"),
    ("DATABASE_READ_URL", "mysql://portal:pa55word@db/portal", "PostgreSQL"),
    ("MLFLOW_URL", None, "not set"),
    ("MLFLOW_URL", "mlflow.internal:5000", "http://"),
    ("MLFLOW_URL", "ftp://mlflow.internal", "http://"),
    ("MLFLOW_URL", "http://", "http://"),
    ("MLFLOW_URL", "http://mlflow.internal:http", "port"),
    ("MLFLOW_URL", "http://mlflow.internal:99999", "port"),
    ("MLFLOW_URL", "http://[::1", "host or port"),
    ("MLFLOW_URL", "http://user:pa55word@mlflow.internal", "user"),
    ("MLFLOW_URL", "http://mlflow.internal/?a=1", "query"),
    ("MLFLOW_URL", "http://mlflow.internal/#a", "fragment"),
    ("MLFLOW_URL", "http://127.0.0.1:8000", "the portal itself"),
    ("MLFLOW_URL", "http://localhost:8000/", "the portal itself"),
    ("MLFLOW_URL", "http://[::1]:8000", "the portal itself"),
    ("MLFLOW_URL", "http://127.0.0.1:8000/mlflow", "the portal itself"),
    ("MLFLOW_TEST_URL", "http://127.0.0.1:8000", "the portal itself"),
    ("MLFLOW_TEST_URL", "nonsense", "http://"),
    ("MLFLOW_API", "rest", "api, ajax-api"),
    ("MLFLOW_STATIC_PREFIX", "mlflow", "slash"),
    ("MLFLOW_CA_BUNDLE", "/nonexistent.pem", "cannot be read"),
    ("MLFLOW_CLIENT_CERT", "/nonexistent.pem", "cannot be read"),
    ("MLFLOW_CLIENT_KEY", "/nonexistent.pem", "cannot be read"),
    ("PUBLIC_URL", "registry.example", "http://"),
    ("PORT", "http", "whole number"),
    ("PORT", "0", "from 1 to 65535"),
    ("PORT", "65536", "from 1 to 65535"),
    ("PORT", "-1", "whole number"),
    ("PORT", "²", "whole number"),
    ("WORKERS", "0", "from 1"),
    ("THREADS", "many", "whole number"),
    ("MAX_JSON_BODY", "32MiB", "whole number"),
    ("MAX_ARTIFACT_BODY", "-1", "whole number"),
    ("TRUSTED_PROXIES", "11", "from 0 to 10"),
    ("DEBUG", "maybe", "neither true nor false"),
    ("DIRECT_ARTIFACTS", "2", "neither true nor false"),
    ("OWNERSHIP", "none", "enforce, log, off"),
    ("EXPIRY_GRACE", "1h", "whole number"),
    ("REDIS_URL", "http://user:pa55word@redis", "redis://"),
    ("REDIS_URL", "redis://", "redis://"),
    ("DEFAULT_REQUESTS_PER_MINUTE", "0", "from 1"),
    ("DEFAULT_MONTHLY_BYTES", "plenty", "500M, 10G or 1.5T"),
    ("MAX_IN_FLIGHT", "0", "from 1"),
    ("MAX_IN_FLIGHT_PER_KEY", "many", "whole number"),
    ("USAGE_RETENTION_DAYS", "0", "from 1"),
    ("DRAIN_SECONDS", "30s", "whole number"),
    ("METRICS_ALLOW", "prometheus.internal", "not a network"),
    ("METRICS_ALLOW", "10.0.0.1/8", "not a network"),
    ("LOG_FORMAT", "xml", "auto, text, json"),
    ("REQUIRE_MFA_FOR_STAFF", "staff", "neither true nor false"),
    ("OIDC_ISSUER", "registry.example", "http://"),
    ("OIDC_ISSUER", "https://login.example", "OIDC_CLIENT_ID"),
    ("OIDC_CREATE_USERS", "perhaps", "neither true nor false"),
    ("SMTP_URL", "mail.internal", "smtp://"),
    ("SMTP_URL", "smtp://user:pa55word@mail.internal:many", "smtp://"),
]


def start(folder: Path, *command: str, **settings: str | None) -> subprocess.CompletedProcess[str]:
    """Python with these settings and no others; None takes one away."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    given = {name: value for name, value in {**GOOD, **settings}.items() if value is not None}
    return subprocess.run(
        [sys.executable, *(command or ("-c", "import portal.settings"))],
        env={**kept, "DATA_DIR": str(folder), "PYTHONPATH": str(ROOT), **given},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_good_settings_start(tmp_path):
    result = start(tmp_path, "manage.py", "check")

    assert (result.returncode, result.stderr) == (0, "")


# Reads settings, each time in a process of its own that has nothing of the portal's yet.
READ_EACH = """
import json, os, sys, tempfile
import django.conf, django.urls, psycopg

def outcome(settings):
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 2)
            os.environ.clear()
            os.environ.update(settings)
            import portal.settings
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return status, said.read().decode()

print(json.dumps([outcome(settings) for settings in json.load(sys.stdin)]))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[tuple[int, str]]:
    """The status and the words of a start with each of the wrong values."""
    folder = str(tmp_path_factory.mktemp("settings"))
    given = [{**GOOD, "DATA_DIR": folder, name: value} for name, value, _ in WRONG]
    done = subprocess.run(
        [sys.executable, "-c", READ_EACH],
        input=json.dumps(
            [{name: value for name, value in each.items() if value is not None} for each in given]
        ),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=200,
    )
    return [tuple(outcome) for outcome in json.loads(done.stdout)]


@pytest.mark.parametrize(
    "number", range(len(WRONG)), ids=lambda number: "-".join(map(str, WRONG[number][:2]))
)
def test_a_wrong_value_is_one_clear_line(number, outcomes):
    name, _, words = WRONG[number]
    status, said = outcomes[number]

    assert status == 1
    [line] = said.splitlines()
    assert line.startswith(f"{name}: ")
    assert words in line
    assert "pa55word" not in line


@pytest.mark.parametrize("command", [("--help",), ("issue_key", "--help"), ("help", "issue_key")])
def test_help_needs_no_settings(command, tmp_path):
    result = start(tmp_path, "manage.py", *command, **dict.fromkeys(GOOD))

    assert (result.returncode, result.stderr) == (0, "")
    assert "issue_key" in result.stdout


def test_without_settings_the_line_names_the_folder_that_was_looked_in(tmp_path):
    result = start(tmp_path, "manage.py", "list_keys", **dict.fromkeys(GOOD))

    assert (
        f"no portal runs on {tmp_path}. Set it, set DATA_DIR to that of the running portal, or"
        in result.stderr
    )


@pytest.mark.parametrize(
    "command", [("manage.py", "check"), ("-m", "gunicorn", "--config", "python:portal.server")]
)
def test_each_way_to_start_stops_with_the_same_line(command, tmp_path):
    result = start(tmp_path, *command, PORT="http")

    assert result.returncode != 0
    assert "PORT: “http” is not a whole number from 1 to 65535" in result.stderr.splitlines()
    assert "Traceback" not in result.stderr + result.stdout


@pytest.mark.parametrize(
    ("told", "given", "printed"),
    [
        ({"url": "http://127.0.0.1:9321"}, {}, "http://127.0.0.1:9321"),
        (
            {"url": "http://127.0.0.1:9321", "public_url": "https://registry.example"},
            {},
            "https://registry.example",
        ),
        (
            {"url": "http://127.0.0.1:9321"},
            {"PUBLIC_URL": "https://set.example"},
            "https://set.example",
        ),
        ({}, {"PORT": "9322"}, "http://127.0.0.1:9322"),
    ],
)
def test_commands_print_the_addresses_of_the_portal_that_runs(told, given, printed, tmp_path):
    (tmp_path / "portal.json").write_text(json.dumps(told))
    result = start(tmp_path, "-c", "from portal import settings; print(settings.PUBLIC_URL)", **given)

    assert (result.stdout.strip(), result.stderr) == (printed, "")


def test_the_portal_is_told_by_its_public_address_too(tmp_path):
    for public, mlflow in (
        ("https://registry.example", "https://registry.example"),
        ("https://registry.example", "https://registry.example:443/mlflow"),
        ("https://registry.example:8443", "https://REGISTRY.example:8443"),
    ):
        result = start(tmp_path, PUBLIC_URL=public, MLFLOW_URL=mlflow)
        assert "the portal itself" in result.stderr, mlflow
    assert (
        start(
            tmp_path, PUBLIC_URL="https://registry.example", MLFLOW_URL="http://registry.example:5000"
        ).returncode
        == 0
    )


def test_another_server_on_this_machine_is_not_the_portal(tmp_path):
    assert start(tmp_path, MLFLOW_URL="http://127.0.0.1:5000").returncode == 0
    assert start(tmp_path, PORT="9000", MLFLOW_URL="http://127.0.0.1:8000").returncode == 0


def test_an_ipv6_address_is_a_host_too(tmp_path):
    assert start(tmp_path, HOST="::1").returncode == 0
    assert "the portal itself" in start(tmp_path, HOST="::1", MLFLOW_URL="http://[::1]:8000").stderr


def test_blank_is_unset(tmp_path):
    assert start(tmp_path, PORT=" ", DEBUG="", MLFLOW_TEST_URL="").returncode == 0
    assert "not set" in start(tmp_path, SECRET_KEY=" ").stderr


def test_a_provider_without_tls_may_only_be_on_this_machine(tmp_path):
    client = {"OIDC_CLIENT_ID": "portal", "OIDC_CLIENT_SECRET": "secret"}

    assert "https" in start(tmp_path, OIDC_ISSUER="http://login.example", **client).stderr
    assert start(tmp_path, OIDC_ISSUER="http://127.0.0.1:9400", **client).returncode == 0
    assert start(tmp_path, OIDC_ISSUER="https://login.example", **client).returncode == 0


def test_debug_pages_are_never_public(tmp_path):
    assert "this machine" in start(tmp_path, DEBUG="true", PUBLIC_URL="https://registry.example").stderr
    assert "this machine" in start(tmp_path, DEBUG="true", ALLOWED_HOSTS="registry.example").stderr
    assert start(tmp_path, DEBUG="true").returncode == 0
