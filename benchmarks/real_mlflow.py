"""A real MLflow and a migrated database for a benchmark."""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.usage_log import ROOT


@contextmanager
def mlflow_and_database(**settings: str) -> Iterator[Path]:
    """Start both, and set the portal's settings in this process's environment. Yields their folder."""
    from portal.one_machine.mlflow import start_mlflow
    from portal.one_machine.postgres import running_postgres
    from portal.one_machine.supervisor import Watchdog

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running_postgres(folder / "postgresql"))
        watchdog = Watchdog(label="hokusai-benchmark")
        stack.callback(watchdog.close)
        mlflow = start_mlflow(folder, database_url=server.mlflow_url(), watchdog=watchdog)
        stack.callback(mlflow.stop)
        mlflow.wait_until_ready()
        os.environ |= {
            "DATABASE_URL": server.url("portal"),
            "MLFLOW_URL": mlflow.url,
            "SECRET_KEY": secrets.token_urlsafe(50),
            "KEY_PEPPERS": secrets.token_urlsafe(32),
            "DATA_DIR": str(folder),
            "MLFLOW_CONCURRENCY": "3",  # as `make run` sets it for an MLflow of one worker
            **settings,
        }
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True)
        yield folder
