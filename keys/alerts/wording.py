"""What an alert says."""

from keys.models import Alert

MAX_NETWORKS = 100  # of one key that are stored, and so cause an alert
TEXTS = {
    Alert.Kind.LEAKED: (
        "was found in the open",
        "Somebody reported that they found it{where}. It was paused at once: calls with it are refused. Its secret "
        "never works again. Rotate the key with the overlap “now”, or revoke it.",
    ),
    Alert.Kind.CANARY: (
        "is a canary, and was used",
        "It was used from {address}. Nobody has a legitimate reason to use it, so somebody has read the location where "
        "it was placed.",
    ),
    Alert.Kind.EXPIRING: (
        "expires in {days} days or less",
        "It expires on {expires} UTC. Issue another one in time, or ask for a later expiry.",
    ),
    Alert.Kind.EXPIRED: (
        "has expired",
        "It expired on {expires} UTC. Calls with it are refused, except those that finish runs which it started.",
    ),
    Alert.Kind.QUOTA: (
        "has used {share} % of its monthly {what}",
        "Its limit is {limit} {what} a calendar month (UTC). Calls above the limit are refused until the next month.",
    ),
    Alert.Kind.UNUSED: (
        "has not been used for 90 days",
        "It has not been used since {since}. If nobody needs it, revoke it.",
    ),
    Alert.Kind.NETWORK: (
        "was used from a new network",
        "It was first used from {network} on {first_used}. If that was not you, have the key paused "
        "and issue another one. If you know all networks that it is used from, limit it to them.{more}",
    ),
    Alert.Kind.DISK: (
        "The disk of {disk} on {host} is nearly full: {free} of {total} are free",
        "Free some space, or enlarge the disk. When it is full, the usage log loses calls, or MLflow takes no "
        "artifacts.",
    ),
    Alert.Kind.ARTIFACT: (
        "A file in MLflow's store is not the one that was uploaded: {path}",
        "The portal hashed it as {recorded} on {since} UTC, and a download was {found}. Nobody wrote it through the "
        "portal since. The download was ended before its last bytes. Find out who can write to the store, restore the "
        "file, and check the versions concerned: the runbook in the documents says how.",
    ),
    Alert.Kind.ORGANISATION: (
        "The organisation “{organisation}” has used {share} % of its monthly {what}",
        "Its limit is {limit} {what} a calendar month (UTC), for all its keys together. Calls above the limit are "
        "refused until the next month.",
    ),
    Alert.Kind.TIMESTAMP: (
        "The ledger has no new time-stamp: {authority}",
        "The time-stamp authority failed: {why}. The portal tries again every five minutes, and goes on without it. "
        "Until it succeeds, nobody outside the portal confirms that the latest rows of the ledger existed.",
    ),
}
OLD_SECRET = (
    "had its old secret found in the open",
    "Somebody reported that they found it{where}. It is the secret from before the last rotation, which has ended: "
    "calls with it are refused, and the key goes on. Find out how it got there, and whether the new secret is there "
    "too.",
)
MANY_NETWORKS = " It is used from so many networks that there will be no alerts about further ones."


def describe_alert(alert: Alert) -> tuple[str, str]:
    """What happened, as a subject, and advice."""
    what, advice = OLD_SECRET if alert.detail.get("is_old") else TEXTS[Alert.Kind(alert.kind)]
    expires = alert.key.expires_at if alert.key else None
    derived = {
        "where": f" at {alert.detail['where']}" if alert.detail.get("where") else "",
        "expires": f"{expires:%Y-%m-%d %H:%M}" if expires else "",
        "address": alert.detail.get("address") or "an unknown address",
        "more": MANY_NETWORKS if alert.detail.get("networks", 0) >= MAX_NETWORKS else "",
    }
    values = {**alert.detail, **derived}
    subject = what.format(**values)
    return f"The API key “{alert.key.name}” {subject}" if alert.key else subject, advice.format(**values)
