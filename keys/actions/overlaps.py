"""How long the old secret still works after a rotation. Pure."""

import datetime
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """`name`: as the API and the command take it. `label`: as a form offers it. `ending`: when the old secret ends."""

    name: str
    length: datetime.timedelta
    label: str
    ending: str


OVERLAPS = {
    overlap.name: overlap
    for overlap in (
        Overlap(
            name="now",
            length=datetime.timedelta(0),
            label="Now: the old secret stops at once",
            ending="at once",
        ),
        *(
            Overlap(name=name, length=length, label=f"In {words}", ending=f"after {words}")
            for name, length, words in (
                ("1h", datetime.timedelta(hours=1), "1 hour"),
                ("24h", datetime.timedelta(hours=24), "24 hours"),
                ("7d", datetime.timedelta(days=7), "7 days"),
                ("30d", datetime.timedelta(days=30), "30 days"),
            )
        ),
    )
}
