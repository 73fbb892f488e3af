"""MLflow's own role in the embedded PostgreSQL, with limits, so that MLflow cannot take the portal's database down.

The portal connects as the superuser `postgres`. MLflow connects as `mlflow`, which owns its own database, cannot open
the portal's, and has bounds on the time, the temporary files and the connections of its statements. A limit on the
address space of every backend turns "too much memory" into an error of the one statement: without it, the kernel kills
a backend, and PostgreSQL then restarts for everybody.
"""

import psycopg
from psycopg import sql

ROLE = "mlflow"
CONNECTIONS = 60  # of the server's 200; MLflow's pool takes 15 for each of its workers
# The portal gives up on MLflow's first byte after 60 s, so that nobody waits for a longer statement.
ROLE_SETTINGS = {
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    "work_mem": "16MB",
    "hash_mem_multiplier": "1",
    "temp_file_limit": "4GB",
    "max_parallel_workers_per_gather": "0",
}
BACKEND_ADDRESS_SPACE = 4 * 2**30  # bytes, of which a new backend has mapped less than 0.3 GiB


def with_limited_memory(command: list[str]) -> list[str]:
    """The command, with a limit on the address space of its process and of all that it forks. Not on macOS.

    By the shell, because root in a container may not change the limits of a process that runs as another user.
    """
    kibibytes = BACKEND_ADDRESS_SPACE // 1024
    return ["/bin/sh", "-c", f'ulimit -v {kibibytes} 2>/dev/null; exec "$0" "$@"', *command]


def create_role(connection: psycopg.Connection[tuple[object, ...]], *, portal: str, mlflow: str) -> None:
    """Create MLflow's role if it is missing, set its limits, and close the database `portal` to it.

    `connection` is the superuser's and in autocommit mode. psycopg.Error if that is not allowed.
    """
    role = sql.Identifier(ROLE)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    connection.execute(
        sql.SQL("ALTER ROLE {} NOSUPERUSER NOCREATEDB CONNECTION LIMIT {}").format(
            role, sql.Literal(CONNECTIONS)
        )
    )
    for name, value in ROLE_SETTINGS.items():
        connection.execute(
            sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(name), sql.Literal(value))
        )
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(portal)))
    connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(mlflow), role))


def own_everything(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Make MLflow's role the owner of all tables and sequences of the database that `connection` is in.

    An MLflow of an earlier release of the portal connected as the superuser and created them as such.
    """
    role = sql.Identifier(ROLE)
    connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(role))
    rows = connection.execute(
        "SELECT c.relname, c.relkind FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'S', 'p') AND r.rolname <> %s "
        # A sequence of a table's column follows its table.
        "AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i'))",
        [ROLE],
    ).fetchall()
    for name, kind in rows:
        what = {"v": "VIEW", "S": "SEQUENCE"}.get(str(kind), "TABLE")
        connection.execute(
            sql.SQL("ALTER {} {} OWNER TO {}").format(sql.SQL(what), sql.Identifier(str(name)), role)
        )
