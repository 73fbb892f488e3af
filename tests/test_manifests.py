"""The image, Compose and systemd files in deploy/ agree with the settings, the commands and each other."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from portal.http import event_loop

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
    assert "--no-deps --require-hashes" in text
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


def test_only_the_portal_and_its_outbox_share_a_network_with_mlflow_and_only_the_front_is_published():
    with_mlflow = {
        name
        for name, service in SERVICES.items()
        if set(service["networks"]) & set(SERVICES["mlflow"]["networks"])
    }

    assert with_mlflow == {"mlflow", "outbox", "portal", "postgres"}
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


CHART = DEPLOY / "helm" / "hokusai-portal"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
TEMPLATES = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}
RULES = (DEPLOY / "terraform" / "main.tf").read_text()


def test_the_chart_speaks_of_settings_and_secrets_that_exist():
    comment = re.search(
        r"# A Secret of yours with (.+?)\. The chart", (CHART / "values.yaml").read_text(), re.DOTALL
    )

    assert comment
    assert set(VALUES["settings"]) <= SETTINGS
    assert set(re.findall(r"[A-Z]+_[A-Z_]+", comment[1])) <= SETTINGS
    assert set(re.findall(r"\.Values\.settings \"([A-Z_]+)\"", "".join(TEMPLATES.values()))) <= SETTINGS


def test_every_value_that_a_template_reads_is_in_values_yaml_and_the_other_way_round():
    text = "".join(TEMPLATES.values())
    read = {tuple(name.split(".")) for name in re.findall(r"\.Values\.([\w.]+)", text)}
    leaves = {(name,) for name in VALUES} | {
        (name, inner) for name, value in VALUES.items() if isinstance(value, dict) for inner in value
    }

    assert {name[:2] for name in read} <= leaves
    assert set(VALUES) <= {name[0] for name in read}


def test_the_pods_have_probes_a_spool_and_no_rights():
    portal, helpers = TEMPLATES["portal.yaml"], TEMPLATES["_helpers.tpl"]

    assert dict(re.findall(r"(\w+)Probe:\n\s+httpGet: \{path: (\S+), port: http\}", portal)) == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
    assert "{name: spool, mountPath: /var/lib/hokusai-portal}" in portal
    assert "terminationGracePeriodSeconds: {{ add 5 $drain 20 }}" in portal
    for line in ("runAsNonRoot: true", "readOnlyRootFilesystem: true", "capabilities: {drop: [ALL]}",
                 "automountServiceAccountToken: false", "allowPrivilegeEscalation: false"):  # fmt: skip
        assert line in helpers
    for name in ("portal.yaml", "outbox.yaml", "migration.yaml"):
        assert 'include "portal.pod"' in TEMPLATES[name]
        assert 'include "portal.container"' in TEMPLATES[name]


def test_the_load_balancer_forwards_what_callers_use_and_never_the_metrics():
    groups = re.findall(r"^    \w+ += \[(.+)\]", RULES, re.MULTILINE)
    paths = {path for group in groups for path in re.findall(r'"([^"]+)"', group)}

    assert all(len(group.split(",")) <= 5 for group in groups)  # what one rule takes
    assert {"/api/mlflow/*", "/mlflow/*", "/health", "/health/*", "/v1/traces"} <= paths
    assert not any(path.startswith(("/metrics", "/*")) for path in paths)
    assert '"/health/ready"' in RULES
    assert float(re.search(r"idle_timeout = (\d+)", RULES)[1]) < event_loop.KEEPALIVE_SECONDS
    assert int(re.search(r"deregistration_delay +\= (\d+)", RULES)[1]) >= 30 + 20
