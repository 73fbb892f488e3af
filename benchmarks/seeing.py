"""Cost of metrics and of the log line of a call, in microseconds of one thread: `python -m benchmarks.seeing`."""

import logging
import os
import tempfile
import time
from collections.abc import Callable

ROUNDS, CALLS = 5, 20_000


def microseconds(do: Callable[[], object]) -> float:
    """The best of several rounds, for one call of `do`."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS):
            do()
        best = min(best, time.perf_counter() - started)
    return best / CALLS * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "PROMETHEUS_MULTIPROC_DIR": folder,  # as in production: metrics in files, for several processes
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "DATA_DIR": folder,
            "SECRET_KEY": "x" * 50,
            "KEY_PEPPERS": "x" * 50,
            "DATABASE_URL": "postgresql://nowhere/none",
            "MLFLOW_URL": "http://127.0.0.1:9",
            "LOG_FORMAT": "json",
        }
        import django

        django.setup()
        measure()


def measure() -> None:
    from keys.credentials.caller import Caller
    from keys.credentials.lookup import LOOKUPS
    from keys.models import ApiKey, User
    from portal.http import access_log
    from portal.http.middleware import CALL_RECORD, REQUEST_ID, STARTED
    from proxy.usage.recording import CallInProgress

    handler = logging.getLogger().handlers[0]
    handler.setStream(open(os.devnull, "w"))  # type: ignore[attr-defined]  # noqa: SIM115
    owner = User(username="alice")
    call = CallInProgress(
        request_id="req_" + "0" * 32,
        method="GET",
        path="/api/mlflow/api/2.0/mlflow/experiments/get",
        address="192.0.2.1",
        client="mlflow-python-client/3.17",
        caller=Caller.by_key(ApiKey(owner=owner)),
        operation="experiments.get",
        status=200,
        bytes_in=100,
        bytes_out=2000,
        upstream_ms=12.0,
    )
    environ = {
        CALL_RECORD: call,
        REQUEST_ID: call.request_id,
        STARTED: time.perf_counter(),
        "REQUEST_METHOD": "GET",
        "PATH_INFO": call.path,
    }

    def one() -> None:
        access_log.request_started()
        LOOKUPS.labels("hit").inc()
        access_log.request_ended(environ, status=200, sent=2000, trusted_proxies=0)

    whole = microseconds(one)
    access_log.logger.disabled = True
    numbers = microseconds(one)
    print(f"numbers for /metrics   {numbers:5.0f} µs a call")
    print(f"a line in the log      {whole - numbers:5.0f} µs a call")


if __name__ == "__main__":
    main()
