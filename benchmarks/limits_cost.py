"""Cost of the limits and a slot per call, in microseconds: in memory, and with a Redis on this machine."""

import secrets
import sys
import time
from collections.abc import Callable

COUNT = 20_000


def microseconds(act: Callable[[int], object], count: int) -> float:
    """The fastest of five rounds."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for number in range(count):
            act(number)
        best = min(best, (time.perf_counter() - started) / count)
    return best * 1e6


def main() -> int:
    from keys.limits.counters import Counters
    from keys.limits.redis_counters import RedisCounters
    from proxy.upstream.in_flight import Slots
    from tests.redis_server import RedisServer

    names = [secrets.token_hex(8) for _ in range(100)]
    memory = Counters()
    slots = Slots(
        most=28,
        most_each=14,
        most_transfers=21,
        most_transfers_each=10,
        most_owners=14,
        most_transfers_owners=10,
    )
    print(f"  memory  {microseconds(lambda n: memory.hit(names[n % 100], 10**9), COUNT):7.1f} µs a call")
    cost = microseconds(
        lambda n: slots.take(names[n % 100], owner=names[n % 100], is_transfer=False).release(), COUNT
    )
    print(f"  a slot {cost:7.1f} µs a call")
    server = RedisServer()
    try:
        redis = RedisCounters(server.url)  # not Counters, which would count in memory if Redis were lost
        print(f"  Redis   {microseconds(lambda n: redis.hit(names[n % 100], 10**9), 2000):7.1f} µs a call")
    finally:
        server.kill()
    return 0


if __name__ == "__main__":
    import tests.environment as environment

    try:
        sys.exit(main())
    finally:
        environment.pytest_unconfigure(None)  # type: ignore[arg-type]
