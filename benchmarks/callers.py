"""Callers of a benchmark: a process of its own that sends prepared requests over a few connections.

Raw sockets, so that the callers take little of the machine from the servers that are measured.
"""

import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import NamedTuple

API = "/api/mlflow/api/2.0/mlflow"
CALLER = """
import os, socket, statistics, sys, threading, time, traceback
port, calls, connections = map(int, sys.argv[1:4])
requests = sys.stdin.buffer.read().split(b"\\0")
def read(connection):
    received = connection.recv(65536)
    while b"\\r\\n\\r\\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\\r\\n\\r\\n")
    assert head[9:12] == b"200", received
    left = int(head.lower().partition(b"content-length:")[2].split(b"\\r\\n")[0]) - len(body)
    while left > 0:
        left -= len(connection.recv(65536))
def work(first):
    try:
        call(first)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
def call(first):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for number in range(first, first + calls // connections):
            began = time.perf_counter()
            connection.sendall(requests[number % len(requests)])
            read(connection)
            took.append(time.perf_counter() - began)
took = []
threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
started = time.perf_counter()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(time.perf_counter() - started, statistics.median(took))
"""


@dataclass(frozen=True)
class Requests:
    """One or more raw HTTP requests, separated by NUL. Each connection sends them in turn and starts at a different
    one."""

    content: bytes


def request(method: str, path: str, key: str, body: str = "", *, scheme: str = "Bearer") -> Requests:
    """A request with the headers that MLflow's client sends."""
    content = body.encode()
    length = f"Content-Length: {len(content)}\r\nContent-Type: application/json\r\n" if content else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: mlflow-python-client/3.17.2\r\n"
        f"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
        f"X-MLflow-Client-Version: 3.17.2\r\n{length}Authorization: {scheme} {key}\r\n\r\n"
    )
    return Requests(head.encode() + content)


def read_experiment(key: str) -> Requests:
    return request("GET", f"{API}/experiments/get?experiment_id=1", key)


def create_experiment(key: str) -> Requests:
    return request("POST", f"{API}/experiments/create", key, '{"name": "bench"}')


def create_run(key: str) -> Requests:
    return request("POST", f"{API}/runs/create", key, '{"experiment_id": "1"}')


def log_metric(key: str, run: str) -> Requests:
    body = f'{{"run_id": "{run}", "key": "loss", "value": 0.5, "timestamp": 1764493200000, "step": 3}}'
    return request("POST", f"{API}/runs/log-metric", key, body)


class Took(NamedTuple):
    """Seconds of all calls together, and the median of a call."""

    seconds: float
    median: float


def run_calls(port: int, requests: Requests, *, calls: int, connections: int) -> Took:
    """Send `calls` requests over `connections` connections. Fails unless every response is a 200."""
    command = [sys.executable, "-c", CALLER, str(port), str(calls), str(connections)]
    done = subprocess.run(command, input=requests.content, stdout=subprocess.PIPE, check=True)
    return Took(*map(float, done.stdout.split()))


def send_one(port: int, requests: Requests) -> bytes:
    """The body of the response to one request."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(requests.content)
        received = b""
        while b"\r\n\r\n" not in received or received.endswith(b"\r\n\r\n"):
            received += connection.recv(65536)
    return received.partition(b"\r\n\r\n")[2]
