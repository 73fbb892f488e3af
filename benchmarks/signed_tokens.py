"""CPU time of a call with a signed token, side by side with one with a key: `python -m benchmarks.signed_tokens`.

One portal gets the same calls in turns, over CONNECTIONS connections: a JSON read (GET) and `runs/log-metric` (POST).
The token is as long as one of GitHub's. Every round gives one ratio; the result is their median. The exit status is 1
if it is above MOST. ROUNDS=… and CALLS=… set the length, as in `benchmarks.calls`.
"""

import json
import os
import re
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.callers import Requests
from benchmarks.calls import ROOT, Server, measure, portal, prepare
from tests.issuers import AUDIENCE, Issuer

MOST = 1.05
# What a token of GitHub Actions says beside the claims that the issuer writes.
CLAIMS = {
    "actor": "somebody", "actor_id": "1234567", "base_ref": "", "event_name": "push", "head_ref": "",
    "job_workflow_ref": "acme/models/.github/workflows/train.yml@refs/heads/main",
    "job_workflow_sha": "0123456789abcdef0123456789abcdef01234567", "jti": "01234567-89ab-cdef-0123-456789abcdef",
    "ref_protected": "true", "ref_type": "branch", "repository_id": "123456789", "repository_owner": "acme",
    "repository_owner_id": "12345678", "repository_visibility": "private", "run_attempt": "1",
    "run_id": "12345678901", "run_number": "42", "runner_environment": "github-hosted",
    "sha": "0123456789abcdef0123456789abcdef01234567", "workflow": "train",
    "workflow_ref": "acme/models/.github/workflows/train.yml@refs/heads/main",
    "workflow_sha": "0123456789abcdef0123456789abcdef01234567",
}  # fmt: skip


def main() -> int:
    issuer = Issuer(algorithm="RS256")
    with ExitStack() as stack:
        folder, database, _ = prepare(stack)
        url = database.url("portal")
        by_key = stack.enter_context(portal(folder, url, "portal", ROOT))
        add_trust(folder, url, issuer)
        token = issuer.token(exp=issuer.claims()["iat"] + 3600, **CLAIMS)
        requests = {kind: with_token(each, token) for kind, each in by_key.requests.items()}
        by_token = Server("token", by_key.port, by_key.process, requests)
        by_key.name = "key"
        return report(measure({"key": by_key, "token": by_token}), characters=len(token))


def with_token(requests: Requests, token: str) -> Requests:
    """The same request with this token in place of its key."""
    return Requests(re.sub(rb"Bearer \S+", f"Bearer {token}".encode(), requests.content))


def add_trust(folder: Path, database_url: str, issuer: Issuer) -> None:
    """A trust of the user who owns the benchmark's key and run."""
    (key_set := folder / "key_set.json").write_text(json.dumps(issuer.key_set))
    places = {"DATABASE_URL": database_url, "DATA_DIR": str(folder / "data-portal")}
    command = [sys.executable, "manage.py", "create_trust", "shared", "--name", "bench", "--user", "alice"]
    command += ["--issuer", issuer.url, "--audience", AUDIENCE, "--claim", "repository=acme/*"]
    command += ["--jwks", str(key_set), "--requests-per-minute", "1000000"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **places}, check=True, stdout=subprocess.DEVNULL)


def report(servers: dict[str, Server], *, characters: int) -> int:
    worst = 0.0
    print(f"  a token of {characters} characters")
    for kind, costs in servers["token"].costs.items():
        pairs = list(zip(costs, servers["key"].costs[kind], strict=True))
        ratios = [token / key for token, key in pairs]
        by_token, by_key = (statistics.median(each) for each in zip(*pairs, strict=True))
        ratio = statistics.median(ratios)
        print(
            f"  {kind:4}  token {by_token:.3f} ms, key {by_key:.3f} ms CPU a call; "
            f"ratio {ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )
        worst = max(worst, ratio)
    print(f"  at most {MOST}: {'missed' if worst > MOST else 'met'}")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
