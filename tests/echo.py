"""A real HTTP server that plays MLflow: it answers with what it got, byte for byte, or misbehaves as told."""

import base64
import contextlib
import json
import random
import socket
import threading
import time
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEPT = 2**20  # bytes of a body that are kept; of the rest only length and checksum
BLOCK = random.Random(0).randbytes(65536)  # what a generated answer repeats


@dataclass
class Received:
    """A request as it came off the wire. `length` and `crc` grow as its body arrives."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    length: int = 0
    crc: int = 0

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def names(self) -> set[str]:
        return {key.lower() for key, _ in self.headers}

    def add(self, piece: bytes) -> None:
        self.length += len(piece)
        self.crc = zlib.crc32(piece, self.crc)
        if len(self.body) < KEPT:
            self.body += piece


@dataclass
class Script:
    """What to answer instead of the echo.

    `raw` goes out as it is, before the connection is closed; `size` is the length in bytes of a generated
    body, with `pause` seconds before each piece of it; `hang` gives no answer, and closes the connection when it is
    set; `hold` keeps the echo back until it is set; `barrier` keeps the answer back until all its parties wait.
    With `only`, it is for targets that contain this; others are echoed.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    raw: bytes | None = None
    size: int = 0
    pause: float = 0.0
    only: str = ""
    hang: threading.Event | None = None
    hold: threading.Event | None = None
    barrier: threading.Barrier | None = None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "EchoServer"

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # every method there is
            return self.handle_any
        raise AttributeError(name)

    def handle_any(self) -> None:
        if self.path == "/version" and "X-Hokusai-User-Id" not in self.headers:
            self.answer_portal()
            return
        received = Received(self.command, self.path, list(self.headers.items()))
        self.server.arriving.append(received)
        try:
            for piece in self.pieces():
                received.add(piece)
        except (OSError, ValueError):
            self.server.broken.append(received)
            self.close_connection = True
            return
        self.server.received.append(received)
        try:
            self.answer(received)
        except OSError:
            self.server.broken.append(received)
            self.close_connection = True

    def answer_portal(self) -> None:
        """The release, for which the portal itself asks at any time; not recorded. A script that breaks every
        answer breaks this one too."""
        script = self.server.script
        if script is None or script.only or script.barrier or script.hold or script.hang:
            script = Script(body=self.server.release.encode())
        with contextlib.suppress(OSError):
            if script.raw is not None:
                self.wfile.write(script.raw)
                self.close_connection = True
            else:
                self.play(script)

    def pieces(self):
        """The body's; ValueError or OSError if it is not whole."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                while size:
                    piece = self.some(size)
                    size -= len(piece)
                    yield piece
                if self.rfile.readline() != b"\r\n":
                    raise ValueError("a chunk without an end")
            if self.rfile.readline() != b"\r\n":
                raise ValueError("no end after the last chunk")
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.some(left)
            left -= len(piece)
            yield piece

    def some(self, most: int) -> bytes:
        piece = self.rfile.read1(min(most, 65536))
        if not piece:
            raise ValueError("the body ended early")
        return piece

    def answer(self, received: Received) -> None:
        script = self.server.script
        if script is None or script.only not in received.target:
            self.echo(received)
            return
        if script.barrier is not None:
            script.barrier.wait(20)
        if script.hold is not None:
            script.hold.wait(30)
            self.echo(received)
        elif script.hang is not None:
            script.hang.wait(30)
            self.close_connection = True
        elif script.raw is not None:
            self.wfile.write(script.raw)
            self.close_connection = True
        else:
            self.play(script)

    def echo(self, received: Received) -> None:
        content = json.dumps(
            {
                "method": received.method,
                "target": received.target,
                "headers": received.headers,
                "body": base64.b64encode(received.body).decode(),
                "length": received.length,
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
        if not names & {"content-length", "transfer-encoding"} and script.status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(script.body)
        left = script.size
        while left:
            if script.pause:
                time.sleep(script.pause)
            left -= self.wfile.write(BLOCK[: min(left, len(BLOCK))])

    def log_message(self, *arguments: object) -> None:
        pass


class EchoServer(ThreadingHTTPServer):
    """Listens on loopback, on a free port unless told which.

    `arriving` holds every request from its headers on, `received` those that came whole, `broken` those that
    did not or whose answer did not get through; `script` is the next answers, `connections` how many there
    have been; `release` is what `/version` states.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.arriving: list[Received] = []
        self.received: list[Received] = []
        self.broken: list[Received] = []
        self.script: Script | None = None
        self.release = "3.17.2"
        self.connections = 0
        self.open: set[socket.socket] = set()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def last(self) -> Received:
        return self.received[-1]

    def reset(self) -> None:
        for requests in (self.arriving, self.received, self.broken):
            requests.clear()
        self.script = None

    def handle_error(self, request: Any, client_address: object) -> None:
        """Callers break off on purpose here."""

    def stop(self) -> None:
        """Stop listening and close every connection, as a server does that is restarted."""
        self.shutdown()
        self.server_close()
        self.thread.join()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
