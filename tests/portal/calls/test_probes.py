"""Calls by key, health checks and metrics need none of the portal's pages, which take half of a start to import."""

import importlib.util
import subprocess
import sys

from django.urls import resolve

from portal import urls
from portal.calls import probes

# A call by key and a probe in a process of its own, without a database.
START = """
import sys
import portal.server
import django
django.setup(set_prefix=False)
from portal.calls.dispatcher import PortalHandler
application = PortalHandler()
def get(path, **environ):
    status = []
    environ |= {"REQUEST_METHOD": "GET", "PATH_INFO": path, "REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "127.0.0.1"}
    environ |= {"SERVER_PORT": "80", "wsgi.url_scheme": "http", "wsgi.input": sys.stdin.buffer}
    response = application(environ, lambda line, headers: status.append(line[:3]))
    b"".join(response)
    response.close()
    return status[0]
print(get("/health/live"), get("/api/mlflow/api/2.0/mlflow/experiments/get", HTTP_AUTHORIZATION="Bearer hk_live_x"))
print(*[name for name in sys.argv[1:] if name in sys.modules])
"""
HEAVY = [
    "portal.urls",
    "keys.admin",
    "proxy.admin",
    "unfold.admin",
    "allauth.mfa.urls",
    "rest_framework.compat",
    "jwt",
    "google.protobuf",
    "pyarrow",
    "markdown_it",
]


def test_a_process_that_only_serves_calls_and_probes_imports_no_pages():
    command = [sys.executable, "-W", "ignore", "-c", START, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    statuses, heavy = done.stdout.split("\n")[:2]
    assert statuses == "200 401"
    assert heavy == ""
    assert all(importlib.util.find_spec(name) for name in HEAVY)


def test_probes_have_the_same_addresses_with_and_without_the_pages():
    for path in probes.PATHS:
        with_pages, alone = resolve(path, urls), resolve(path, probes)
        assert (alone.func, alone.view_name) == (with_pages.func, with_pages.view_name), path
