"""A time-stamp authority on loopback: OpenSSL's `ts` behind an HTTP server, with certificates made for it."""

import datetime
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
CONFIGURATION = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
accuracy = secs:1
ess_cert_id_alg = sha256
"""


class Authority:
    """`root`: the file with its root certificate. `answer`: the status and body of the next responses, in place of
    OpenSSL's."""

    def __init__(
        self, folder: Path, *, valid_until: datetime.timedelta = DAY, digests: str = "sha256"
    ) -> None:
        self.folder, self.url, self.answer, self.asked = folder, "", None, 0
        folder.mkdir(exist_ok=True)
        now = datetime.datetime.now(datetime.UTC)
        key, root = make_certificate("Root", now=now, until=10 * DAY)
        signer_key, signer = make_certificate("Signer", now=now, until=valid_until, issuer=(key, root))
        self.root = folder / "root.pem"
        self.root.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        (folder / "signer.pem").write_bytes(signer.public_bytes(serialization.Encoding.PEM))
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / "signer.key").write_bytes(signer_key.private_bytes(serialization.Encoding.PEM, form, plain))
        (folder / "serial").write_text("01\n")
        (folder / "ts.conf").write_text(CONFIGURATION.format(folder=folder, digests=digests))

    def reply(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        files = {"-queryfile": "query", "-config": "ts.conf", "-out": "reply"}
        arguments = [word for option, file in files.items() for word in (option, str(self.folder / file))]
        subprocess.run(["openssl", "ts", "-reply", *arguments], capture_output=True, timeout=30)
        return (self.folder / "reply").read_bytes()


def make_certificate(name, *, now, until, issuer=None):
    """The root's, or the signer's if `issuer` is (key, certificate)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key, issuer_name = (issuer[0], issuer[1].subject) if issuer else (key, subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 20 * DAY)
        .not_valid_after(now + until)
        .add_extension(x509.BasicConstraints(ca=not issuer, path_length=None), critical=True)
    )
    if issuer:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return key, builder.sign(issuer_key, hashes.SHA256())


@contextmanager
def serve(authority: Authority) -> Iterator[Authority]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            authority.asked += 1
            is_query = self.headers["Content-Type"] == "application/timestamp-query"
            status, body = authority.answer or ((200, authority.reply(query)) if is_query else (415, b""))
            self.send_response(status)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        authority.url = f"http://127.0.0.1:{server.server_port}/tsr"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield authority
        server.shutdown()
