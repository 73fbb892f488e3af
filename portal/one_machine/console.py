"""The console output of `make run`."""

import contextlib
import sys
import time


def write(line: str = "") -> None:
    """Print a line at once. If the terminal is gone, ignore it: everything must still be stopped."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def warn(line: str) -> None:
    """Print a warning."""
    write(f"  --  {line}")


class Step:
    """Times a step and prints a line at its end."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def done(self, line: str) -> None:
        write(f"  ok  {line} ({time.monotonic() - self._started:.1f} s)")


def credentials(created: dict[str, str]) -> None:
    """The new admin's password and the first key."""
    write("\nShown only once; keep them:")
    write(f"  {created['user']}'s password  {created['password']}")
    write(f"  the first key     {created['key']}")


def next_steps(url: str, *, logs: object) -> None:
    """Print the URLs to open and the variables that a client sets."""
    write("\nOpen next:")
    write(f"  {url}/         how to connect")
    write(f"  {url}/admin/   keys, users, usage")
    write("\nAn MLflow client sets only:")
    write(f"  export MLFLOW_TRACKING_URI={url}/api/mlflow")
    write("  export MLFLOW_TRACKING_TOKEN=<a key>")
    write(f"\nLogs are in {logs}. Ctrl-C stops everything.")


def round_trip(line: str) -> None:
    """Print a line of the round trip's program, or of MLflow's client in it."""
    outcome, _, step = line.partition(" ")
    write(f"  ok  round trip: {step}") if outcome == "ok" else write(f"      {line}")
