"""The portal's server with short timeouts for clients, where a user who is refused gets the next refusal later."""

from proxy.upstream.time_share import PROCESSOR
from tests.portal.short_timeouts import *  # noqa: F403

PROCESSOR.share, PROCESSOR.burst, PROCESSOR.longest = 0.001, 0.0, 1.0
