"""Stops calling an MLflow that is away, so that callers hear of it at once and no thread waits for it.

After FAILURES calls in a row without an answer it opens: calls are refused with 503, and a thread of its own asks
MLflow one question after the other until one is answered; then it closes. Any answer counts as one, whatever its
status: who answers is there. A failure counts only if nothing was answered since that call began, so that one
caller's slow uploads or searches, timing out beside calls that work, never open it.
"""

import logging
import threading
import time
from collections.abc import Callable

from prometheus_client import Gauge

from keys.refusals import unavailable

logger = logging.getLogger(__name__)

FAILURES = 5
PROBE_SECONDS = 1.0  # between two questions while it is open
RETRY_SECONDS = 10  # what callers are told

OPEN = Gauge(
    "hokusai_breaker_open",
    "1 while calls to this MLflow are refused because it does not answer.",
    ["upstream"],
    multiprocess_mode="livemax",
)


class Breaker:
    """One upstream's, in one process. `probe` asks it something; it raises if there is no answer."""

    def __init__(
        self, name: str, probe: Callable[[], object], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self.probe, self.clock = name, probe, clock
        self.lock = threading.Lock()
        self.failures = 0
        self.answered = float("-inf")
        self.is_open = False
        OPEN.labels(name).set(0)

    def check(self) -> None:
        """Raises Refusal (503) while it is open."""
        if self.is_open:
            raise unavailable(
                "upstream_away",
                "MLflow is away just now, and your call was not sent there. Try again in a few seconds.",
                retry_after=RETRY_SECONDS,
            )

    def succeed(self) -> None:
        """MLflow has answered."""
        self.answered = self.clock()
        self.failures = 0
        if self.is_open:
            self.close()

    def fail(self, started: float) -> None:
        """A call that began at `started` got no answer."""
        with self.lock:
            if self.answered >= started:
                return
            self.failures += 1
            if self.is_open or self.failures < FAILURES:
                return
            self.is_open = True
        OPEN.labels(self.name).set(1)
        logger.warning("breaker_opened upstream=%s failures=%s", self.name, self.failures)
        threading.Thread(target=self.ask_until_answered, name="breaker", daemon=True).start()

    def close(self) -> None:
        with self.lock:
            if not self.is_open:
                return
            self.is_open = False
        OPEN.labels(self.name).set(0)
        logger.info("breaker_closed upstream=%s", self.name)

    def ask_until_answered(self) -> None:
        while self.is_open:
            time.sleep(PROBE_SECONDS)
            try:
                self.probe()
            except Exception:  # noqa: S112  it was logged when the breaker opened
                continue
            self.succeed()
