"""Sign-in with oidc-provider, a certified OpenID provider, with and without user information."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import requests

from portal.one_machine.ports import free_port
from tests.field.environments import Environment, node_modules, node_program
from tests.field.readers.results import Result
from tests.field.servers import ROOT, Field

PACKAGE = "oidc-provider@9.13.3"
SCRIPT = Path(__file__).with_name("provider.mjs")
CASES = [("client_secret_post", "userinfo"), ("client_secret_basic", "none")]


def run() -> list[Result]:
    modules = node_modules(PACKAGE)
    if modules is None:
        return [Result(program="oidc-provider", version="", text="install Node", could_run=False)]
    shutil.copy(SCRIPT, modules)
    port = free_port()
    os.environ |= {
        "OIDC_ISSUER": f"http://127.0.0.1:{port}",
        "OIDC_CLIENT_ID": "portal",
        "OIDC_CLIENT_SECRET": "a secret of the client",
        "OIDC_CREATE_USERS": "true",
    }
    problems = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Field(folder / "field") as field,
            field.server("portal", Environment(folder=ROOT / ".venv")) as portal,
        ):
            for method, userinfo in CASES:
                callback = f"{portal.url}/account/login/provider/callback/"
                with node_program(modules, SCRIPT.name, str(port), callback, method, userinfo):
                    if problem := sign_in(portal.url, f"person-{userinfo}"):
                        problems.append(f"{method}, {userinfo}: {problem}")
    text = "signs in with client_secret_post and userinfo, and with client_secret_basic without; sends iss (RFC 9207)"
    return [
        Result(
            program="oidc-provider", version="9.13.3", text="; ".join(problems) or text, works=not problems
        )
    ]


def sign_in(portal: str, person: str) -> str:
    """As a browser: to the provider, through its own pages, and back. The problem; "": none."""
    browser = requests.Session()
    browser.trust_env = False
    browser.headers["Accept"] = "text/html"
    page = browser.get(f"{portal}/account/login/provider/", timeout=30)
    for prompt in ("login", "consent"):
        action = re.search(r'action="([^"]+)"', page.text)
        if action is None:
            return f"{page.url}: {page.status_code} {page.text[:300]}"
        page = browser.post(action[1], {"prompt": prompt, "login": person, "password": "any"}, timeout=30)
    back = next((each for each in page.history if "/callback/" in each.url), page)
    if "iss" not in parse_qs(urlsplit(back.url).query):
        return f"the response has no iss: {page.status_code} {page.url} {page.text[:300]}"
    account = browser.get(f"{portal}/account/", timeout=30, allow_redirects=False)
    return "" if account.status_code == 200 else f"not signed in: {page.status_code} {page.text[:500]}"
