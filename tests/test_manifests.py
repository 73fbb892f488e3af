"""The image, Compose and systemd files in deploy/ agree with the settings, the commands and each other."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILES = [DEPLOY / "Dockerfile", DEPLOY / "compose" / "mlflow.Dockerfile"]
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))
OURS = ("migrate", "portal", "outbox")
UNITS = [DEPLOY / "hokusai-portal.service", DEPLOY / "hokusai-alerts.service"]
IMAGE = re.compile(r"[\w./-]+:\d+(\.\d+)+[\w.-]*")  # with a complete version
HARDENING = {
    "CapabilityBoundingSet": "",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "PrivateUsers": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictNamespaces": "yes",
    "SystemCallFilter": "~@privileged @resources",
}


def test_the_image_is_built_from_what_the_portal_needs_and_runs_without_root():
    text = (DEPLOY / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\S+) \S+$", text, re.MULTILINE))
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    result = text[text.rindex("FROM ") :]

    assert (
        copied == kept == {"requirements.lock", "manage.py", "keys", "portal", "proxy", "templates", "docs"}
    )
    assert all((ROOT / path).exists() for path in copied)
    assert "--require-hashes" in text
    assert re.search(r"^USER 10001:10001$", result, re.MULTILINE)
    assert "pip install" not in result
    assert 'CMD ["gunicorn", "--config", "python:portal.server", "portal.wsgi:application"]' in result
    assert set(re.findall(r"^ENV .*?\n(?=\w|#)", result, re.MULTILINE | re.DOTALL))
    assert set(re.findall(r"\b(HOST|PORT|DATA_DIR)=", result)) <= SETTINGS


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_every_base_image_and_package_of_an_image_has_a_version(file):
    text = file.read_text()

    for base in re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE):
        assert IMAGE.fullmatch(base)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
    installed = re.findall(r"pip install --no-cache-dir ((?:[\w.=-]+ )+)", text)
    assert all("==" in package for line in installed for package in line.split() if package[0] != "-")


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_of_compose_has_a_version_and_a_variable_to_replace_it(name):
    match = re.fullmatch(r"\$\{[A-Z]+_IMAGE:-(.+)\}", SERVICES[name]["image"])

    assert match
    assert IMAGE.fullmatch(match[1])


@pytest.mark.parametrize("name", OURS)
def test_the_portals_services_have_settings_that_exist_and_may_write_little(name):
    service = SERVICES[name]

    assert set(service["environment"]) <= SETTINGS
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_the_portal_shares_a_network_with_mlflow_and_only_the_front_is_published():
    with_mlflow = {
        name
        for name, service in SERVICES.items()
        if set(service["networks"]) & set(SERVICES["mlflow"]["networks"])
    }

    assert with_mlflow == {"mlflow", "portal", "postgres"}
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["front"]
    assert {name for name, network in COMPOSE["networks"].items() if not network} == {"front"}


def test_compose_gives_the_portal_its_spool_and_time_to_drain():
    volumes = SERVICES["portal"]["volumes"]
    image = (DEPLOY / "Dockerfile").read_text()

    assert volumes == ["spool:/var/lib/hokusai-portal"]
    assert "DATA_DIR=/var/lib/hokusai-portal" in image
    assert int(SERVICES["portal"]["stop_grace_period"].removesuffix("s")) >= 30 + 20


def test_the_secrets_that_compose_wants_are_those_that_the_script_makes():
    text = (DEPLOY / "compose" / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    made = re.search(
        r"^for name in (.+); do$", (DEPLOY / "compose" / "new-secrets.sh").read_text(), re.MULTILINE
    )

    assert made
    assert wanted == set(made[1].split())


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_the_units_are_confined(unit):
    values = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))

    assert {name: values.get(name) for name in HARDENING} == HARDENING
