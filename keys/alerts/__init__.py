"""Alerts: keys found in the open, expiring, unused, near a limit, used from a new network; canaries; full disks."""

from keys.alerts.checks import check_keys as check_keys
from keys.alerts.notifications import end_alert as end_alert
from keys.alerts.notifications import notify as notify
from keys.alerts.recipients import recipients as recipients
from keys.alerts.wording import MAX_NETWORKS as MAX_NETWORKS
