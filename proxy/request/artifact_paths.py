"""Artifact paths: in one form only, and whose they are. Pure.

MLflow percent-decodes an artifact's path up to ten more times, strips blanks, drops a trailing `?` and takes
`file:` addresses (mlflow/utils/uri.py, `validate_path_is_safe`); deleting `%20` wipes the whole store. So a
path passes only if nothing of this would change it.
"""

import posixpath
import re

from keys.refusals import forbidden, invalid

UNSAFE = re.compile(r"[\x00-\x1f\x7f\\;#]|\?$|%[0-9A-Fa-f]{2}|^[A-Za-z][A-Za-z0-9+.-]*:")
EXPERIMENT = re.compile(r"(0|[1-9][0-9]*)(?:/|$)")
# Below an experiment's own folder an id counts only in its place; below a folder that an experiment was given
# (artifact_location), wherever it first stands.
TIERS = (
    ("run", r"([0-9a-f]{32})/artifacts(?:/|$)"),
    ("logged_model", r"models/(m-[0-9a-f]{32})/artifacts(?:/|$)"),
    ("trace", r"traces/([^/]+)/artifacts(?:/|$)"),
)
IN_EXPERIMENT = tuple((kind, re.compile(rf"[0-9]+/{tier}")) for kind, tier in TIERS)
IN_FOLDER = tuple((kind, re.compile(rf"/{tier}")) for kind, tier in TIERS)


def canonical(path: str) -> str:
    """`path` if it means the same to everybody. Raises Refusal (400) otherwise."""
    if (
        UNSAFE.search(path)
        or path != path.strip()
        or path != posixpath.normpath(path)  # "" becomes "."
        or path in (".", "..")
        or path.startswith(("/", "../"))
    ):
        raise invalid(
            "bad_artifact_path",
            "The artifact path is not in its plain form: relative, without “.”, “..”, “//”, “\\”, “#”, “;”, "
            "control characters, percent escapes, a scheme, and blanks or “?” at its ends. Rename the file.",
        )
    return path


def holder(path: str) -> tuple[str, str]:
    """(kind, id) of what an artifact path lies in: a run, logged model or trace if it names one, else the
    experiment whose folder it is; ("artifact", path) for anything else.

    The first id on the way down counts, so that nobody reaches a tree through one inside it.
    """
    if experiment := EXPERIMENT.match(path):
        for kind, pattern in IN_EXPERIMENT:
            if found := pattern.match(path):
                return kind, found[1]
        return "experiment", experiment[1]
    first = [
        (found.start(), kind, found[1]) for kind, pattern in IN_FOLDER if (found := pattern.search(path))
    ]
    return min(first)[1:] if first else ("artifact", path)


def refuse_tree(path: str, act: str) -> None:
    """Raise Refusal (403) for the store's root and for the folder of a whole experiment, or above."""
    kind, _ = holder(path) if path else ("artifact", "")
    if kind in ("experiment", "artifact") and path.count("/") < 1:
        raise forbidden(
            "artifact_tree",
            f"To {act} the artifact store's root or a whole experiment's folder is closed to every API key. "
            "Name a run's or a model's folder in it.",
        )
