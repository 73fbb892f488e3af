"""What a doctor may meet at the other end of a line: TLS with a certificate of any kind, and other servers."""

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def signed(name: str, *, by: tuple[Any, Any] | None, names: tuple[str, ...], begins: int, ends: int):
    """A certificate and its key; `begins` and `ends` in days from now; signed by itself if `by` is None."""
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = (by[0].subject, by[1]) if by else (subject, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins * DAY)
        .not_valid_after(now + ends * DAY)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([general(each) for each in names]), critical=False
        )
    return builder.sign(signer, hashes.SHA256()), key


def general(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


class Authority:
    """Signs certificates; `file` is its own, for those who trust it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pair = signed("a test's authority", by=None, names=(), begins=-1, ends=10)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self.pair[0].public_bytes(serialization.Encoding.PEM))

    def certificate(self, *names: str, begins: int = -1, ends: int = 5, own: bool = False) -> Path:
        """A PEM file with a certificate for these names and its key; `own`: signed by itself."""
        certificate, key = signed(
            names[0], by=None if own else self.pair, names=names, begins=begins, ends=ends
        )
        file = self.folder / f"{certificate.serial_number}.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return file


@contextmanager
def forwarder(port: int, *, certificate: Path | None = None, host: str = "127.0.0.1") -> Iterator[int]:
    """A port on which bytes go to and from `port` on this machine, behind TLS if there is a certificate."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    threads: list[threading.Thread] = []
    with socket.create_server((host, 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                thread = threading.Thread(target=serve, args=(caller, port, context))
                threads.append(thread)
                thread.start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(5)
            for thread in threads:
                thread.join(5)


def serve(caller: socket.socket, port: int, context: ssl.SSLContext | None) -> None:
    """One connection, until the caller closes it; each request of at most 64 KiB, or a stream up."""
    with caller, contextlib.suppress(OSError):
        caller.settimeout(30)
        if context:
            caller = context.wrap_socket(caller, server_side=True)
        with caller, socket.create_connection(("127.0.0.1", port), timeout=30) as portal:
            back = threading.Thread(target=pump, args=(portal, caller))
            back.start()
            pump(caller, portal)
            with contextlib.suppress(OSError):
                portal.shutdown(socket.SHUT_RDWR)
            back.join(5)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def server(answer: Any) -> Iterator[tuple[str, list[str]]]:
    """Another HTTP server: its address, and every Authorization header that it was sent. `answer` takes the
    method, the path, the headers and the body, and returns status, headers and body."""
    shown: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "SomethingElse/1.0", ""

        def respond(self) -> None:
            shown.extend(self.headers.get_all("Authorization", []))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, content = answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = respond  # noqa: N815  http.server's names

        def log_message(self, *arguments: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}", shown
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join(5)


class StandIn:
    """Answers as a portal in front of an MLflow with nothing in it, but for what `changes` says: a step's word
    -> a function from the right answer to another."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        self.count = 0
        self.artifact = b""

    def __call__(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        word, status, content, more = self.right(method, path.partition("?")[0], headers, body)
        self.count += 1
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        answer = (
            status,
            {"X-Request-ID": f"req_{self.count:032x}", "Content-Type": "application/json", **more},
            raw,
        )
        return self.changes[word](answer) if word in self.changes else answer

    def right(
        self, method: str, path: str, headers: Any, body: bytes
    ) -> tuple[str, int, Any, dict[str, str]]:
        if path == "/health/live":
            return "live", 200, {"status": "ok"}, {}
        if path.endswith("/health/mlflow"):
            return "mlflow", 200, {"status": "ok", "checks": {"mlflow": {"status": "ok", "ms": 1.0}}}, {}
        if not headers.get("Authorization"):
            return "keyless", 401, {"error_code": "UNAUTHENTICATED", "message": "No API key was sent."}, {}
        if path.endswith("/version"):
            return "version", 200, b"3.17.2", {}
        if path.endswith("/experiments/create"):
            return "experiment", 200, {"experiment_id": "1"}, {}
        if path.endswith("/runs/create"):
            info = {"run_id": "1" * 32, "artifact_uri": f"mlflow-artifacts:/0/{'1' * 32}/artifacts"}
            return "run", 200, {"run": {"info": info}}, {}
        if path.endswith("/hokusai-doctor.bin"):
            return self.artifacts(method, headers, body)
        if "/model-versions/" in path:
            return "model_version", 200, {"model_version": {"version": "1", "run_id": "1" * 32}}, {}
        return "call", 200, {}, {}

    def artifacts(self, method: str, headers: Any, body: bytes) -> tuple[str, int, Any, dict[str, str]]:
        if method == "PUT":
            self.artifact = body
            return "put", 200, {}, {}
        if method == "GET" and headers.get("Range"):
            named = {"Content-Range": f"bytes 1000-1999/{len(self.artifact)}"}
            return "part", 206, self.artifact[1000:2000], named
        return ("get" if method == "GET" else "call"), 200, self.artifact if method == "GET" else {}, {}
