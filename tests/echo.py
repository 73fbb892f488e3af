"""A real HTTP server that plays MLflow: it answers with what it got, byte for byte, and misbehaves on demand."""

import base64
import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Received:
    """A request as it came off the wire."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def names(self) -> set[str]:
        return {key.lower() for key, _ in self.headers}


@dataclass
class Script:
    """What to answer instead of the echo."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    raw: bytes | None = None
    size: int = 0
    hang: threading.Event | None = None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "EchoServer"

    def handle_any(self) -> None:
        received = Received(self.command, self.path, list(self.headers.items()))
        digest = self.read_body(received)
        self.server.received.append(received)
        script = self.server.script
        if script is None:
            self.echo(received, digest)
        elif script.hang is not None:
            script.hang.wait(30)
            self.close_connection = True
        elif script.raw is not None:
            self.wfile.write(script.raw)
            self.close_connection = True
        else:
            self.play(script)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = handle_any

    def read_body(self, received: Received) -> int:
        """Keep up to 1 MiB of the body; returns its length."""
        count = 0
        for piece in self.pieces():
            count += len(piece)
            if len(received.body) < 2**20:
                received.body += piece
        return count

    def pieces(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            piece = self.rfile.read(min(left, 65536))
            if not piece:
                self.close_connection = True
                return
            left -= len(piece)
            yield piece

    def echo(self, received: Received, length: int) -> None:
        content = json.dumps(
            {
                "method": received.method,
                "target": received.target,
                "headers": received.headers,
                "body": base64.b64encode(received.body).decode(),
                "length": length,
                "query": parse_qsl(urlsplit(received.target).query),
            }
        ).encode()
        self.play(Script(headers=[("Content-Type", "application/json")], body=content))

    def play(self, script: Script) -> None:
        self.send_response_only(script.status)
        length = script.size or len(script.body)
        names = {name.lower() for name, _ in script.headers}
        for name, value in script.headers:
            self.send_header(name, value)
        if "content-length" not in names and "transfer-encoding" not in names:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if script.size:
            block = bytes(65536)
            left = script.size
            while left:
                left -= self.wfile.write(block[: min(left, 65536)])
        else:
            self.wfile.write(script.body)

    def log_message(self, *arguments: object) -> None:
        pass


class EchoServer(ThreadingHTTPServer):
    """Listens on a free port of loopback. `received` holds every request, `script` the next answers."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[Received] = []
        self.script: Script | None = None
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def last(self) -> Received:
        return self.received[-1]

    def reset(self) -> None:
        self.received.clear()
        self.script = None

    def handle_error(self, request: socket.socket, client_address: object) -> None:
        """Callers break off on purpose here."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()
