"""One run of everything on this machine: started in order, watched, and stopped in reverse order."""

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from django.conf import settings

from portal.one_machine import console, external_postgres, instance, mlflow, ports, postgres
from portal.one_machine.restarts import Restarts
from portal.one_machine.supervisor import (
    Child,
    StartError,
    StopSteps,
    Watchdog,
    finish,
    minimal_environment,
    start,
    wait_until_ready,
)

PREPARE_SECONDS = 300.0
PORTAL_START_SECONDS = 60.0
ROUND_TRIP_SECONDS = 120.0
WATCH_SECONDS = 0.5
# gunicorn gives running calls DRAIN_SECONDS, and kills a worker that takes 14 seconds longer.
PORTAL_STEPS: StopSteps = ((signal.SIGTERM, settings.DRAIN_SECONDS + 20.0),)


class Run:
    """One run of everything. Children are stopped in reverse order of their start."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.stopping = threading.Event()
        self.reason = ""  # why it stops, as shown to the user
        self.url = ports.local_url(settings.HOST, settings.PORT)
        self.environment: dict[str, str] = {}
        self.credentials: dict[str, str] = {}
        self.postgres: postgres.Postgres | None = None
        self.mlflow: mlflow.Mlflow | None = None
        self.portal: Child | None = None
        self.outbox: Child | None = None

    def stop_on_signals(self) -> None:
        """Stop on Ctrl-C, on SIGTERM, and when the terminal closes (except under `nohup`).

        A shell starts background jobs with SIGINT ignored; this handles it all the same.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.request_stop)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            return
        signal.signal(signal.SIGHUP, self.request_stop)
        # A terminal that closes signals only the process that it started, which may be `make`.
        if sys.stdout.isatty():
            self.stop_with(sys.stdout.isatty)

    def request_stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: everything that waits checks the event."""
        self.reason = self.reason or signal.Signals(number).name
        self.stopping.set()

    def stop_with(self, is_present: Callable[[], bool]) -> None:
        """Stop once ``is_present()`` is no longer true."""

        def watch() -> None:
            while is_present():
                time.sleep(WATCH_SECONDS)
            self.reason = self.reason or "what started it is gone"
            self.stopping.set()

        threading.Thread(target=watch, daemon=True).start()

    def run(self) -> None:
        """Start everything, then watch it until a stop is requested. Raises StartError or StopRequested."""
        console.write("Hokusai Registry Portal\n")
        instance.prepare_folder(self.data_dir)
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(
                instance.lock_data_dir(self.data_dir, stopping=self.stopping, notify=console.warn)
            )
            ports.check_port(settings.HOST, settings.PORT)
            watchdog = stack.enter_context(Watchdog(label=str(self.data_dir), keep_open=[lock]))
            keys = instance.load_secrets(self.data_dir)
            instance.create_signing_key(self.data_dir)
            console.write(f"  ok  data folder {self.data_dir}")
            database_url = self.start_postgres(stack, watchdog)
            mlflow_step = console.Step()
            mlflow_url = os.environ.get("MLFLOW_URL") or self.start_mlflow(stack, watchdog, database_url)
            self.environment = self.portal_environment(keys, database_url, mlflow_url)
            stack.callback(self.show_credentials)
            self.prepare(watchdog)
            self.start_portal(stack, watchdog)
            self.write_portal_file(watchdog, stack, database_url, mlflow_url)
            self.wait_for_mlflow(mlflow_step)
            self.round_trip(watchdog)
            self.show_credentials()
            console.next_steps(self.environment["PUBLIC_URL"], logs=self.data_dir / "logs")
            self.watch(watchdog, database_url)

    # --- the steps ----------------------------------------------------------------------------------------

    def start_postgres(self, stack: contextlib.ExitStack, watchdog: Watchdog) -> str:
        """The URL of the portal's database: DATABASE_URL, or else an embedded PostgreSQL."""
        step = console.Step()
        given = os.environ.get("DATABASE_URL")
        if given:
            step.done(f"PostgreSQL {external_postgres.server_version(given)} of DATABASE_URL answers")
            return given
        self.postgres = postgres.start_postgres(self.data_dir, watchdog=watchdog, stopping=self.stopping)
        stack.callback(self.postgres.stop)
        step.done(f"PostgreSQL {self.postgres.version} ready")
        return self.postgres.url("portal")

    def mlflow_database(self, database_url: str) -> str:
        """The URL of MLflow's database, on the same PostgreSQL as the portal's."""
        if self.postgres:
            return self.postgres.mlflow_url()
        return external_postgres.second_database(database_url)

    def start_mlflow(self, stack: contextlib.ExitStack, watchdog: Watchdog, database_url: str) -> str:
        """Start MLflow without waiting for it; returns its URL."""
        self.mlflow = mlflow.start_mlflow(
            self.data_dir, database_url=self.mlflow_database(database_url), watchdog=watchdog
        )
        stack.callback(self.stop_mlflow)
        return self.mlflow.url

    def restart_mlflow(self, watchdog: Watchdog, database_url: str) -> None:
        """Start MLflow again on the same port."""
        assert self.mlflow is not None  # noqa: S101  it ended
        self.mlflow = mlflow.start_mlflow(
            self.data_dir,
            database_url=self.mlflow_database(database_url),
            watchdog=watchdog,
            port=int(self.mlflow.url.rpartition(":")[2]),
        )

    def stop_mlflow(self) -> None:
        """Stop the MLflow that runs now, which may be a restarted one."""
        if self.mlflow:
            self.mlflow.stop()

    def portal_environment(self, keys: dict[str, str], database_url: str, mlflow_url: str) -> dict[str, str]:
        """The environment of the portal's processes: this process's own, and the addresses."""
        own = {
            "PUBLIC_URL": os.environ.get("PUBLIC_URL") or self.url,
            **keys,
            "DATABASE_URL": database_url,
            "MLFLOW_URL": mlflow_url,
            "DATA_DIR": str(self.data_dir),
            "HOST": settings.HOST,
            "PORT": str(settings.PORT),
            "WORKERS": str(settings.WORKERS),
            "THREADS": str(settings.THREADS),
        }
        if self.mlflow:  # one worker process
            own["MLFLOW_CONCURRENCY"] = os.environ.get("MLFLOW_CONCURRENCY") or "3"
        # For the page of settings in force: the settings that the operator did not set.
        names = ",".join(name for name in own if not os.environ.get(name))
        return {**os.environ, **own, "SET_BY_MAKE_RUN": names, "PYTHONUNBUFFERED": "1"}

    def prepare(self, watchdog: Watchdog) -> None:
        """Migrate; on the first run, create the admin and the first key."""
        step = console.Step()
        created = self.child_task("prepare", watchdog)
        step.done("database migrated")
        for line in created.pop("warnings").splitlines():
            console.warn(line)
        self.credentials = created
        if created:
            console.write(f"  ok  user {created['user']} and a first key created")
            instance.write_private(self.data_dir / "first-run.json", {"round_trip": "pending"})

    def child_task(self, task: str, watchdog: Watchdog) -> dict[str, str]:
        """Run a task of `up` in a process whose settings name the database; returns its result."""
        child = start(
            "the preparation of the database",
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "up", "--child-task", task],
            log=self.data_dir / "logs" / "prepare.log",
            watchdog=watchdog,
            environment=self.environment,
            directory=settings.BASE_DIR,
            read_output=True,
        )
        # Not interrupted by a stop: a new password would be lost.
        output = finish(child, seconds=PREPARE_SECONDS, stopping=threading.Event())
        if child.exit_status() != 0:
            raise StartError(f"{child.name} failed: {child.last_log_line()}; see {child.log}")
        created = json.loads(output.splitlines()[-1])
        return {str(name): str(value) for name, value in created.items()}

    def start_portal(self, stack: contextlib.ExitStack, watchdog: Watchdog) -> None:
        """Start the portal under gunicorn and wait until it is ready."""
        step = console.Step()
        self.portal = start(
            "the portal",
            [sys.executable, "-m", "gunicorn", "--config", "python:portal.server", "portal.wsgi:application"],
            log=self.data_dir / "logs" / "portal.log",
            watchdog=watchdog,
            environment=self.environment,
            directory=settings.BASE_DIR,
            steps=PORTAL_STEPS,
        )
        stack.callback(self.portal.stop)
        wait_until_ready(
            self.portal,
            lambda: self.is_ok("/health/ready"),
            seconds=PORTAL_START_SECONDS,
            stopping=self.stopping,
        )
        step.done(f"portal answers on {self.url}")
        self.start_outbox(watchdog)
        stack.callback(self.stop_outbox)

    def start_outbox(self, watchdog: Watchdog) -> None:
        """Start the process that delivers alerts."""
        self.outbox = start(
            "the outbox",
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "alerts"],
            log=self.data_dir / "logs" / "alerts.log",
            watchdog=watchdog,
            environment=self.environment,
            directory=settings.BASE_DIR,
        )

    def stop_outbox(self) -> None:
        if self.outbox:
            self.outbox.stop()

    def write_portal_file(
        self, watchdog: Watchdog, stack: contextlib.ExitStack, database_url: str, mlflow_url: str
    ) -> None:
        """Write the addresses into portal.json; the file is removed at the end."""
        path = self.data_dir / "portal.json"
        watchdog.remove(path)
        stack.callback(path.unlink, missing_ok=True)
        without_password = external_postgres.without_password(database_url)
        content = {
            "url": self.url,
            "public_url": self.environment["PUBLIC_URL"],
            "pid": os.getpid(),
            "database_url": without_password,
            "mlflow_url": mlflow_url,
            **self.mlflow_store(database_url),
        }
        instance.write_private(path, content)

    def mlflow_store(self, database_url: str) -> dict[str, str]:
        """The address of the embedded MLflow's database, for `manage.py organise`."""
        if self.mlflow is None:
            return {}
        address = external_postgres.without_password(self.mlflow_database(database_url))
        return {"mlflow_database_url": mlflow.mlflow_backend(address)}

    def wait_for_mlflow(self, step: console.Step) -> None:
        """Wait for the embedded MLflow. If it does not start, print a warning; the portal runs without it."""
        if self.mlflow is None:
            return
        try:
            self.mlflow.wait_until_ready(stopping=self.stopping)
        except StartError as error:
            console.warn(f"{error}. The portal runs without it, and MLflow is restarted")
        else:
            step.done(f"MLflow {version('mlflow')} ready")
            if mlflow.has_files_outside_workspaces(self.data_dir):
                console.warn(
                    "MLflow has experiments from before organisations, which nobody can see now: move them with "
                    "`.venv/bin/python manage.py organise --help`"
                )

    def round_trip(self, watchdog: Watchdog) -> None:
        """The first round trip: once, on the first run, or at the next start at which MLflow responds."""
        try:
            self.try_round_trip(watchdog)
        except StartError as error:
            console.warn(f"no round trip: {error}")

    def try_round_trip(self, watchdog: Watchdog) -> None:
        """Raises StartError if the round trip could not be started."""
        note = self.data_dir / "first-run.json"
        if instance.read(note).get("round_trip") != "pending":
            return
        if not self.is_ok("/health/mlflow"):
            console.warn(
                f"no round trip: MLflow at {self.environment['MLFLOW_URL']} does not respond to the portal; "
                f"{self.url}/health/mlflow gives the reason. The next start tries again"
            )
            return
        step = console.Step()
        key = self.credentials.get("key") or self.child_task("key", watchdog).get("key", "")
        with tempfile.TemporaryDirectory(prefix="hokusai-round-trip-") as folder:
            child = start(
                "the round trip",
                [sys.executable, "-P", str(Path(__file__).with_name("round_trip.py"))],
                log=self.data_dir / "logs" / "round-trip.log",
                watchdog=watchdog,
                environment=self.third_party_environment(folder, key),
                directory=folder,
                read_output=True,
            )
            watchdog.remove(Path(folder))
            finish(child, seconds=ROUND_TRIP_SECONDS, stopping=self.stopping, relay=console.round_trip)
        if child.exit_status() == 0:
            instance.write_private(note, {"round_trip": "passed"})
            step.done("round trip with the stock MLflow client")
        else:
            console.warn(
                "the round trip failed; the portal runs on, and the next start tries again. "
                f"See portal.log, mlflow.log and round-trip.log in {self.data_dir / 'logs'}"
            )

    def third_party_environment(self, folder: str, key: str) -> dict[str, str]:
        """The environment of a third party, with nothing of this process's; an empty HOME has no ~/.netrc."""
        return minimal_environment() | {
            "MLFLOW_TRACKING_URI": f"{self.url}/api/mlflow",
            "MLFLOW_TRACKING_TOKEN": key,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default retries for minutes
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
            "HOME": folder,
        }

    def is_ok(self, path: str) -> bool:
        """Whether the portal responds 200 at a path."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.url + path, timeout=10) as response:
                return bool(response.status == 200)
        except (OSError, ValueError):
            return False

    def show_credentials(self) -> None:
        """Print the new admin's password and the first key once, even if a later step failed."""
        created, self.credentials = self.credentials, {}
        if created:
            console.credentials(created)

    # --- while it runs ------------------------------------------------------------------------------------

    def watch(self, watchdog: Watchdog, database_url: str) -> None:
        """Until a stop is requested, restart MLflow and the outbox if they end. Raises StartError if PostgreSQL or the
        portal ends."""
        restarts = [
            Restarts(
                "MLflow",
                current=lambda: self.mlflow.child if self.mlflow else None,
                restart=lambda: self.restart_mlflow(watchdog, database_url),
            ),
            Restarts("the outbox", current=lambda: self.outbox, restart=lambda: self.start_outbox(watchdog)),
        ]
        while not self.stopping.wait(WATCH_SECONDS):
            for child in (self.postgres and self.postgres.child, self.portal):
                if child and child.exit_status() is not None:
                    raise StartError(
                        f"{child.name} ended (exit status {child.exit_status()}); see {child.log}"
                    )
            for part in restarts:
                part.check()
