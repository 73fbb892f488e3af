"""Which networks each key is used from, remembered as the log's writer writes its batches.

A network is new to a key once; what is told of it is `keys.alerts`'s. The path of a request knows nothing of this.
"""

import datetime
from collections.abc import Mapping
from typing import Any

from psycopg import Cursor

from keys.alerts import MOST_NETWORKS
from keys.credentials.addresses import network_of

MOST_KNOWN = 20_000  # (key, network) pairs that one process need not ask PostgreSQL about again

Sources = Mapping[tuple[int, str], datetime.datetime]  # (key, address): the first of some calls from there
Places = dict[tuple[int, str], datetime.datetime]  # (key, network): the same

# PostgreSQL decides which network is a key's first: of two processes, one waits for the other here.
ADD_FIRST = """
    INSERT INTO keys_keynetwork (key_id, network, at, is_first, is_told)
    SELECT id, %(network)s, %(at)s, true, false FROM keys_apikey WHERE id = %(key)s
    ON CONFLICT DO NOTHING
"""
ADD = """
    INSERT INTO keys_keynetwork (key_id, network, at, is_first, is_told)
    SELECT id, %(network)s, %(at)s, false, false FROM keys_apikey WHERE id = %(key)s
        AND (SELECT count(*) FROM keys_keynetwork WHERE key_id = %(key)s) < %(most)s
    ON CONFLICT DO NOTHING
"""


class Known:
    """What this process has written down already. Bounded: too much of it is forgotten and asked for anew."""

    def __init__(self, *, most: int = MOST_KNOWN) -> None:
        self.most = most
        self.places: set[tuple[int, str]] = set()

    def new(self, sources: Sources) -> Places:
        found: Places = {}
        for (key_id, address), at in sources.items():
            place = key_id, network_of(address)
            if place[1] and place not in self.places:
                found[place] = min(at, found.get(place, at))
        return found

    def add(self, places: Places) -> None:
        """Once they are committed."""
        if len(self.places) + len(places) > self.most:
            self.places.clear()
        self.places.update(places)


def write(cursor: "Cursor[Any]", places: Places) -> None:
    """Within the caller's transaction; in one order in every process, so that two never wait for each other."""
    if not places:
        return
    rows: list[dict[str, Any]] = [
        {"key": key_id, "network": network, "at": at, "most": MOST_NETWORKS}
        for (key_id, network), at in sorted(places.items())
    ]
    earliest = {row["key"]: row for row in sorted(rows, key=lambda row: row["at"], reverse=True)}
    cursor.executemany(ADD_FIRST, [earliest[key_id] for key_id in sorted(earliest)])
    cursor.executemany(ADD, rows)
