"""The portal's server with little patience for MLflow: `gunicorn --config python:tests.proxy.hurried`."""

import threading
from typing import Any

from portal.server import *  # noqa: F403


def post_worker_init(worker: Any) -> None:
    from proxy.upstream import client

    client.IDLE_TIMEOUT = 2.0
    client.WAITING_STEP = 0.5
    # The thread that asks for MLflow's release may be making a pool with the usual timeouts.
    for thread in threading.enumerate():
        if thread.name == "release":
            thread.join(10)
    client.pool.cache_clear()
    client.plain_pool.cache_clear()
