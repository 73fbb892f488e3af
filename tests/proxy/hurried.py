"""The portal's server with little patience for MLflow: `gunicorn --config python:tests.proxy.hurried`."""

from typing import Any

from portal.server import *  # noqa: F403


def post_worker_init(worker: Any) -> None:
    from proxy.upstream import client

    client.IDLE_TIMEOUT = 2.0
    client.WAITING_STEP = 0.5
    client.pool.cache_clear()  # the question for MLflow's release may have made one already
