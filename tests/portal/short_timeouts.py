"""The portal's server with short timeouts for clients: `gunicorn --config python:tests.portal.short_timeouts`."""

from portal.http import event_loop, sockets
from portal.server import *  # noqa: F403
from proxy.request import bodies

event_loop.REQUEST_SECONDS = 1.0
sockets.IDLE_SECONDS = 1.0
sockets.MIN_BYTES = 10_000
sockets.MAX_UNSENT = 2**20
sockets.LONG_SECONDS = 1.0
event_loop.LINGER_SECONDS = 1.0
bodies.JSON_SECONDS = 3.0
