"""Artifact paths: the one form in which they pass, and the object to which each belongs. Pure.

MLflow normalises an artifact's path before it uses it: it percent-decodes the path repeatedly, parses it as an address
and strips characters (mlflow/utils/uri.py, `validate_path_is_safe`). A path passes only if none of this would change
it, so that MLflow acts on the same path that the portal checked.
"""

import posixpath
import re

from keys.refusals import forbidden, invalid

UNSAFE = re.compile(r"[\x00-\x1f\x7f\\;#]|\?$|%[0-9A-Fa-f]{2}|^[A-Za-z][A-Za-z0-9+.-]*:")
EXPERIMENT = re.compile(r"(0|[1-9][0-9]*)(?:/|$)")
# Below an experiment's own folder, an id counts only at its fixed position; below a folder that was set as an
# experiment's artifact_location, it counts at its first occurrence.
TIERS = (
    ("run", r"([0-9a-f]{32})/artifacts(?:/|$)"),
    ("logged_model", r"models/(m-[0-9a-f]{32})/artifacts(?:/|$)"),
    ("trace", r"traces/([^/]+)/artifacts(?:/|$)"),
)
IN_EXPERIMENT = tuple((kind, re.compile(rf"[0-9]+/{tier}")) for kind, tier in TIERS)
IN_FOLDER = tuple((kind, re.compile(rf"/{tier}")) for kind, tier in TIERS)


def canonical(path: str) -> str:
    """`path` if every program reads it the same way. Raises Refusal (400) otherwise."""
    if (
        UNSAFE.search(path)
        or path != path.strip()
        or path != posixpath.normpath(path)  # "" becomes "."
        or path in (".", "..")
        or path.startswith(("/", "../"))
    ):
        raise invalid(
            "bad_artifact_path",
            "The artifact path is not plain. It must be relative, without “.”, “..”, “//”, “\\”, “#”, “;”, control "
            "characters, percent escapes, a scheme, and without blanks or “?” at its ends. Rename the file.",
        )
    return path


def holder(path: str) -> tuple[str, str]:
    """(kind, id) of the object to which an artifact path belongs: a run, logged model or trace if the path names one,
    else the experiment in whose folder it is; ("artifact", path) for anything else.

    The first id in the path counts, so that a folder inside an object's tree cannot pass for another object.
    """
    if experiment := EXPERIMENT.match(path):
        for kind, pattern in IN_EXPERIMENT:
            if match := pattern.match(path):
                return kind, match[1]
        return "experiment", experiment[1]
    matches = [
        (match.start(), kind, match[1]) for kind, pattern in IN_FOLDER if (match := pattern.search(path))
    ]
    return min(matches)[1:] if matches else ("artifact", path)


def refuse_tree(path: str, act: str) -> None:
    """Raise Refusal (403) for the store's root and for the folder of a whole experiment, or above."""
    kind, _ = holder(path) if path else ("artifact", "")
    if kind in ("experiment", "artifact") and path.count("/") < 1:
        raise forbidden(
            "artifact_tree",
            f"No API key may {act} the artifact store's root or a whole experiment's folder. "
            "Name the folder of a run or a model in it.",
        )
