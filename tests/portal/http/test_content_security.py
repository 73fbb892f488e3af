import pytest

from tests.echo import Script
from tests.portals import Portal, Reply, portal

PAGES = ["/", "/health-of-nobody", "/account/login/"]
HTML = [("Accept", "text/html")]


@pytest.fixture(scope="module")
def https_portal(echo_server):
    """A portal behind a proxy that ends TLS."""
    with portal(
        mlflow_url=echo_server.url,
        PUBLIC_URL="https://registry.example",
        ALLOWED_HOSTS="registry.example,127.0.0.1",
        TRUSTED_PROXIES="1",
    ) as running:
        yield running


def visit(portal: Portal, path: str, *, host: str = "registry.example") -> Reply:
    """A browser's GET by way of a proxy that says it was https."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "X-Forwarded-Proto: https", "Accept: text/html"]
    return portal.exchange("\r\n".join([*lines, "Connection: close", "", ""]).encode())


@pytest.mark.parametrize("path", PAGES)
def test_no_page_may_run_what_stands_in_it_or_load_from_elsewhere(echo_portal, path):
    policy = echo_portal.request("GET", path, headers=HTML).headers["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert "http" not in policy
    for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
        assert rule in policy.split("; ")


def test_the_admin_is_relaxed_by_what_its_pages_need(echo_portal):
    reply = echo_portal.request("GET", "/admin/nowhere/", headers=HTML)
    rules = reply.headers["Content-Security-Policy"].split("; ")

    assert "script-src 'self' 'unsafe-eval'" in rules
    assert "style-src 'self' 'unsafe-inline'" in rules
    assert "default-src 'none'" in rules


def test_what_mlflow_answers_to_a_program_is_left_as_it_is(echo_portal, echo_key, echo):
    echo.script = Script(body=b"<p>a report</p>", headers=[("Content-Type", "text/html")])

    reply = echo_portal.request(
        "GET",
        "/api/mlflow/api/2.0/mlflow-artifacts/artifacts/1/run/report.html",
        key=echo_key["key"],
        headers=HTML,
    )

    assert reply.body == b"<p>a report</p>"
    assert "Content-Security-Policy" not in reply.headers
    assert "Permissions-Policy" not in reply.headers


def test_behind_tls_browsers_are_told_to_stay_there_and_cookies_are_bound_to_the_host(https_portal):
    reply = visit(https_portal, "/account/login/")
    cookie = reply.headers["Set-Cookie"]

    assert reply.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert reply.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert cookie.startswith("__Host-")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))


def test_plain_http_promises_no_tls(echo_portal):
    assert "Strict-Transport-Security" not in echo_portal.request("GET", "/", headers=HTML).headers


def test_another_host_is_refused(https_portal):
    reply = visit(https_portal, "/", host="evil.example")

    assert reply.status == 400
    assert (
        "The request names the host “evil.example”, which is not this portal&#x27;s." in reply.body.decode()
    )
    assert "http://evil.example" not in reply.body.decode()
