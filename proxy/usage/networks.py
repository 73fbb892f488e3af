"""The networks that each key is used from, written with the usage log's batches, off the request path.

`keys.alerts` notifies about a key's new network.
"""

import datetime
from collections.abc import Mapping
from typing import Any

from psycopg import Cursor

from keys.alerts import MAX_NETWORKS
from keys.credentials.addresses import network_of

MOST_KNOWN = 20_000  # (key, network) pairs that one process remembers

Sources = Mapping[tuple[int, str], datetime.datetime]  # (key, address): the first call from there
KeyNetworks = dict[tuple[int, str], datetime.datetime]  # (key, network): the first call from there

# PostgreSQL decides which network is a key's first: two processes that write at once wait for each other here.
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


class KnownNetworks:
    """The networks that this process has written. Bounded: above `limit` pairs it forgets all of them and writes
    them to PostgreSQL again."""

    def __init__(self, *, limit: int = MOST_KNOWN) -> None:
        self.limit = limit
        self.pairs: set[tuple[int, str]] = set()

    def select_unknown(self, sources: Sources) -> KeyNetworks:
        unknown: KeyNetworks = {}
        for (key_id, address), at in sources.items():
            pair = key_id, network_of(address)
            if pair[1] and pair not in self.pairs:
                unknown[pair] = min(at, unknown.get(pair, at))
        return unknown

    def add(self, networks: KeyNetworks) -> None:
        """Remember networks whose transaction is committed."""
        if len(self.pairs) + len(networks) > self.limit:
            self.pairs.clear()
        self.pairs.update(networks)


def write(cursor: "Cursor[Any]", networks: KeyNetworks) -> None:
    """Write the networks within the caller's transaction. Every process writes in the same order, so that no two
    wait for each other."""
    if not networks:
        return
    rows: list[dict[str, Any]] = [
        {"key": key_id, "network": network, "at": at, "most": MAX_NETWORKS}
        for (key_id, network), at in sorted(networks.items())
    ]
    earliest = {row["key"]: row for row in sorted(rows, key=lambda row: row["at"], reverse=True)}
    cursor.executemany(ADD_FIRST, [earliest[key_id] for key_id in sorted(earliest)])
    cursor.executemany(ADD, rows)
