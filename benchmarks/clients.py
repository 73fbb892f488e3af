"""CPU time of clients for plain HTTP: one GET with the headers of a forwarded call, to an upstream in another process
that responds at once: `python -m benchmarks.clients`.

Each client uses one connection and reads the status, the headers and the body. Rounds alternate between the clients;
the ratio of a client is the median of its rounds' ratios to the portal's own. ROUNDS and CALLS set other numbers.
"""

import http.client
import multiprocessing
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import urllib3

from benchmarks.results import median_ratio
from proxy.upstream.plain_http import PlainPool, Timeouts

ROUNDS, CALLS = int(os.environ.get("ROUNDS", 15)), int(os.environ.get("CALLS", 2000))
TARGET = "/api/2.0/mlflow/runs/get?run_id=0123456789abcdef0123456789abcdef"
HEADERS = {
    "Host": "127.0.0.1",
    "User-Agent": "mlflow-python-client/3.18.0",
    "Accept-Encoding": "gzip, deflate",
    "Accept": "*/*",
    "X-Request-ID": f"req_{'0' * 32}",
    "X-Forwarded-For": "192.0.2.7",
    "X-MLFLOW-WORKSPACE": "lab",
}
BODY = b'{"run": {"info": {"run_id": "0123456789abcdef0123456789abcdef", "status": "RUNNING"}}}'
RESPONSE = b"\r\n".join(
    [
        b"HTTP/1.1 200 OK",
        b"date: Mon, 30 Nov 2026 12:00:00 GMT",
        b"server: uvicorn",
        b"content-type: application/json",
        b"content-length: %d" % len(BODY),
        b"x-content-type-options: nosniff",
        b"x-frame-options: SAMEORIGIN",
        b"",
        BODY,
    ]
)
TIMEOUTS = Timeouts(connect=5, asking=2, idle=60)


def serve(port: Connection) -> None:
    """Respond to each request on each connection at once. Sends its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    port.send(listening.getsockname()[1])
    while True:
        sock, _ = listening.accept()
        threading.Thread(target=respond, args=(sock,), daemon=True).start()


def respond(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    while piece := sock.recv(65536):
        received += piece
        while b"\r\n\r\n" in received:
            received = received.partition(b"\r\n\r\n")[2]
            sock.sendall(RESPONSE)


def read(status: int, content_type: str | None, body: bytes) -> int:
    if status != 200 or content_type != "application/json":
        raise RuntimeError("the response is not the upstream's")
    return len(body)


def clients(port: int) -> dict[str, Callable[[], int]]:
    """By name, a function that makes one call and returns the number of bytes that it has read."""
    own = PlainPool("127.0.0.1", port, most=1)
    pool = urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=1, retries=False)
    standard = http.client.HTTPConnection("127.0.0.1", port)

    def call_own() -> int:
        response = own.request("GET", TARGET, HEADERS, None, timeouts=TIMEOUTS, on_connect=lambda: None)
        return read(response.status, response.headers.get("Content-Type"), b"".join(response.stream()))

    def call_urllib3() -> int:
        response = pool.request("GET", TARGET, headers=HEADERS, preload_content=False)
        return read(
            response.status,
            response.headers.get("Content-Type"),
            b"".join(response.stream(65536, decode_content=False)),
        )

    def call_standard() -> int:
        standard.request("GET", TARGET, headers=HEADERS)
        response = standard.getresponse()
        return read(response.status, response.headers.get("Content-Type"), response.read())

    return {
        "httptools on a socket (`proxy/upstream/plain_http.py`)": call_own,
        "`http.client` of Python": call_standard,
        f"urllib3 {urllib3.__version__}": call_urllib3,
    }


def measure(call: Callable[[], int]) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    for _ in range(CALLS):
        if call() != len(BODY):
            raise RuntimeError("the body is not the upstream's")
    return (time.process_time() - begun) / CALLS


def main() -> None:
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    calls = clients(here.recv())
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            times[name].append(measure(call))
    server.terminate()
    own = next(iter(times.values()))
    for name, spent in times.items():
        ratio = median_ratio(spent, own)
        print(f"{name}: {statistics.median(spent) * 1e6:.0f} µs of CPU time, {ratio:.1f}")


if __name__ == "__main__":
    main()
