"""What a run prints for the person who started it."""

import contextlib
import sys
import time


def say(line: str = "") -> None:
    """Print a line at once; a terminal that is gone must not keep anything from being stopped."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def warn(line: str) -> None:
    """A line about something that is not as it should be, and stops nothing."""
    say(f"  --  {line}")


class Step:
    """The time since it was made, for a line on what was done in it."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def done(self, line: str) -> None:
        say(f"  ok  {line} ({time.monotonic() - self._started:.1f} s)")


def credentials(made: dict[str, str]) -> None:
    """The new admin's password and the first key."""
    say("\nShown only now; keep them:")
    say(f"  {made['user']}'s password  {made['password']}")
    say(f"  the first key     {made['key']}")


def next_steps(url: str, *, logs: object) -> None:
    """What to open and what a client sets."""
    say("\nOpen next:")
    say(f"  {url}/         how to connect")
    say(f"  {url}/admin/   keys, users, usage")
    say("\nWhat an MLflow client sets, and nothing else:")
    say(f"  export MLFLOW_TRACKING_URI={url}/api/mlflow")
    say("  export MLFLOW_TRACKING_TOKEN=<a key>")
    say(f"\nLogs are in {logs}. Ctrl-C stops everything.")


def round_trip(line: str) -> None:
    """A line of the round trip's program, or of MLflow's client in it, as part of this one's."""
    outcome, _, what = line.partition(" ")
    say(f"  ok  round trip: {what}") if outcome == "ok" else say(f"      {line}")
