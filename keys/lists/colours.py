"""Which colour a badge has, in unfold's terms (`success`, `info`, `warning`, `danger`). Pure."""

STATE_COLOURS = {  # by a key's state
    "active": "success",
    "rotating": "info",
    "paused": "warning",
    "expired": "warning",
    "revoked": "danger",
}
EVENT_COLOURS = {  # by an event's kind
    "issued": "success",
    "changed": "info",
    "paused": "warning",
    "resumed": "success",
    "rotated": "info",
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
