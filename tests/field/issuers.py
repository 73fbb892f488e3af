"""Real issuers of signed tokens: panva's oidc-provider (Node), and Canaille with a person who signs in (Python)."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import requests

from portal.one_machine.ports import free_port
from portal.one_machine.supervisor import Child, start
from tests.field.environments import Environment, environment, node_modules, node_program, variables
from tests.field.readers.providers import PACKAGE
from tests.field.servers import Field
from tests.issuers import encode, part

SCRIPT = Path(__file__).parent / "readers" / "signer.mjs"
CANAILLE = "0.3.6"
PASSWORD = "correct horse battery staple"  # of Canaille's only user
REDIRECT = "http://127.0.0.1:9/callback"  # nobody goes there
CLIENT = ("portal", "a secret of the client")


Changes = dict[str, Any]


class Issuer(Protocol):
    program: str
    version: str
    url: str
    audience: str
    subject: str

    def serve(self, key: str) -> Any:
        """A context in which it runs and signs with this key; another name is another key."""

    def fetch_token(self, *, header: Changes | None = None, claims: Changes | None = None) -> str:
        """A new token; with these changes, signed by the issuer's own key. None removes a header."""


class OidcProvider:
    program, version = "oidc-provider", PACKAGE.rpartition("@")[2]
    audience, subject = "https://registry.example", "job"

    def __init__(self, algorithm: str) -> None:
        modules = node_modules(PACKAGE)
        if modules is None:
            raise FileNotFoundError("install Node")
        self.modules, self.algorithm, self.port = modules, algorithm, free_port()
        shutil.copy(SCRIPT, modules)
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self, key: str) -> Any:
        return node_program(self.modules, SCRIPT.name, str(self.port), self.audience, self.algorithm, key)

    def fetch_token(self, *, header: Changes | None = None, claims: Changes | None = None) -> str:
        """By the grant for programs."""
        changes = {"x-changes": json.dumps({"header": header or {}, "claims": claims or {}})}
        sent = {
            "grant_type": "client_credentials",
            "client_id": "job",
            "client_secret": "a secret of the job",
        }
        answer = requests.post(f"{self.url}/token", {**sent, "scope": "train"}, headers=changes, timeout=30)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


