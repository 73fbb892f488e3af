"""Alerts about keys: found in the open, expiring, unused, near a limit, used from a new network, and used canaries."""

from keys.alerts.checks import check_keys as check_keys
from keys.alerts.notifications import notify as notify
from keys.alerts.recipients import recipients as recipients
from keys.alerts.wording import MAX_NETWORKS as MAX_NETWORKS
