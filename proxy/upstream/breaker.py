"""A circuit breaker: stops calling an MLflow that does not respond, so that callers get an error at once and no
thread waits.

After FAILURES consecutive calls without a response, the breaker sends a probe of its own. If the probe gets no response
either, the breaker opens: calls are refused with 429, and a thread of its own sends probes to MLflow until one gets a
response; then it closes. A response of any status counts as a success. A failure counts only if MLflow sent no response
since that call began. So one caller's slow uploads or searches never open it, nor do errors that one caller's input
causes.
"""

import logging
import threading
import time
from collections.abc import Callable

from prometheus_client import Gauge

from keys.refusals import not_sent

logger = logging.getLogger(__name__)

FAILURES = 5
PROBE_SECONDS = 1.0  # between two probes while it is open
LEAST_RETRY_SECONDS, MOST_RETRY_SECONDS = 2, 30  # the Retry-After that callers get

OPEN = Gauge(
    "hokusai_breaker_open",
    "1 while calls to this MLflow are refused because it does not answer.",
    ["upstream"],
    multiprocess_mode="livemax",
)


class Breaker:
    """The breaker of one upstream, in one process. `probe` sends it a request, and raises if there is no response."""

    def __init__(
        self, name: str, probe: Callable[[], object], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self.probe, self.clock = name, probe, clock
        self.lock = threading.Lock()
        self.failures = 0
        self.failing_since = 0.0
        self.responded = float("-inf")
        self.is_open = False
        self.is_confirming = False
        OPEN.labels(name).set(0)

    def check(self) -> None:
        """Raises Refusal (429) while it is open."""
        if self.is_open:
            raise not_sent(
                "upstream_away",
                "MLflow does not respond, and your call was not sent there. Try again in a few seconds.",
                retry_after=self.retry_seconds,
            )

    @property
    def retry_seconds(self) -> int:
        """As long as MLflow has not responded: a caller's first attempts notice a short outage soon, and its later
        ones outlast a long one."""
        seconds = self.clock() - self.failing_since if self.failures else 0.0
        return round(min(MOST_RETRY_SECONDS, max(LEAST_RETRY_SECONDS, seconds)))

    def succeed(self) -> None:
        """Record that MLflow responded."""
        self.responded = self.clock()
        self.failures = 0
        if self.is_open:
            self.close()

    def fail(self, started: float) -> None:
        """Record that a call which began at `started` got no response. The call that completes FAILURES sends the
        confirming probe, and waits for it."""
        with self.lock:
            if self.responded >= started:
                return
            if not self.failures:
                self.failing_since = started
            self.failures += 1
            if self.is_open or self.is_confirming or self.failures < FAILURES:
                return
            self.is_confirming = True
        try:
            if self.gets_response():
                self.succeed()
            else:
                self.open()
        finally:
            self.is_confirming = False

    def gets_response(self) -> bool:
        try:
            self.probe()
        except Exception:  # the failures that led here were logged
            return False
        return True

    def open(self) -> None:
        with self.lock:
            self.is_open = True
        OPEN.labels(self.name).set(1)
        logger.warning("breaker_opened upstream=%s failures=%s", self.name, self.failures)
        threading.Thread(target=self.probe_until_response, name="breaker", daemon=True).start()

    def close(self) -> None:
        with self.lock:
            if not self.is_open:
                return
            self.is_open = False
        OPEN.labels(self.name).set(0)
        logger.info("breaker_closed upstream=%s", self.name)

    def probe_until_response(self) -> None:
        while self.is_open:
            time.sleep(PROBE_SECONDS)
            if self.gets_response():
                self.succeed()
