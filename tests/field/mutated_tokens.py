"""10,000 mutated tokens (MUTATIONS=…) to a portal with DEBUG: `make identity`. None is accepted or leaves a trace.

They are sent where a program may send one: as a bearer token, as X-API-Key, as a Basic password, to the management API
and for an exchange. Afterwards, no PIECE characters of any of them, and none of the claims that they carry, may be in
the logs and in any table: the usage log, attempts, events, refusals that can be looked up by their request id … It also
prints what the check of one costs.
"""

import base64
import os
import re
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import django
import psutil

from benchmarks.usage_log import cpu
from tests.field.environments import Environment
from tests.field.readers.results import Result, show
from tests.field.servers import ROOT, Field, Server
from tests.issuers import AUDIENCE, Issuer
from tests.keys.credentials.mutations import mutations
from tests.stored import everything_stored

MUTATIONS = int(os.environ.get("MUTATIONS", "10000"))
PIECE = 16  # characters
LONGEST_COST = 0.001  # seconds
LAST, LAST_NETWORK = 255 * 256 + 255, "10.255.255."  # of the request after which the tables are read
READ = "/api/mlflow/api/2.0/mlflow/experiments/search?max_results=1"
RUNS = re.compile(rf"[A-Za-z0-9_-]{{{PIECE},}}")
CLAIMS = {"sub": "subject-of-mutants", "email": "mutant@example.org", "jti": "number-of-mutants"}
EXCHANGE = (
    "grant_type=urn:ietf:params:oauth:grant-type:token-exchange"
    "&subject_token_type=urn:ietf:params:oauth:token-type:jwt&subject_token="
)


def main() -> int:
    # From many networks, since the portal keeps only some refusals of each.
    os.environ |= {"DEBUG": "true", "TRUSTED_PROXIES": "1"}
    issuer = Issuer().serve()
    issuer.rotate("key-id-of-mutants", "ES256")
    try:
        with (
            tempfile.TemporaryDirectory() as name,
            Field(Path(name) / "field") as field,
            field.server("portal", Environment(folder=ROOT / ".venv")) as portal,
        ):
            process = psutil.Process(field.children[portal.url].process.pid)
            os.environ |= portal.environment | {"DJANGO_SETTINGS_MODULE": "portal.settings"}
            django.setup()
            return show([check_cost(issuer), check_traces(portal, process, issuer)])
    finally:
        issuer.stop()


def check_cost(issuer: Issuer) -> Result:
    from tests.keys.credentials.test_signed_tokens import judge, rule_for  # needs Django's settings

    rule = rule_for(issuer)
    judged = [judge(each, rule) for each in mutations(issuer.token(**CLAIMS), MUTATIONS)]
    accepted = sum(said == CLAIMS["sub"] for said, _ in judged)
    costs = sorted(cost for _, cost in judged)
    median, high = statistics.median(costs) * 1e6, costs[len(costs) * 99 // 100] * 1e6
    text = (
        f"{len(judged)} tokens, {accepted} accepted; CPU time of a check: median {median:.0f} µs, "
        f"99 % below {high:.0f} µs, at most {costs[-1] * 1e6:.0f} µs"
    )
    works = not accepted and costs[-1] < LONGEST_COST
    return Result(program="mutated tokens", version="in one process", text=text, works=works)


def check_traces(portal: Server, process: psutil.Process, issuer: Issuer) -> Result:
    portal.manage(
        *("create_trust", "shared", "--user", "trainer", "--name", "mutants", "--private-issuer"),
        *("--issuer", issuer.url, "--audience", AUDIENCE, "--claim", "repository=acme/*"),
    )
    token = issuer.token(exp=int(time.time()) + 7200, **CLAIMS)
    statuses: Counter[int] = Counter()
    before = cpu(process)
    for number, mutated in enumerate(mutations(token, MUTATIONS)):
        statuses[send(portal, number, mutated)] += 1
    cost = (cpu(process) - before) / MUTATIONS * 1000
    portal.wait_until_logged()
    texts = {"tables": stored_after(portal, next(mutations(token, 1)))}
    texts |= {
        str(file.name): file.read_text(errors="replace")
        for file in portal.log.parent.rglob("*")
        if file.is_file() and file.suffix != ".db"
    }
    found = sorted(set(find_traces(texts, token)))
    told = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
    sizes = f"{sum(map(len, texts.values())) - len(texts['tables']):,} characters of logs"
    text = (
        f"{MUTATIONS} requests: {told}; {cost:.2f} ms of the portal's CPU each; "
        f"no trace in {sizes} and {len(texts['tables']):,} of tables"
    )
    problems = [f"found {each}" for each in found[:9]]
    problems += [
        f"{count} × {status}" for status, count in statuses.items() if status and not 400 <= status < 500
    ]
    return Result(
        program="mutated tokens",
        version="to a portal",
        text="; ".join(problems) or text,
        works=not problems,
    )


def stored_after(portal: Server, token: str) -> str:
    """What the tables hold once everything sent before is written: attempts are, with their networks, every second."""
    send(portal, LAST, token)
    until = time.monotonic() + 30
    while LAST_NETWORK not in (stored := everything_stored(portal.environment["DATABASE_URL"])):
        assert time.monotonic() < until, "the last attempt was not written"
        time.sleep(0.2)
    return stored


def send(portal: Server, number: int, token: str) -> int:
    """The status of the response to a request with this token, each time elsewhere in it; 0 if the portal closes the
    connection, as it does for invalid HTTP."""
    basic = base64.b64encode(f":{token}".encode()).decode()
    form = EXCHANGE + quote(token, safe="")
    head, body = [
        (f"GET {READ} HTTP/1.1\r\nAuthorization: Bearer {token}", ""),
        (f"GET {READ} HTTP/1.1\r\nX-API-Key: {token}", ""),
        (f"GET {READ} HTTP/1.1\r\nAuthorization: Basic {basic}", ""),
        (f"GET /api/v1/keys HTTP/1.1\r\nAuthorization: Bearer {token}", ""),
        ("POST /api/v1/token/ HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded", form),
    ][number % 5]
    at = urlsplit(portal.url)
    head += f"\r\nX-Forwarded-For: 10.{number // 256}.{number % 256}.1"
    sent = f"{head}\r\nHost: {at.netloc}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    received = b""
    with socket.create_connection((at.hostname, at.port), timeout=60) as connection:
        try:
            connection.sendall(sent.encode())
            while piece := connection.recv(65536):
                received += piece
        except ConnectionError:
            pass
    return int(received.split(b" ", 2)[1]) if received else 0


def find_traces(texts: dict[str, str], token: str) -> Iterator[str]:
    """The names of the texts that contain a part of a mutated token, and which."""
    for name, text in texts.items():
        for claim in ("key-id-of-mutants", *CLAIMS.values()):
            if claim in text:
                yield f"{claim} in {name}"
    pieces = {
        run[start : start + PIECE]: name
        for name, text in texts.items()
        for run in RUNS.findall(text)
        for start in range(len(run) - PIECE + 1)
    }
    for mutated in mutations(token, MUTATIONS):
        shown = mutated[:3000]  # longer ones only repeat themselves
        for start in range(len(shown) - PIECE + 1):
            if name := pieces.get(shown[start : start + PIECE]):
                yield f"{shown[start : start + PIECE]} in {name}"


if __name__ == "__main__":
    sys.exit(main())