class Canaille:
    program, version = "Canaille", CANAILLE
    audience, subject = CLIENT[0], "carol"

    def __init__(self, algorithm: str, field: Field, folder: Path) -> None:
        self.algorithm, self.field, self.folder, self.port = algorithm, field, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.installed: Environment = environment(
            "canaille", ("install", f"canaille[front,oidc,server,sqlite]=={CANAILLE}")
        )
        self.file, self.keys = folder / "canaille.toml", dict[str, list[dict[str, str]]]()
        folder.mkdir()

    def run(self, *arguments: str) -> str:
        command = [str(self.installed.folder / "bin" / "canaille"), *arguments]
        return subprocess.run(
            command,
            env=self.settings(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout

    def settings(self) -> dict[str, str]:
        return variables(self.installed.folder) | (
            {"CANAILLE_CONFIG": str(self.file)} if self.file.exists() else {}
        )

    def new_key(self, kind: str) -> dict[str, str]:
        printed = self.run("jwk", "create", kind)
        return {
            name: value
            for name, value in json.loads(printed[printed.index("{") :]).items()
            if isinstance(value, str)
        }

    def configure(self, key: str) -> None:
        """It wants an RSA key in any case, and takes the one that fits the client's algorithm."""
        if key not in self.keys:
            self.keys[key] = [self.new_key("rsa"), self.new_key("ec")]
        keys = [
            "{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in each.items()) + "}"
            for each in self.keys[key]
        ]
        lines = ['SECRET_KEY = "made for one run"', f'SERVER_NAME = "127.0.0.1:{self.port}"']
        lines += ['PREFERRED_URL_SCHEME = "http"', "[CANAILLE_SQL]"]
        lines += [f'DATABASE_URI = "sqlite:///{self.folder / "canaille.db"}"', "[CANAILLE_OIDC]"]
        self.file.write_text("\n".join([*lines, f"ACTIVE_JWKS = [{', '.join(keys)}]"]))

    def create(self) -> None:
        """The database, a user, and the client that asks for tokens."""
        name, secret = CLIENT
        self.run("install")
        self.run(
            *("create", "user", "--user-name", self.subject, "--password", PASSWORD), "--family-name", "C"
        )
        self.run(
            *("create", "client", "--client-id", name, "--client-secret", secret, "--client-name", name),
            *("--redirect-uris", REDIRECT, "--client-uri", "http://127.0.0.1", "--scope", "openid"),
            *("--grant-types", "authorization_code", "--response-types", "code"),
            *("--token-endpoint-auth-method", "client_secret_basic"),
            *("--id-token-signed-response-alg", self.algorithm),
        )
        self.run("set", "client", name, "--audience", name)

    @contextmanager
    def serve(self, key: str) -> Iterator[None]:
        is_new = not self.file.exists()
        self.key = key
        self.configure(key)
        if is_new:
            self.create()
        with self.field.running(self.url, self.begin, self.is_ready):
            yield

    def begin(self) -> Child:
        return start(
            "canaille",
            [str(self.installed.folder / "bin" / "canaille"), "run", "--bind", f"127.0.0.1:{self.port}"],
            log=self.folder / "canaille.log",
            watchdog=self.field.watchdog,
            environment=self.settings(),
            directory=self.folder,
        )

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/.well-known/openid-configuration", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def fetch_token(self, *, header: Changes | None = None, claims: Changes | None = None) -> str:
        """The ID token of a person who signs in: Canaille's programs get no signed token. It signs no changed ones, so
        this process does, with Canaille's key."""
        if header is None and claims is None:
            self.token = self.sign_in()
            return self.token
        token = self.token
        headers = jwt.get_unverified_header(token) | (header or {})
        content = jwt.decode(token, options={"verify_signature": False}) | (claims or {})
        headers = {name: value for name, value in headers.items() if value is not None}
        key = jwt.PyJWK(self.keys[self.key][self.algorithm == "ES256"], algorithm=self.algorithm).key
        signed = f"{part(headers)}.{part(content)}"
        return f"{signed}.{encode(jwt.get_algorithm_by_name(self.algorithm).sign(signed.encode(), key))}"

    def sign_in(self) -> str:
        """Once a second: two sign-ins in one second get the same access token, which Canaille cannot store twice."""
        time.sleep(1.1)
        browser = requests.Session()
        browser.trust_env = False
        question = {
            "response_type": "code",
            "client_id": CLIENT[0],
            "scope": "openid",
            "redirect_uri": REDIRECT,
        }
        page = browser.get(f"{self.url}/oauth/authorize?{urlencode(question | {'nonce': 'n'})}", timeout=30)
        where = page.url
        for _ in range(12):  # name, password, and redirects between them
            if where.startswith(REDIRECT):
                break
            if page.is_redirect:
                page = browser.get(where, timeout=30, allow_redirects=False)
            else:
                page = browser.post(where, fill_in(page.text), timeout=30, allow_redirects=False)
            where = requests.compat.urljoin(page.url, page.headers.get("Location", page.url))
        code = parse_qs(urlsplit(where).query)["code"][0]
        sent = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        answer = requests.post(f"{self.url}/oauth/token", sent, auth=CLIENT, timeout=30)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id_token"])


def fill_in(page: str) -> dict[str, str]:
    """The fields of a page's form, with the name and the password of Canaille's user."""
    fields = {}
    for field in re.findall(r"<input[^>]*>", page):
        found = dict(re.findall(r'\b(name|value)="([^"]*)"', field))
        fields[found.get("name", "")] = found.get("value", "")
    fields.pop("remember", None)
    return fields | {"login": Canaille.subject, "password": PASSWORD}
