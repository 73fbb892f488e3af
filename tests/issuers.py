"""An issuer of signed tokens on loopback, as an OpenID provider is one: its keys, its documents and its tokens."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "https://portal.example"
KINDS = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def part(content: object) -> str:
    """One part of a token: an object as JSON, or a text as it is."""
    return encode((content if isinstance(content, str) else json.dumps(content)).encode())


class Issuer:
    """Signs tokens. With `serve`, it also serves its discovery document and key set."""

    def __init__(self, url: str = "https://issuer.example", algorithm: str = "ES256") -> None:
        self.url, self.requests = url, 0
        self.keys: dict[str, tuple[str, Any]] = {}
        self.server: ThreadingHTTPServer | None = None
        self.rotate("first", algorithm)

    def rotate(self, key_id: str, algorithm: str = "ES256") -> None:
        """Sign with a new key from now on; the former ones stay in the set."""
        self.keys[key_id] = (algorithm, KINDS[algorithm]())
        self.key_id = key_id

    @property
    def key_set(self) -> dict[str, Any]:
        keys = []
        for key_id, (algorithm, key) in self.keys.items():
            public = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
            keys.append({**public, "kid": key_id, "alg": algorithm, "use": "sig"})
        return {"keys": keys}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """A claim that is None is left out."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "repo:acme/models:ref:refs/heads/main"}
        claims |= {"repository": "acme/models", "ref": "refs/heads/main", "iat": now, "exp": now + 600}
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        algorithm, key = self.keys[self.key_id]
        head = {"alg": algorithm, "typ": "JWT", "kid": self.key_id, **(headers or {})}
        signed = (
            f"{part({name: value for name, value in head.items() if value})}.{part(self.claims(**changes))}"
        )
        signature = jwt.get_algorithm_by_name(algorithm).sign(signed.encode(), key)
        return f"{signed}.{encode(signature)}"

    def serve(self) -> "Issuer":
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests += 1
                is_discovery = self.path.endswith("openid-configuration")
                described = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
                body = json.dumps(described if is_discovery else issuer.key_set).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()
