"""`make operate`: what docs/recovery.md and docs/scale.md promise operators, on real servers; not in the suite.

Prints one line for each proof. PROOFS=… selects some, VERBOSE=1 prints their steps. The exit status is 1 if one fails.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable

from tests.operate import failover, replicas, restore, rotations, upgrade

PROOFS: dict[str, Callable[[], str]] = {
    "restore": restore.prove,
    "rotations": rotations.prove,
    "replicas": replicas.prove,
    "failover": failover.prove,
    "upgrade": upgrade.prove,
}


def main() -> int:
    chosen = os.environ.get("PROOFS", " ".join(PROOFS)).replace(",", " ").split()
    failed = []
    for name in chosen:
        started = time.monotonic()
        try:
            line = PROOFS[name]()
        except Exception as error:
            traceback.print_exc()
            failed.append(name)
            line = f"FAILED: {str(error).strip().splitlines()[0] if str(error) else type(error).__name__}"
        print(f"{name:10} {time.monotonic() - started:4.0f} s  {line}", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
