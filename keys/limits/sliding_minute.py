"""A minute that slides: how many calls the last 60 seconds hold, from the counts of two fixed minutes. Pure."""

from dataclasses import dataclass
from math import floor

SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class SlidingMinute:
    """The calls of the last 60 seconds: the previous fixed minute counts in proportion to what is left of it.

    `limits` counts in the same way in Redis. Times in seconds.
    """

    previous: int = 0
    previous_left: float = 0.0  # until nothing of the previous fixed minute counts
    current: int = 0
    current_left: float = 0.0  # until the current fixed minute becomes the previous one

    @property
    def used(self) -> int:
        return floor(self.previous * self.previous_left / SECONDS) + self.current

    def free_in(self, limit: int) -> float:
        """Seconds until one more call fits."""
        weight_allowed = limit - self.current  # of the previous minute, exclusive
        if weight_allowed > 0:
            wait = self.previous_left - SECONDS * weight_allowed / self.previous if self.previous else 0.0
            return max(0.0, wait)
        return self.current_left + max(0.0, SECONDS - SECONDS * limit / self.current)
