"""What a database holds."""

import psycopg


def everything_stored(url: str) -> str:
    """Every row of every table as text, after its table's name."""
    parts = []
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables "
            "where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        for (table,) in tables:
            parts.append(table)
            with connection.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as copy:
                parts.extend(bytes(row).decode() for row in copy)
    return "\n".join(parts)
