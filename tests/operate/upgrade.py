"""An upgrade from the previous release, with data and under load: portals of both releases beside the new schema.

PREVIOUS=… names the commit of the previous release.
"""

import json
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from benchmarks.calls import PREVIOUS, previous_release
from portal.one_machine.supervisor import Child, start
from tests.field.servers import ROOT, Server, is_mlflow_behind
from tests.operate import front
from tests.operate.calls import API, call, check_logged, creating, load
from tests.operate.site import UNLIMITED, Site, new_site, note


class Upgrade:
    """Portals, and the source code that each of them runs when it starts next."""

    def __init__(self, site: Site, old: Path) -> None:
        self.site, self.old = site, old
        self.servers = [site.replica(name, TRUSTED_PROXIES="1") for name in ("first", "second")]
        self.code = dict.fromkeys((server.url for server in self.servers), old)

    def run(self, server: Server, stack: ExitStack) -> None:
        def begin() -> Child:
            code = self.code[server.url]
            return start(
                "the portal",
                [
                    sys.executable,
                    "-m",
                    "gunicorn",
                    "--config",
                    "python:portal.server",
                    "portal.wsgi:application",
                ],
                log=server.log,
                watchdog=self.site.watchdog,
                environment=server.environment | {"PYTHONPATH": str(code)},
                directory=str(code),
            )

        stack.enter_context(self.site.running(server.url, begin, lambda: is_mlflow_behind(server)))

    def manage(self, code: Path, *arguments: str) -> str:
        """What a command of this source code prints."""
        environment = self.servers[0].environment | {"PYTHONPATH": str(code)}
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=code, env=environment, stdout=subprocess.PIPE, check=True, text=True
        )
        return done.stdout

    def renew(self, server: Server) -> None:
        self.code[server.url] = ROOT


def prove() -> str:
    with new_site() as site, ExitStack() as stack:
        site.isolation = "off"  # the previous release knows no workspaces
        upgrade = Upgrade(site, previous_release(site.folder))
        upgrade.manage(upgrade.old, "migrate", "--verbosity", "0")
        issue = ("issue_key", "--user", "alice", "--name", "work", "--json", *UNLIMITED)
        key = json.loads(upgrade.manage(upgrade.old, *issue))["key"]
        stack.enter_context(site.tracking())
        for server in upgrade.servers:
            upgrade.run(server, stack)
        url = stack.enter_context(front.front(site, upgrade.servers))
        note("two portals of the previous release run")
        return roll_out(upgrade, url, key)


def roll_out(upgrade: Upgrade, url: str, key: str) -> str:
    site = upgrade.site
    with load(url, key) as calls, creating(url, key) as created:
        calls.wait_for(100)
        created.wait_for(5)
        upgrade.manage(ROOT, "migrate", "--verbosity", "0")
        note(f"the schema is new: {calls.describe()}, {len(created.names)} models; refused: {created.others}")
        calls.wait_for(300)
        created.wait_for(10)
        note(
            f"old code on the new schema: {calls.describe()}, {len(created.names)} models; refused: {created.others}"
        )
        calls.check(200, 429, when="before the rollout")
        front.roll(site, upgrade.servers, upgrade.renew)
        cut_off = calls.cut_off.total()
        note(f"new code: {calls.describe()}, {len(created.names)} models; refused: {created.others}")
        calls.wait_for(100)
        created.wait_for(5)
    # Commit d2315c1 closes idle connections at once when it stops, also those on which a request arrives just then.
    calls.check(200, 429, most_cut_off=len(upgrade.servers) * calls.threads)
    assert calls.cut_off.total() == cut_off, f"after the rollout: {calls.describe()}"
    assert not set(created.others) - {429}, f"creations: {created.others}"
    check_logged(site.database, calls.replies)
    upgrade.manage(ROOT, "reconcile")
    upgrade.manage(ROOT, "verify_ledger")
    check_models(site, url, key, created.names)
    return (
        f"from {PREVIOUS}: {calls.describe()} and {len(created.names)} registrations during migration and rollout, "
        "none lost; the ledger verifies"
    )


def check_models(site: Site, url: str, key: str, names: list[str]) -> None:
    """Each model is in the ledger once, and its owner can change it."""
    rows = Counter(
        str(name)
        for (name,) in site.database.rows("select object_name from proxy_registration where outcome = 'done'")
    )
    wrong = {name: rows[name] for name in names if rows[name] != 1}
    assert not wrong, f"rows in the ledger: {wrong}"
    for name in (names[0], names[len(names) // 2], names[-1]):
        body = {"name": name, "description": "after the upgrade"}
        reply = call(url, "PATCH", f"{API}registered-models/update", key=key, body=body)
        assert reply.status == 200, f"{name}: {reply.status} {reply.body[:300]!r}"
