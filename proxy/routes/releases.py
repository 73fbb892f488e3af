"""The releases of MLflow's server with which the table was compared, and what follows for a server. Pure.

`manage.py mlflow_table` compares the table with the release that is installed.
"""

import re
from dataclasses import dataclass

# Oldest first. The rows of `proxy.routes.served` and `proxy.routes.refused` state from which of these a route exists.
TESTED = ("2.22", "3.1", "3.10", "3.14", "3.17", "3.18")
VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})[0-9A-Za-z.+-]{0,40}")
# What servers lack that clients use, by the release that introduced it.
FEATURES = (
    ("2.3", "aliases of model versions"),
    ("2.14", "traces"),
    ("3.0", "logged models, and with them log_model of clients from 3.0"),
    ("3.10", "workspaces, and so organisations"),
)

Numbers = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Release:
    """The release of a server: `text` as the server writes it, such as 3.17.2, and its first two numbers."""

    text: str
    numbers: Numbers

    @property
    def is_tested(self) -> bool:
        return self.numbers in map(numbers_of, TESTED)

    @property
    def is_supported(self) -> bool:
        return self.numbers >= numbers_of(TESTED[0])

    @property
    def is_newer(self) -> bool:
        """Whether it is newer than all tested releases, so that nobody knows which routes it adds."""
        return self.numbers > numbers_of(TESTED[-1])

    def has(self, *, since: str, until: str = "") -> bool | None:
        """Whether the release has a route with these bounds; None if it lies between two tested releases of which
        only one has it."""
        at = self.numbers
        if until and at > numbers_of(until):
            newer = [release for release in TESTED if numbers_of(release) > numbers_of(until)]
            return None if newer and at < numbers_of(newer[0]) else False
        if not since or at >= numbers_of(since):
            return True
        before = TESTED[TESTED.index(since) - 1]
        return None if at > numbers_of(before) else False


def parse(text: str) -> Release | None:
    """The release in the text of MLflow's `/version`; None if it is none."""
    found = VERSION.fullmatch(text.strip())
    return Release(text=found[0], numbers=(int(found[1]), int(found[2]))) if found else None


def numbers_of(release: str) -> Numbers:
    major, _, minor = release.partition(".")
    return int(major), int(minor)


def missing_features(release: Release) -> list[str]:
    """What a server of this release lacks of the features that clients use."""
    return [feature for since, feature in FEATURES if release.numbers < numbers_of(since)]


def describe_routes(release: Release) -> str:
    """Which routes of a server of this release the portal does not know, in words."""
    if release.is_tested:
        return "none"
    if release.is_newer:
        return f"those added after {TESTED[-1]}; the portal refuses them"
    if not release.is_supported:
        return f"those removed before {TESTED[0]}; the portal refuses them"
    return "none, but it may lack some that the portal forwards"


def describe_release(release: Release) -> str:
    """A sentence about a server of this release for its operator; "" if it is one of the tested releases."""
    tested = f"{', '.join(TESTED[:-1])} and {TESTED[-1]}"
    if release.is_tested:
        return ""
    sentence = f"MLflow {release.text} has not been tested with this portal ({tested} have)."
    if release.is_newer:
        return f"{sentence} The portal refuses its new routes, and its new fields pass unchecked."
    if release.is_supported:
        return sentence
    missing = "; ".join(missing_features(release))
    return f"{sentence} It is older than the supported releases. What does not work: {missing}."
