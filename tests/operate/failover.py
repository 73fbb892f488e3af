"""The primary PostgreSQL is killed under load, and a standby takes its place, as docs/recovery.md describes."""

import json
import time
from contextlib import ExitStack

from tests.field.servers import Server
from tests.operate.calls import API, call, check_logged, creating, load, seconds_until_refused
from tests.operate.guide import commands
from tests.operate.postgresql import Cluster
from tests.operate.site import UNLIMITED, Site, new_admin, new_site, note, revoke

REVOKED_SECONDS = 1.0
BACK_SECONDS = 60.0


def prove() -> str:
    with new_site() as site, ExitStack() as stack:
        site.mlflow_server = site.cluster("of-mlflow")  # which stays
        stack.callback(lambda: site.mlflow_server.stop())
        site.mlflow_server.create()
        servers = [site.replica(name) for name in ("first", "second")]
        servers[0].manage("migrate", "--verbosity", "0")
        standby = follow(site, servers[0])
        stack.callback(standby.stop)
        address = both(site.database, standby)
        for server in servers:
            server.environment["DATABASE_URL"] = address
        stack.enter_context(site.tracking())
        for server in servers:
            stack.enter_context(site.portal(server))
        note("two portals, a primary and a standby run")
        return fail_over(site, servers, standby)


def follow(site: Site, server: Server) -> Cluster:
    """A synchronous standby of the primary."""
    standby = site.cluster("standby")
    copy, synchronous, *_ = commands("Failover", replace={"/srv/standby": str(standby.data)})
    site.shell(copy, server)
    site.programs.own(standby.data)
    standby.start(is_ready="select pg_is_in_recovery()")
    site.shell(synchronous, server)
    return standby


def both(primary: Cluster, standby: Cluster) -> str:
    """The guide's DATABASE_URL, for these two."""
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    line = commands("Failover", replace={"db-1.internal,db-2.internal": hosts})[2]
    return line.strip().removeprefix("DATABASE_URL='").removesuffix("'")


def fail_over(site: Site, servers: list[Server], standby: Cluster) -> str:
    key = servers[0].issue("alice", "work", *UNLIMITED)
    leaked = servers[0].issue("bob", "to revoke", *UNLIMITED)
    admin, leaked_id = new_admin(servers[0]), find_key(servers[0], "to revoke")
    for server in servers:
        assert call(server.url, "GET", f"{API}registered-models/search", key=leaked).status == 200
    with (
        load(servers[0].url, key, threads=2) as calls,
        load(servers[1].url, key, threads=2) as others,
        creating(servers[0].url, key) as created,
    ):
        calls.wait_for(100)
        others.wait_for(100)
        created.wait_for(5)
        site.database.kill()
        killed = time.monotonic()
        note("the primary is killed")
        calls.wait_for(100)
        promote = commands("Failover")[3]
        site.shell(promote, servers[0], STANDBY_URL=standby.url("postgres"))
        note("the standby is promoted")
        revoke_soon(servers[0], admin, leaked_id, until=time.monotonic() + BACK_SECONDS)
        delays = [seconds_until_refused(server.url, leaked) for server in servers]
        created.wait_for(5)
        back = time.monotonic() - killed
        calls.wait_for(100)
        others.wait_for(100)
    assert max(delays) < REVOKED_SECONDS, f"refused after {max(delays):.2f} s"
    calls.check(200, when="the portal that creates models")
    others.check(200, when="the other portal")
    replies = calls.replies + others.replies
    check_logged(standby, replies)
    servers[0].manage("reconcile")
    servers[0].manage("verify_ledger")
    rows = standby.rows("select object_name from proxy_registration where outcome = 'done'")
    lost = set(created.names) - {str(name) for (name,) in rows}
    assert not lost, f"{len(lost)} of {len(created.names)} registrations are not in the ledger"
    return (
        f"{len(replies)} calls and {len(created.names)} registrations, none lost; a key revoked afterwards is refused "
        f"after {max(delays):.2f} s; registrations work again {back:.0f} s after the loss"
    )


def find_key(server: Server, name: str) -> str:
    return str(json.loads(server.manage("list_keys", "--find", name, "--json"))[0]["id"])


def revoke_soon(server: Server, admin: str, key_id: str, *, until: float) -> None:
    """Revoke a key over the API, as soon as the portal can."""
    while True:
        reply = revoke(server, admin, key_id)
        if reply.status == 200:
            return
        assert reply.status in (429, 503), f"revoke: {reply.status} {reply.body[:300]!r}"
        assert time.monotonic() < until, "keys cannot be revoked"
        time.sleep(0.1)
