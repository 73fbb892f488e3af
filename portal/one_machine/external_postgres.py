"""The operator's own PostgreSQL (DATABASE_URL): its version, MLflow's database beside the portal's, its address."""

from collections.abc import Mapping
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from portal.one_machine.postgres import create_database
from portal.one_machine.supervisor import StartError


def server_version(database_url: str) -> str:
    """The version of the PostgreSQL at ``database_url``. Raises StartError if it does not respond."""
    try:
        with psycopg.connect(database_url, connect_timeout=5) as connection:
            return str(connection.info.parameter_status("server_version"))
    except psycopg.Error as error:
        raise StartError(f"DATABASE_URL: {' '.join(str(error).split())}") from None


def second_database(database_url: str) -> str:
    """The address of the database `<name>_mlflow` beside the portal's, made if missing; StartError if not."""
    parts = conninfo_to_dict(database_url)
    name = f"{parts.get('dbname') or 'portal'}_mlflow"
    try:
        with psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
            create_database(connection, name)
    except psycopg.Error as error:
        raise StartError(
            f"MLflow needs the database {name}, which cannot be created ({' '.join(str(error).split())}): "
            "create it, or set MLFLOW_URL to an MLflow server"
        ) from None
    return _address({**parts, "dbname": name})


def without_password(database_url: str) -> str:
    """The same URL without its password."""
    parts = conninfo_to_dict(database_url)
    return _address({name: value for name, value in parts.items() if name != "password"})


def _address(parts: Mapping[str, object]) -> str:
    """A ``postgresql://`` address of libpq's parameters; host and port in the query, where lists fit."""
    given = {name: quote(str(value), safe="") for name, value in parts.items() if value}
    user, password, database = (given.pop(name, "") for name in ("user", "password", "dbname"))
    account = f"{user}:{password}@" if password else f"{user}@" if user else ""
    query = "&".join(f"{name}={value}" for name, value in given.items())
    return f"postgresql://{account}/{database}" + (f"?{query}" if query else "")
