"""Backup and restore: everything is lost, and comes back by the commands of docs/recovery.md.

The portal keeps its data folder, so that calls which wait in the spool reach the restored database.
"""

import datetime
import json
import shutil
from collections import Counter
from pathlib import Path

from tests.field.servers import Server
from tests.operate.calls import (
    API,
    Reply,
    artifact_of,
    call,
    check_logged,
    load,
    post,
    register,
    with_known_key,
)
from tests.operate.guide import commands
from tests.operate.site import UNLIMITED, Site, new_site, note

RESTART = "# restart PostgreSQL, then:\n"


def prove() -> str:
    """A dump, and a restore into an empty server; then an archive, and a restore to a point in time."""
    with new_site() as site:
        backup = site.folder / "backup"
        (backup / "wal").mkdir(parents=True)
        server = site.replica()
        server.manage("migrate", "--verbosity", "0")
        with site.tracking(), site.portal(server):
            key = server.issue("alice", "work", *UNLIMITED)
            replies, others = lose_everything(site, server, backup, key)
        note(
            f"everything is lost; {[Counter(reply.status for reply in each) for each in (replies, others)]} since"
        )
        server = restore_dump(site, backup)
        note("the dump is restored")
        with site.tracking(), site.portal(server):
            note("portal and MLflow run on it")
            check_logged(site.database, replies + others, name=site.portal_database)
            check_new_key(server)
            check_registry(server, key, present=["before"], absent=["after"])
            archive(site, server, backup)
            register(server.url, key, "kept")
            server.wait_until_logged()
            site.shell(take_head(backup), server)
            moment = datetime.datetime.now(datetime.UTC)
            register(server.url, key, "by mistake")
        note("something happens after the moment to restore")
        restore_to(site, backup, moment)
        note("the moment is restored")
        site.shell(check_commands(site, backup), server)
        with site.tracking(), site.portal(server):
            check_registry(server, key, present=["before", "kept"], absent=["after", "by mistake"])
            register(server.url, key, "afterwards")
        site.shell(check_commands(site, backup), server)
    answered = len(with_known_key(replies + others))
    return (
        f"{answered} calls answered without PostgreSQL are in the restored log; the ledger verifies with its "
        "heads, keys and files are back, after a dump and at a point in time"
    )


def paths(site: Site, backup: Path) -> dict[str, str]:
    return {"/backup/": f"{backup}/"}


def artifacts(site: Site) -> dict[str, str]:
    return {"/srv/mlflow/artifacts": str(site.artifacts)}


def lose_everything(site: Site, server: Server, backup: Path, key: str) -> tuple[list[Reply], list[Reply]]:
    """Take a backup, lose PostgreSQL and the artifacts while calls run. Returns the calls that were answered since:
    with a key of the backup, and with one that was issued later."""
    note("the site runs")
    register(server.url, key, "before")
    server.wait_until_logged()
    take, _ = commands("Back up", replace=paths(site, backup) | artifacts(site))
    site.shell(take, server)
    register(server.url, key, "after")
    unknown = server.issue("bob", "issued after the backup", *UNLIMITED)
    server.wait_until_logged()
    with load(server.url, key) as calls, load(server.url, unknown, threads=1) as others:
        calls.wait_for(20)
        others.wait_for(20)
        note("the backup is taken")
        site.database.lose()
        shutil.rmtree(site.artifacts)
        lost = len(calls.replies) + calls.threads, len(others.replies) + others.threads
        calls.wait_for(200)
        others.wait_for(20)
    since = [each.replies[start:] for each, start in zip((calls, others), lost, strict=True)]
    for each in since:
        statuses = Counter(reply.status for reply in each)
        assert with_known_key(each), f"no call with a known key was answered without PostgreSQL: {statuses}"
    return since[0], since[1]


def restore_dump(site: Site, backup: Path) -> Server:
    """Restore the dumps into a new server, and check them. Returns the portal for the restored database."""
    site.database.create()
    site.artifacts.mkdir()
    site.programs.own(backup)
    replaced = paths(site, backup) | artifacts(site) | {"db.internal": f"127.0.0.1:{site.database.port}"}
    bring_back, check = commands("Restore a dump", replace=replaced)
    site.shell(bring_back, site.replica())
    site.portal_database, site.mlflow_database = "portal_restored", "mlflow_restored"
    server = site.replica()
    site.shell(check, server)
    return server


def check_commands(site: Site, backup: Path) -> str:
    replaced = paths(site, backup) | artifacts(site) | {"db.internal": f"127.0.0.1:{site.database.port}"}
    return commands("Restore a dump", replace=replaced)[1]


def take_head(backup: Path) -> str:
    """The first command of a backup: the head of the ledger."""
    return commands("Back up", replace={"/backup/": f"{backup}/"})[0].splitlines()[0]


def archive(site: Site, server: Server, backup: Path) -> None:
    """Switch the archive of the WAL on, and take a base backup."""
    _, script = commands("Back up", replace=paths(site, backup))
    assert RESTART in script, "recovery.md: Back up does not say when to restart PostgreSQL"
    before, after = script.split(RESTART)
    site.shell(before, server)
    site.database.stop()
    site.database.start()
    site.shell(after, server)


def restore_to(site: Site, backup: Path, moment: datetime.datetime) -> None:
    """Restore the whole server as it was at this moment."""
    site.database.stop()
    replaced = paths(site, backup) | {"2026-11-30 09:41:00+00": f"{moment:%Y-%m-%d %H:%M:%S.%f+00}"}
    server = site.replica()
    for script in commands("Restore to a point in time", replace=replaced):
        site.shell(script, server)
    site.programs.own(site.database.data)
    site.programs.own(backup)
    site.database.start(is_ready="select not pg_is_in_recovery()")


def check_registry(server: Server, key: str, *, present: list[str], absent: list[str]) -> None:
    """Models are there with their files, or not there; the key works, and a new one too."""
    for name in present:
        reply = call(server.url, "GET", f"{API}registered-models/get?name={name.replace(' ', '+')}", key=key)
        assert reply.status == 200, f"{name}: {reply.status} {reply.body[:300]!r}"
        file = call(server.url, "GET", artifact_of(server.url, key, name), key=key)
        assert (file.status, file.body) == (200, b"weights"), f"file of {name}: {file.status}"
    for name in absent:
        reply = call(server.url, "GET", f"{API}registered-models/get?name={name.replace(' ', '+')}", key=key)
        assert reply.status == 404, f"{name}: {reply.status} {reply.body[:300]!r}"
    again = server.issue("alice", "issued after the restore")
    post(server.url, again, "experiments/search", {"max_results": 1})


def check_new_key(server: Server) -> None:
    """A key that is issued after the restore has none of the calls of a key that was issued after the backup."""
    told = server.manage("issue_key", "--user", "carol", "--name", "new", "--json")
    calls = json.loads(server.manage("list_calls", "--key", json.loads(told)["id"], "--json"))
    assert calls == [], f"a new key has {len(calls)} calls of a lost one"
