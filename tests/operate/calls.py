"""Calls to a site: one at a time, or a steady load whose every response must be in the usage log."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.operate.postgresql import Cluster

API = "/api/mlflow/api/2.0/mlflow/"
LOG_SECONDS = 60.0
CREATE_SECONDS = 60.0
CUT_OFF = 0  # instead of a status
SEARCH = ("POST", f"{API}experiments/search", {"max_results": 1})


@dataclass(frozen=True)
class Reply:
    status: int
    request_id: str
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)


def call(url: str, method: str, path: str, *, key: str = "", body: Any = None, timeout: float = 60) -> Reply:
    """One call on a connection of its own. Raises OSError or HTTPException."""
    connection = connect(url, timeout)
    try:
        return send(connection, method, path, key=key, body=body)
    finally:
        connection.close()


def answers(url: str) -> bool:
    """Whether this address responds with 200."""
    parts = urlsplit(url)
    try:
        return call(url, "GET", parts.path, timeout=3).status == 200
    except (OSError, http.client.HTTPException):
        return False


def connect(url: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout)


def send(
    connection: http.client.HTTPConnection, method: str, path: str, *, key: str = "", body: Any = None
) -> Reply:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    content = body if isinstance(body, bytes) else None
    if body is not None and content is None:
        content, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    connection.request(method, path, body=content, headers=headers)
    response = connection.getresponse()
    return Reply(response.status, response.headers.get("X-Request-ID", ""), response.read())


def search(url: str, key: str) -> Reply:
    return call(url, *SEARCH[:2], key=key, body=SEARCH[2])


def post(url: str, key: str, name: str, body: Any) -> Any:
    """A call of MLflow's API that must succeed."""
    reply = call(url, "POST", API + name, key=key, body=body)
    assert reply.status == 200, f"{name}: {reply.status} {reply.body.decode(errors='replace')[:300]}"
    return reply.content


def register(url: str, key: str, name: str, content: bytes = b"weights") -> None:
    """An experiment, a run with an artifact, and a registered model with one version of it."""
    experiment = post(url, key, "experiments/create", {"name": f"of {name}"})["experiment_id"]
    run = post(url, key, "runs/create", {"experiment_id": experiment})["run"]["info"]
    uploaded = call(url, "PUT", file_path(run["artifact_uri"]), key=key, body=content)
    assert uploaded.status == 200, f"{uploaded.status} {uploaded.body[:300]!r}"
    post(url, key, "registered-models/create", {"name": name})
    version = {"name": name, "source": f"{run['artifact_uri']}", "run_id": run["run_id"]}
    post(url, key, "model-versions/create", version)


def file_path(artifact_uri: str) -> str:
    root = artifact_uri.partition(":")[2].lstrip("/")
    return f"/api/mlflow/api/2.0/mlflow-artifacts/artifacts/{root}/model.bin"


def artifact_of(url: str, key: str, name: str) -> str:
    """The path of the file of a model's first version."""
    path = f"{API}model-versions/get?{urlencode({'name': name, 'version': '1'})}"
    return file_path(call(url, "GET", path, key=key).content["model_version"]["source"])


def seconds_until_refused(url: str, key: str, *, limit: float = 20.0) -> float:
    """The time from now until this key gets 401."""
    started = time.monotonic()
    while search(url, key).status != 401:
        assert time.monotonic() - started < limit, f"the key works after {limit:.0f} s"
        time.sleep(0.02)
    return time.monotonic() - started


@dataclass
class Load:
    """Callers that search without pause over connections that they keep, and what they got."""

    url: str
    key: str
    threads: int
    pause: float = 0.01
    replies: list[Reply] = field(default_factory=list)
    cut_off: Counter[str] = field(default_factory=Counter)  # calls without a complete response, by error
    stop: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        connection = connect(self.url, 60)
        while not self.stop.wait(self.pause):
            try:
                self.replies.append(send(connection, *SEARCH[:2], key=self.key, body=SEARCH[2]))
            except (OSError, http.client.HTTPException) as error:
                self.cut_off[type(error).__name__] += 1
                connection.close()
        connection.close()

    @property
    def statuses(self) -> Counter[int]:
        return Counter(reply.status for reply in self.replies)

    def describe(self) -> str:
        words = ", ".join(f"{count} with {status}" for status, count in sorted(self.statuses.items()))
        reasons = f": {', '.join(self.cut_off)}" if self.cut_off else ""
        return f"{len(self.replies)} calls ({words}; {self.cut_off.total()} cut off{reasons})"

    def check(self, *allowed: int, when: str = "under load", most_cut_off: int = 0) -> None:
        """Each call, but so many, got a complete response with one of these statuses. Raises AssertionError."""
        assert self.cut_off.total() <= most_cut_off, f"{when}: {self.describe()}"
        assert not set(self.statuses) - set(allowed), f"{when}: {self.describe()}"

    def wait_for(self, count: int, *, seconds: float = 60) -> None:
        """Until so many more calls have been answered."""
        goal, end = len(self.replies) + count, time.monotonic() + seconds
        while len(self.replies) < goal:
            assert time.monotonic() < end, f"only {self.describe()}"
            time.sleep(0.05)


@contextmanager
def load(url: str, key: str, *, threads: int = 4) -> Iterator[Load]:
    running = Load(url, key, threads)
    callers = [threading.Thread(target=running.work, daemon=True) for _ in range(threads)]
    for caller in callers:
        caller.start()
    try:
        yield running
    finally:
        running.stop.set()
        for caller in callers:
            caller.join(70)


@dataclass
class Created:
    """Names of models whose creation was acknowledged."""

    names: list[str] = field(default_factory=list)
    others: Counter[int] = field(default_factory=Counter)  # of other creations, by status or CUT_OFF

    def wait_for(self, count: int) -> None:
        goal, end = len(self.names) + count, time.monotonic() + CREATE_SECONDS
        while len(self.names) < goal:
            assert time.monotonic() < end, "no models can be created"
            time.sleep(0.05)


@contextmanager
def creating(url: str, key: str) -> Iterator[Created]:
    """Create one model after the other."""
    created, stop = Created(), threading.Event()

    def work() -> None:
        number = 0
        while not stop.wait(0.05):
            name = f"model-{number}"
            number += 1
            try:
                status = call(
                    url, "POST", f"{API}registered-models/create", key=key, body={"name": name}
                ).status
            except (OSError, http.client.HTTPException):
                status = CUT_OFF
            if status == 200:
                created.names.append(name)
            else:
                created.others[status] += 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield created
    finally:
        stop.set()
        thread.join(70)


def with_known_key(replies: list[Reply]) -> list[Reply]:
    """Those whose key the portal found: not 429, for which PostgreSQL was needed and unavailable, and not 401."""
    return [reply for reply in replies if reply.status not in (401, 429)]


def check_logged(
    database: Cluster, replies: list[Reply], *, name: str = "portal", seconds: float = LOG_SECONDS
) -> None:
    """Wait until each of these calls with a known key is in the usage log, exactly once. Raises AssertionError."""
    answered = [reply.request_id for reply in with_known_key(replies)]
    end, missing = time.monotonic() + seconds, answered
    while missing and time.monotonic() < end:
        logged = database.rows("select request_id from proxy_call", database=name)
        rows = Counter(str(each) for (each,) in logged)
        missing = [each for each in answered if not rows[each]]
        time.sleep(0.2)
    assert not missing, f"{len(missing)} of {len(answered)} calls are not in the log"
    twice = [each for each, count in rows.items() if count > 1] if answered else []
    assert not twice, f"{len(twice)} calls are in the log twice"
