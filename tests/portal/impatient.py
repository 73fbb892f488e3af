"""The portal's server with a short patience: `gunicorn --config python:tests.portal.impatient`."""

from portal.http import connections, timeouts
from portal.server import *  # noqa: F403
from proxy.request import bodies

connections.REQUEST_SECONDS = 1.0
timeouts.IDLE_SECONDS = 1.0
timeouts.LEAST_BYTES = 10_000
connections.LINGER_SECONDS = 1.0
bodies.JSON_SECONDS = 3.0
