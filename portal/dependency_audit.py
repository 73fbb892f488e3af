"""`make audit`: runs pip-audit on the lock file. If its service is unreachable, it prints a line and does not fail."""

import json
import subprocess
import sys
from typing import Any

COMMAND = [
    *(sys.executable, "-m", "pip_audit", "--requirement", "requirements.lock", "--format", "json"),
    *("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--timeout", "15"),
]
SECONDS = 300.0


def main() -> int:
    """Exit status 1 if a vulnerability is known; 0 if none is known or pip-audit could not run."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=SECONDS)  # noqa: S603
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        return say(
            "pip-audit was not run: its service cannot be reached from here. Run make audit where it can."
        )
    return verdict(packages)


def verdict(packages: list[dict[str, Any]]) -> int:
    """Whether the package was audited: not if the service did not know it or could not be reached."""
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        return say(
            f"pip-audit was not run: its service knew none of the {len(packages)} packages. "
            "Run make audit where it can be reached."
        )
    holes = [(package, hole) for package in audited for hole in package["vulns"]]
    for package, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "none yet"
        say(f"{package['name']} {package['version']}: {hole['id']}; fixed in: {fixed}")
    say(f"{len(audited)} of {len(packages)} packages audited, {len(holes)} known holes.")
    return 1 if holes else 0


def say(line: str) -> int:
    sys.stdout.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
