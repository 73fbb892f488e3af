"""Requests that the portal only counts, so that a flood of them costs a few rows: those without a valid key, by hour,
reason and network, and those over a key's limit of a minute, in the key's totals. The first refusals of a network in an
hour are also kept by their request id, so that people can look up why.

`proxy.usage.writer` writes the counts to PostgreSQL.
"""

import datetime
import threading
from collections import Counter
from dataclasses import dataclass

from keys.credentials.addresses import network_of
from proxy.usage.batches import Group, Total, add_totals, totals_of
from proxy.usage.record import CallRecord

# (reason, network) pairs that one process counts separately in an hour; the rest is counted without its network.
MAX_BUCKETS = 2000
MAX_KEPT = 2000  # refusals that one process keeps in an hour
MAX_KEPT_OF_NETWORK = 50  # and of one network


@dataclass(frozen=True, order=True)
class AttemptBucket:
    """The attempts that are counted together."""

    hour: datetime.datetime
    reason: str
    network: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A refused request that became no call (`proxy.models.UncalledRequest`)."""

    request_id: str
    at: datetime.datetime
    status: int
    reason: str
    method: str
    path: str
    message: str


class Attempts:
    """Counts in memory until the writer fetches them. Bounded, thread-safe."""

    def __init__(self, *, buckets: int = MAX_BUCKETS) -> None:
        self.buckets = buckets
        self.lock = threading.Lock()
        self.counts: Counter[AttemptBucket] = Counter()
        self.totals: dict[Group, Total] = {}  # of calls over a limit of a minute
        self.hour = datetime.datetime.min.replace(tzinfo=datetime.UTC)
        self.known: set[AttemptBucket] = set()
        self.kept: Counter[str] = Counter()  # refusals kept in this hour, by network
        self.kept_hour = self.hour
        self.refused: list[Refused] = []  # not written yet

    def keep(self, refused: Refused, address: str) -> None:
        """Keep a refusal, unless this hour has enough of the network, or of all networks."""
        hour, network = refused.at.replace(minute=0, second=0, microsecond=0), network_of(address)
        with self.lock:
            if hour > self.kept_hour:
                self.kept_hour, self.kept = hour, Counter()
            if self.kept.total() < MAX_KEPT and self.kept[network] < MAX_KEPT_OF_NETWORK:
                self.kept[network] += 1
                self.refused.append(refused)

    def pop_refused(self) -> list[Refused]:
        """Return the refusals that are not written yet. If they cannot be written, `restore_refused` adds them back."""
        with self.lock:
            refused, self.refused = self.refused, []
        return refused

    def restore_refused(self, refused: list[Refused]) -> None:
        with self.lock:
            self.refused = refused + self.refused

    def add(self, reason: str, address: str, *, at: datetime.datetime) -> None:
        hour = at.replace(minute=0, second=0, microsecond=0)
        bucket = AttemptBucket(hour, reason[:40], network_of(address))
        with self.lock:
            if hour > self.hour:
                self.hour, self.known = hour, set()
            if bucket not in self.known:
                if len(self.known) >= self.buckets:
                    bucket = AttemptBucket(hour, bucket.reason, "")
                self.known.add(bucket)
            self.counts[bucket] += 1

    def add_refused(self, record: CallRecord) -> None:
        """Count a call over its key's limit of a minute."""
        totals = totals_of([record])
        with self.lock:
            add_totals(self.totals, totals)

    def pop_counts(self) -> Counter[AttemptBucket]:
        """Return all counts and start again from zero; `restore` adds them back if they could not be written."""
        with self.lock:
            counts, self.counts = self.counts, Counter()
        return counts

    def restore(self, counts: Counter[AttemptBucket]) -> None:
        with self.lock:
            self.counts.update(counts)

    def pop_totals(self) -> dict[Group, Total]:
        """Return the totals of calls over a limit, as `pop_counts` does."""
        with self.lock:
            totals, self.totals = self.totals, {}
        return totals

    def restore_totals(self, totals: dict[Group, Total]) -> None:
        with self.lock:
            add_totals(self.totals, totals)
