"""An OpenID provider on a socket that answers what a test tells it to, right or wrong."""

import base64
import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt

SUBJECT = "sub-bob"
ACCESS_TOKEN = "an access token"


class FarProvider:
    """`metadata` and `claims` update what it says; None leaves a name out. `answers`: by path, what it sends
    instead."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.posted: list[tuple[dict[str, str], str]] = []  # headers and body of each POST
        self.nonce = ""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, path: str) -> tuple[int, bytes]:
        if path in self.answers:
            return self.answers[path]
        content = {
            "/.well-known/openid-configuration": self.discovery,
            "/token": self.tokens,
            "/userinfo": lambda: {"sub": SUBJECT},
        }[path]()
        return 200, json.dumps({name: value for name, value in content.items() if value is not None}).encode()

    def discovery(self) -> dict[str, Any]:
        names = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "jwks_uri": "jwks",
            "userinfo_endpoint": "userinfo",
        }
        addresses = {name: f"{self.url}/{path}" for name, path in names.items()}
        return {"issuer": self.url, **addresses, **self.metadata}

    def tokens(self) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": "portal",
            "sub": SUBJECT,
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce,
            "at_hash": at_hash(ACCESS_TOKEN),
            **self.claims,
        }
        given = {name: value for name, value in claims.items() if value is not None}
        id_token = jwt.encode(given, "k" * 32, algorithm="HS256")
        return {"access_token": ACCESS_TOKEN, "token_type": "Bearer", "id_token": id_token}


def at_hash(access_token: str) -> str:
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode()


def handler_of(provider: FarProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = provider.answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            provider.posted.append((dict(self.headers), body))
            self.do_GET()

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

    return Handler


@contextlib.contextmanager
def far_provider() -> Iterator[FarProvider]:
    provider = FarProvider()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        provider.server.server_close()
