"""scim2-tester in full against a running portal: `make scim`. For the directory for all, and for an organisation's.

The exit status is 1 if a check fails.
"""

import sys
import tempfile
from pathlib import Path

from tests.field.environments import Environment, InstallError, environment
from tests.field.readers.results import Result, show
from tests.field.servers import ROOT, Field, Server

PACKAGES = ("install", "scim2-tester==0.5.2", "scim2-client[httpx2]==0.13.2")
SCRIPT = Path(__file__).with_name("programs") / "scim_tester.py"


def main() -> int:
    try:
        installed = environment("scim", PACKAGES)
    except InstallError as error:
        return show([Result(program="scim2-tester", version="0.5.2", could_run=False, text=str(error))])
    with (
        tempfile.TemporaryDirectory() as name,
        Field(Path(name) / "field") as field,
        field.server("portal", Environment(folder=ROOT / ".venv")) as portal,
    ):
        return show([check(portal, installed, directory) for directory in ("shared", "third-party")])


def check(portal: Server, installed: Environment, directory: str) -> Result:
    user = f"directory-of-{directory}"
    if directory == "shared":
        portal.issue(user, "first")  # creates the user
        portal.manage("set_role", user, "key_admin")
    else:
        portal.manage("organisation", "create", directory)
        portal.issue(user, "first")
        portal.manage("organisation", "add-member", directory, user)
    key = portal.issue(user, "directory", "--scope", "portal:scim", "--organisation", directory)
    done = installed.run(str(SCRIPT), f"{portal.url}/scim/v2", key, timeout=300)
    text = f"directory of {directory}: {done.stdout.strip()}"
    return Result(program="scim2-tester", version="0.5.2", text=text, works=done.returncode == 0)


if __name__ == "__main__":
    sys.exit(main())
