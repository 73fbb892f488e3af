"""HAProxy with deploy/haproxy.cfg in front of several portals, and their rolling restart."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from portal.one_machine.ports import free_port
from portal.one_machine.supervisor import minimal_environment, start, wait_until_ready
from tests.field.servers import ROOT, Server
from tests.operate.calls import answers
from tests.operate.site import Site

NOTICE_SECONDS = 5.0  # HAProxy uses a replica again after two checks, which are two seconds apart


def configuration(port: int, addresses: list[str]) -> str:
    """deploy/haproxy.cfg without TLS, on this port, for these replicas."""
    text = (ROOT / "deploy" / "haproxy.cfg").read_text()
    replicas = "\n".join(f"    server replica-{number} {each} check" for number, each in enumerate(addresses))
    for pattern, replacement in (
        (r"^    bind .*$", f"    bind 127.0.0.1:{port}"),
        (r"^    server first .*$", replicas),
        (r"^    http-request set-header X-Forwarded-Proto .*\n", ""),
    ):
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert count == 1, f"deploy/haproxy.cfg does not match {pattern}"
    return text


@contextmanager
def front(site: Site, servers: list[Server]) -> Iterator[str]:
    """The address of a running HAProxy in front of these portals."""
    port, folder = free_port(), site.folder / f"front-{free_port()}"
    folder.mkdir()
    path = folder / "haproxy.cfg"
    path.write_text(configuration(port, [urlsplit(server.url).netloc for server in servers]))
    child = start(
        "HAProxy",
        ["haproxy", "-db", "-f", str(path)],
        log=folder / "log",
        watchdog=site.watchdog,
        environment=minimal_environment(),
        directory=str(folder),
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(child, lambda: answers(f"{url}/health/ready"), seconds=20)
        yield url
    finally:
        child.stop()


@contextmanager
def replicas(site: Site, servers: list[Server]) -> Iterator[str]:
    """Run these portals and the front; yields the front's address."""
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(site.portal(server))
        yield stack.enter_context(front(site, servers))


def roll(site: Site, servers: list[Server], change: Callable[[Server], None] = lambda server: None) -> None:
    """Restart one portal after the other as docs/recovery.md says: SIGTERM, wait, `change`, start, wait until ready,
    and until HAProxy has noticed."""
    for server in servers:
        site.children[server.url].stop()
        change(server)
        site.restarts[server.url]()
        child = site.children[server.url]
        wait_until_ready(child, lambda url=server.url: answers(f"{url}/health/ready"), seconds=60)  # type: ignore[misc]
        time.sleep(NOTICE_SECONDS)
