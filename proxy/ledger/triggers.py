"""PostgreSQL's triggers that keep rows from being changed or deleted."""

from collections.abc import Set

from django.db import connection


def find_trigger_problem(kept: str, triggers: Set[str], *tables: str) -> str:
    """The problem if one of the triggers that protect `kept` is missing on the tables, or disabled; "" if there is
    none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = ANY(%s::regclass[]) AND NOT tgisinternal "
            "AND tgenabled IN ('O', 'A')",
            [list(tables)],
        )
        missing = triggers - {name for (name,) in cursor.fetchall()}
    if not missing:
        return ""
    return f"PostgreSQL does not protect the {kept}: {', '.join(sorted(missing))} is missing or disabled"
