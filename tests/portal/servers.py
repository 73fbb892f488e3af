"""PostgreSQL as these tests start it: fast, asked plainly, sometimes from a process that will be killed."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import psycopg

from portal.one_machine.supervisor import minimal_environment

FAST = {"fsync": "off", "shared_buffers": "16MB"}
REPOSITORY = Path(__file__).parents[2]
PYTHON_PATH = {"PYTHONPATH": f"{REPOSITORY}:{sysconfig.get_path('purelib')}", "PYTHONDONTWRITEBYTECODE": "1"}

# Starts PostgreSQL, says where it is, and waits to be killed.
HOLDER = f"""
import json, sys, time
from pathlib import Path
from portal.one_machine.postgres import running_postgres
with running_postgres(Path(sys.argv[1]), settings={FAST!r}) as server:
    print(json.dumps({{"url": server.url(), "pid": server.child.process.pid}}), flush=True)
    time.sleep(600)
"""


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else []


def hold(
    data: Path, *, code: str = HOLDER, interpreter: str = sys.executable, **options: Any
) -> "subprocess.Popen[str]":
    """Run ``code`` on ``data`` in a process of its own."""
    return subprocess.Popen(
        [interpreter, "-c", code, str(data)],
        stdout=subprocess.PIPE,
        text=True,
        env=minimal_environment() | PYTHON_PATH,
        **options,
    )


def told_by(holder: "subprocess.Popen[str]") -> dict[str, Any]:
    """The first thing the process says, once it is ready."""
    assert holder.stdout is not None
    told: dict[str, Any] = json.loads(holder.stdout.readline())
    return told
