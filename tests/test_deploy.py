"""What deploy/ holds can be read by those who will read it, and speaks of what there is."""

import configparser
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import urllib.request
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from keys.alerts import webhook
from portal.one_machine.ports import free_port
from tests.portals import portal, wait_for
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT, UPLOAD

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"].replace("$__rate_interval", "5m")
    for panel in PANELS
    for target in panel.get("targets", ())
]
PROMETHEUS_OWN = {"up"}


def metrics_of(expression: str) -> set[str]:
    """The names of the metrics that a PromQL expression asks for; ValueError if it is none."""
    found, waiting = set(), [promql_parser.parse(expression)]
    while waiting:
        node = waiting.pop()
        match type(node).__name__:
            case "VectorSelector":
                found.add(node.name)
            case "MatrixSelector":
                found.add(node.vector_selector.name)
            case "BinaryExpr":
                waiting += [node.lhs, node.rhs]
            case "Call":
                waiting += list(node.args)
            case "AggregateExpr" | "ParenExpr" | "UnaryExpr" | "SubqueryExpr":
                waiting.append(node.expr)
    return found


@pytest.mark.postgresql
def test_every_number_that_dashboard_and_alerts_ask_for_is_one_that_the_portal_tells(
    echo, echo_portal, echo_key
):
    echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])
    echo_portal.request("GET", GET_EXPERIMENT)
    echo_portal.request("PUT", UPLOAD, key=echo_key["key"], body=b"x")

    def told() -> set[str]:
        text = echo_portal.request("GET", "/metrics").body.decode()
        families = list(text_string_to_metric_families(text))
        # A counter that has not counted yet is announced without a sample.
        return {sample.name for family in families for sample in family.samples} | {
            family.name + ("_total" if family.type == "counter" else "") for family in families
        }

    wanted = set().union(*(metrics_of(expression) for expression in EXPRESSIONS)) - PROMETHEUS_OWN
    missing = wait_for(lambda: wanted - told(), lambda left: not left, seconds=3)

    assert missing == set()
    assert len(wanted) > 12
    assert {name for name in told() if name.endswith("_total")} <= wanted


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_happens_and_where_to_look(rule):
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert metrics_of(rule["expr"])


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    taken = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def unit_of(name: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    assert unit.read(DEPLOY / name)
    return unit


def test_the_unit_starts_the_portal_and_leaves_it_time_to_drain():
    unit = unit_of("hokusai-portal.service")

    assert unit["Service"]["ExecStart"].endswith(
        "gunicorn --config python:portal.server portal.wsgi:application"
    )
    assert int(unit["Service"]["TimeoutStopSec"]) >= 30 + 20  # DRAIN_SECONDS' default and what comes after
    assert unit["Service"]["KillMode"] == "mixed"


def test_another_unit_delivers_alerts_beside_it_and_leaves_a_delivery_its_time():
    unit, portals = (unit_of(f"hokusai-{name}.service")["Service"] for name in ("alerts", "portal"))

    assert unit["ExecStart"].endswith("python manage.py alerts")
    assert int(unit["TimeoutStopSec"]) > webhook.TIMEOUT
    for shared in ("User", "WorkingDirectory", "EnvironmentFile"):
        assert unit[shared] == portals[shared]


@pytest.mark.postgresql
@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_behind_nginx_bodies_stream_and_the_caller_is_known(echo, echo_portal, tmp_path):
    issued = echo_portal.issue("behind", "--any-owner", "--preset", "full")
    port = free_port()
    certificate = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=registry.example",
    ]
    subprocess.run(
        ["openssl", *certificate, "-addext", "subjectAltName=DNS:localhost",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = {"TRUSTED_PROXIES": "1", "PUBLIC_URL": f"https://localhost:{port}"}
    with portal(mlflow_url=echo.url, database=echo_portal.database, **settings) as running:
        site = (DEPLOY / "nginx.conf").read_text()
        site = site.replace("listen 443", f"listen 127.0.0.1:{port}").replace(
            "registry.example;", "localhost;"
        )
        site = site.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}")
        site = re.sub(r"/etc/ssl/\S+\.pem", str(tmp_path / "cert.pem"), site)
        site = re.sub(r"/etc/ssl/\S+\.key", str(tmp_path / "key.pem"), site)
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; "
            + "".join(
                f"{name}_temp_path {tmp_path}/{name}; "
                for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            + f"{site} }}"
        )
        if os.geteuid() == 0:  # its workers are another user's then
            tmp_path.chmod(0o755)
        server = subprocess.Popen(
            ["nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], stderr=subprocess.PIPE
        )
        try:
            trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
            )

            def ask(path: str, *, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
                request = urllib.request.Request(
                    f"https://localhost:{port}{path}", data=body, headers=headers
                )
                request.method = "PUT" if body else "GET"
                try:
                    with opener.open(request, timeout=20) as reply:
                        return reply.status, reply.read()
                except urllib.error.HTTPError as error:
                    return error.code, error.read()
                except OSError:
                    return 0, b""

            assert wait_for(lambda: ask("/health/live")[0] == 200)
            key = {"Authorization": f"Bearer {issued['key']}", "X-Forwarded-For": "203.0.113.9"}
            assert ask(UPLOAD, body=bytes(3_000_000), **key)[0] == 200
            assert echo.last.length == 3_000_000
            assert echo.last.values("X-Forwarded-For") == ["127.0.0.1"]
            assert ask("/metrics")[0] == 404
            assert ask("/api/mlflow//api/2.0/mlflow/experiments/get", **key)[0] == 400
            assert ask("/api/mlflow/api/2.0/mlflow%2Fexperiments/get?experiment_id=0", **key)[0] == 200
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(10)
            server.stderr.close()
