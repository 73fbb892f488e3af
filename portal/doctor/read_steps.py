"""The steps that send the key, and those that check all responses. They change nothing.

Each step takes the context and returns its finding, or raises Failed or Skipped.
"""

import contextlib
import netrc
import os
from typing import Any

from django.conf import settings

from keys.credentials import tokens
from portal.doctor.address import Address
from portal.doctor.context import (
    API,
    ARTIFACTS,
    Context,
    describe_refusal,
    missing_scopes,
)
from portal.doctor.network_steps import OUR_REQUEST_ID
from portal.doctor.outcomes import Failed, Skipped
from proxy.ledger import authority
from proxy.ledger.authority import AuthorityError

CLOCK_TOLERANCE = 60.0  # seconds
# A harmless call that needs the scope `….read`: method, path, query, JSON.
READS: dict[str, tuple[str, str, dict[str, str], Any]] = {
    "tracking": (
        "POST",
        f"{API}/experiments/search",
        {},
        {"max_results": 1},
    ),
    "registry": ("GET", f"{API}/registered-models/search", {"max_results": "1"}, None),
    "artifacts": ("GET", ARTIFACTS, {"path": f"1/{'0' * 32}/artifacts"}, None),
    "traces": (
        "POST",
        "/api/3.0/mlflow/traces/search",
        {},
        {
            "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "1"}}],
            "max_results": 1,
        },
    ),
}


def call_without_key(context: Context) -> str:
    reply = context.get(f"{context.to.path}{API}/experiments/search", query={"max_results": "1"})
    if reply.status == 401 and reply.error_code == "UNAUTHENTICATED":
        return "refused with 401, as it should be"
    if 200 <= reply.status < 300:
        raise Failed(
            "MLflow answers without any key: anyone who finds this address can use it.",
            "Tell the portal's operator at once.",
        )
    if reply.status == 400 and OUR_REQUEST_ID.fullmatch(reply.request_id):
        raise Failed(
            f"The portal does not accept the host name {context.to.host}: {reply.message}",
            "Use the host name that your administrator gave you. An operator adds host names to ALLOWED_HOSTS.",
        )
    raise Failed(
        f"A call without a key was not refused with 401 in MLflow's JSON: {reply.message}.",
        "A server in front of the portal may respond in its place; ask its operator.",
    )


def call_with_key(context: Context) -> str:
    if not context.key:
        raise Failed("No key was given.", "Set MLFLOW_TRACKING_TOKEN, or give --key.")
    if context.key != context.key.strip():
        raise Failed(
            "There is white space around the key, which MLflow's client does not accept. The key was not sent.",
            "Set MLFLOW_TRACKING_TOKEN again, without spaces and line breaks.",
        )
    try:
        token = tokens.parse(context.key)
    except tokens.InvalidToken as problem:
        raise Failed(f"{str(problem)[0].upper()}{str(problem)[1:]}. It was not sent.") from None
    context.warnings += replacements_of_key(context.to)
    reply = context.send("GET", "/version")
    if 200 <= reply.status < 300:
        return f"the {token.environment} key is accepted; MLflow is {reply.body[:40].decode(errors='replace').strip()}"
    is_away = reply.status == 429 and reply.message.startswith(
        "MLflow "
    )  # not one of the portal's own limits
    if (is_away or reply.status in (502, 504)) and OUR_REQUEST_ID.fullmatch(reply.request_id):
        return f"the {token.environment} key is accepted (but MLflow does not respond)"
    raise describe_refusal(reply)


def replacements_of_key(to: Address) -> list[str]:
    """Warnings about credentials on this machine that MLflow's client would send in place of the key."""
    warnings = []
    if os.environ.get("MLFLOW_TRACKING_USERNAME") and os.environ.get("MLFLOW_TRACKING_PASSWORD"):
        warnings.append(
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are set: MLflow's client sends them, not "
            "the key. Unset them."
        )
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        if to.host in netrc.netrc(os.environ.get("NETRC")).hosts:
            warnings.append(
                f"Your .netrc file has an entry for {to.host}: MLflow's client sends that, not the key. "
                "Remove the entry."
            )
    return warnings


def check_scopes(context: Context) -> str:
    granted, lacking = [], []
    for area, (method, path, query, content) in READS.items():
        reply = context.send(method, path, query=query, content=content)
        if missing_scopes(reply):
            lacking.append(area)
        elif 200 <= reply.status < 300 or reply.error_code == "RESOURCE_DOES_NOT_EXIST":
            granted.append(area)
        else:
            raise describe_refusal(reply)
    if not granted:
        raise Failed(
            "The key has no read scope.", "Ask your administrator for a key with the scope tracking:read."
        )
    if lacking:
        scopes = ", ".join(f"{area}:read" for area in lacking)
        context.warnings.append(f"The key lacks {scopes}. If that is intended, ignore this warning.")
    return f"the key can read {', '.join(granted)}" + (
        "" if context.write else "; --write also tests writing"
    )


def compare_reads(context: Context) -> str:
    experiments = context.call("POST", f"{API}/experiments/search", content={"max_results": 1}).content.get(
        "experiments", []
    )
    if not experiments:
        return "an empty list of experiments came back"
    asked = {"experiment_id": str(experiments[0].get("experiment_id"))}
    again = context.call("GET", f"{API}/experiments/get", query=asked).content.get("experiment", {})
    if again.get("name") != experiments[0].get("name"):
        raise Failed(
            "An experiment from a search differs from the same experiment fetched by its id.",
            "A server in between changes requests or responses; tell the portal's operator.",
        )
    return "experiments searched, and one fetched by its id"


def check_request_ids(context: Context) -> str:
    replies = context.connection.replies
    without = [reply for reply in replies if not reply.request_id]
    if without:
        raise Failed(
            f"{len(without)} of {len(replies)} responses have no X-Request-ID, such as {without[0].method} "
            f"{without[0].path}.",
            "A server in front of the portal responds in its place, or drops the header; tell its operator.",
        )
    if len({reply.request_id for reply in replies}) < len(replies):
        raise Failed(
            "Two responses have the same X-Request-ID.", "A cache in front of the portal repeats responses."
        )
    return f"on each of {len(replies)} responses, and different on each"


def compare_clocks(context: Context) -> str:
    skews = [reply.skew for reply in context.connection.replies if reply.skew is not None]
    if not skews:
        raise Skipped("no response has a Date header")
    skew = min(skews, key=abs)
    if abs(skew) <= CLOCK_TOLERANCE:
        return "this machine's clock and the portal's agree"
    direction = "behind" if skew > 0 else "ahead of"
    context.warnings.append(
        f"This machine's clock is {abs(skew):.0f} s {direction} the portal's. Times of runs and metrics will be wrong; "
        "set the clock (NTP)."
    )
    return "the clocks differ"


def ask_time_stamp_authority(context: Context) -> str:
    """Request a time-stamp from the authority. Only operators run this step: TIMESTAMP_URL is set in the portal's own
    environment."""
    try:
        stamp = authority.ask(os.urandom(32))
    except AuthorityError as error:
        raise Failed(
            f"{settings.TIMESTAMP_URL} gave no valid time-stamp: {error}.",
            "Calls are not affected. Check TIMESTAMP_URL, TIMESTAMP_CERTIFICATES, and firewalls.",
        ) from None
    if not stamp.is_trusted:
        context.warnings.append(
            "TIMESTAMP_CERTIFICATES is not set: nobody verifies the signatures of time-stamps. Set it to a file with "
            "the authority's root certificate."
        )
    return f"{settings.TIMESTAMP_URL} responded with a valid time-stamp"
