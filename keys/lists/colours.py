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
