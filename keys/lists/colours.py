"""Which colour a badge has, in unfold's terms. Pure. On every page, a colour means the same:

- `success`: it works, or is done
- `info`: a fact, or something in progress
- `warning`: it is stopped, incomplete or refused, and somebody can go on with it
- `danger`: it has ended for good, has failed, or is a security incident
"""

COLOURS = ("success", "info", "warning", "danger")
STATE_COLOURS = {  # by a key's state
    "active": "success",
    "rotating": "info",
    "paused": "warning",
    "expired": "warning",
    "revoked": "danger",
}
SHOWN_STATE_COLOURS = {**STATE_COLOURS, "leaked": "danger"}  # of what pages show (`keys.lists.states`)
ACCOUNT_COLOURS = {"active": "success", "deactivated": "warning"}
EVENT_COLOURS = {  # by an event's kind
    "issued": "success",
    "collected": "success",
    "requested": "info",
    "request_declined": "warning",
    "request_withdrawn": "info",
    "changed": "info",
    "trusted": "info",
    "paused": "warning",
    "resumed": "success",
    "rotated": "info",
    "old_secret_ended": "info",
    "revoked": "danger",
    "leaked": "danger",
    "canary_used": "danger",
}
ALERT_COLOURS = {  # by an alert's kind
    "leaked": "danger",
    "canary_used": "danger",
    "expiring": "warning",
    "expired": "warning",
    "quota": "warning",
    "unused": "info",
    "new_network": "info",
    "disk_nearly_full": "danger",
    "artifact_changed": "danger",
    "organisation_quota": "warning",
    "timestamp_failed": "warning",
}
DELIVERY_COLOURS = {  # by the state of an alert's delivery, or the result of a test alert
    "delivered": "success",
    "sent": "success",
    "waiting": "info",
    "given up": "danger",
    "failed": "danger",
    "not sent": "warning",
    "not set up": "warning",
}
