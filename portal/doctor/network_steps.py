"""The steps that reach the portal and check its health and MLflow's. None sends the key.

Each step takes the context and returns its finding, or raises Failed or Skipped.
"""

import re
from urllib.parse import urlsplit

from keys.credentials import tokens
from portal.doctor.connection import Reply, connect, handshake, resolve_host
from portal.doctor.context import Context
from portal.doctor.outcomes import Failed, Skipped

CERTIFICATE_SOON = 14  # days
OUR_REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")


def check_address(context: Context) -> str:
    if tokens.KEY_LIKE_PATTERN.search(context.url):
        raise Failed(
            "The address contains an API key; addresses are stored in logs and histories.",
            "Put the key into MLFLOW_TRACKING_TOKEN. If it is a real key, have it revoked and get a new one.",
        )
    if not (context.to.is_tls or context.to.is_this_machine):
        context.warnings.append(
            "Plain http: your key and your models can be read and changed in transit. Use https:// if possible."
        )
    return str(context.to)


def resolve_name(context: Context) -> str:
    if context.proxy:
        raise Skipped(f"the proxy {host_and_port(context.proxy)} resolves the name")
    addresses = resolve_host(context.to)
    if addresses == [context.to.host]:
        return "the address has no name"
    return f"{context.to.host} is {', '.join(addresses)}"


def open_connection(context: Context) -> str:
    if context.proxy:
        raise Skipped(f"the proxy {host_and_port(context.proxy)} connects")
    with connect(context.to):
        return f"connected to port {context.to.port}"


def check_tls(context: Context) -> str:
    if not context.to.is_tls:
        raise Skipped("plain http, nothing is encrypted")
    if context.proxy:
        raise Skipped("through a proxy; the next step checks it")
    result = handshake(context.to, context.connection.context())
    if result.days_left < CERTIFICATE_SOON:
        context.warnings.append(
            f"The certificate ends in {result.days_left:.1f} days; its operator should renew it."
        )
    return f"{result.version}; the certificate is trusted, and valid for {result.days_left:.0f} more days"


def find_portal(context: Context) -> str:
    to = context.to
    reply = context.get(f"{to.path}/health/mlflow")
    # /api/health/mlflow responds too, for load balancers, but MLflow is not available under /api.
    if is_portal(reply) and (to.mount or not to.path or is_live(context.get(f"{to.root}/health/live"))):
        bare = "the bare host" if not to.path else to.path
        return f"the portal answers under {bare}" + ("" if to.mount else "; /api/mlflow is the usual prefix")
    raise portal_not_found(context, reply)


def is_portal(reply: Reply) -> bool:
    checks = reply.content.get("checks")
    return reply.status in (200, 503) and isinstance(checks, dict) and "mlflow" in checks


def is_live(reply: Reply) -> bool:
    return reply.status == 200 and reply.content.get("status") == "ok"


def portal_not_found(context: Context, reply: Reply) -> Failed:
    """Names the server that responds instead, or the right address."""
    to = context.to
    if 300 <= reply.status < 400:
        there = reply.headers.get("Location", "").removesuffix("/health/mlflow") or "nowhere"
        return Failed(
            f"The address is redirected to {there}, which MLflow's client does not support.", f"Use {there}."
        )
    parent = to.path
    while parent:
        parent = parent.rpartition("/")[0]
        if is_live(context.get(f"{parent}/health/live")) and is_portal(
            context.get(f"{parent}/health/mlflow")
        ):
            return Failed(
                f"The prefix “{to.path}” is wrong: the portal is on this host, but not under this prefix.",
                f"Use {to.origin}{parent}/api/mlflow.",
            )
    return unknown_server(context, reply)


def unknown_server(context: Context, reply: Reply) -> Failed:
    """The explanation if a server is not the portal. The key was not sent to it."""
    version = context.get(f"{context.to.path}/version")
    if version.status == 200 and re.fullmatch(rb"[0-9]+\.[0-9]+[0-9A-Za-z.+-]*\s*", version.body):
        return Failed(
            f"An MLflow server ({version.body.decode().strip()}) responds here directly, without the portal in front.",
            "Use the portal's address; MLflow itself does not check keys.",
        )
    if reply.status in (502, 503, 504):
        return Failed(
            f"A server in front of the portal responds {reply.status}: it does not reach the portal.",
            "Tell the operator that the portal is not running, or not at the address that this server uses.",
        )
    software = reply.headers.get("Server", "").strip()
    return Failed(
        f"A server responds on {context.to.origin}, but it is not the Hokusai portal: {reply.message}"
        + (f"; it calls itself {software[:60]}" if software else "")
        + ". The key was not sent.",
        "Check the host and the port. The address is https://HOST/api/mlflow.",
    )


def check_liveness(context: Context) -> str:
    reply = context.get(f"{context.to.root}/health/live")
    if not is_live(reply):
        raise Failed(f"/health/live failed: {reply.message}.", "Tell the portal's operator.")
    checks = context.get(f"{context.to.root}/health").content.get("checks", {})
    for name, check in checks.items():
        if check.get("status") == "degraded":
            context.warnings.append(
                f"{name}: {check.get('problem', 'degraded')}. Tell the portal's operator."
            )
    return "the portal is up"


def check_mlflow(context: Context) -> str:
    reply = context.get(f"{context.to.root}/health/mlflow")
    check = reply.content.get("checks", {}).get("mlflow", {})
    if reply.status != 200:
        problem = str(check.get("problem") or f"status {reply.status}").rstrip(".")
        raise Failed(
            f"The portal is up, but MLflow behind it is down: {problem}.",
            "Your address and key are not the cause. Tell the portal's operator, or wait.",
        )
    if check.get("note"):
        context.warnings.append(str(check["note"]))
    release = f" {check['release']}" if check.get("release") else ""
    return f"MLflow{release} responds to the portal in {check.get('ms', '?')} ms"


def host_and_port(proxy: str) -> str:
    """A proxy's host and port, without the password that its URL may contain."""
    parts = urlsplit(proxy)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
