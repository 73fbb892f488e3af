"""Artifact paths: the one form in which they pass, and the object to which each belongs. Pure.

MLflow normalises an artifact's path before it uses it: it percent-decodes the path repeatedly, parses it as an address
and strips characters (mlflow/utils/uri.py, `validate_path_is_safe`). A path passes only if none of this would change
it, so that MLflow acts on the same path that the portal checked, and a file comes back under the name that was sent.
"""

import posixpath
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote, urlparse, urlunparse

from keys.refusals import Refusal, forbidden, invalid

UNSAFE = re.compile(r"[\x00-\x1f\x7f\\#]|\?$|^[A-Za-z][A-Za-z0-9+.-]*:")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DECODINGS = 10  # MLflow's own limit
SKILLS = "skills"
WORKSPACES = "workspaces"  # the folder with one folder for each organisation's workspace
# What log_image of MLflow's clients 2.11 to 3.10 names its files. MLflow stores it damaged: `%17` in the timestamp is
# a control character, and the two digits after the last % may be any byte.
STOCK_IMAGE = re.compile(
    r"(?:.*/)?images/[A-Za-z0-9_. -]+%step%-?[0-9]+%timestamp%[0-9]+%"
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:%compressed)?\.(?:png|webp)",
    re.DOTALL,
)
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
    """`path` if MLflow acts on exactly this path, or if MLflow's own client made up the name. Raises Refusal (400)
    otherwise."""
    if (
        UNSAFE.search(path)
        or path != posixpath.normpath(path)  # "" becomes "."
        or path in (".", "..")
        or path.startswith(("/", "../"))
    ):
        raise bad_artifact_path(
            "The artifact path is not plain. It must be relative, without “.”, “..”, “//”, “\\”, “#”, control "
            "characters, a scheme, and without “?” at its end. Rename the file."
        )
    stored = stored_path(path)
    if stored != path and not (STOCK_IMAGE.fullmatch(path) and stays_in_folder(path, stored)):
        raise bad_artifact_path(
            f"MLflow would not store this file under its name, but as “{stored[:300]}”, because it decodes percent "
            "escapes. Rename the file."
        )
    if not all(stays_in_folder(path, decoded) for decoded in decodings(path)):
        raise bad_artifact_path(
            "The artifact path leads to another folder once it is decoded. Rename the file."
        )
    return path


def stored_path(path: str) -> str:
    """The path on which MLflow acts (mlflow/utils/uri.py, `_decode` and `_escape_control_characters`). Raises Refusal
    (400) if MLflow cannot decode it."""
    for _ in range(DECODINGS):
        try:
            decoded = urlunparse(urlparse(unquote(path)))
        except ValueError:
            break
        if decoded == path:
            return CONTROL.sub(lambda match: f"%{ord(match[0]):02x}", path)
        path = decoded
    raise bad_artifact_path("MLflow cannot decode the artifact path. Rename the file.")


def decodings(path: str) -> Iterator[str]:
    """The path decoded once, twice and so on, until it no longer changes: what any store behind MLflow could make of
    it."""
    for _ in range(2 * DECODINGS):
        decoded = unquote(path)
        if decoded == path:
            return
        yield decoded
        path = decoded


def stays_in_folder(path: str, decoded: str) -> bool:
    """Whether the decoded path is in the folder of the path, and belongs to the same object."""
    folder = posixpath.dirname(path)
    return (
        decoded.startswith(f"{folder}/" if folder else "")
        and not decoded.startswith("/")
        and "\\" not in decoded
        and not {".", ".."} & set(decoded.split("/"))
        and holder(decoded)[0] == holder(path)[0]
    )


def bad_artifact_path(message: str) -> Refusal:
    return invalid("bad_artifact_path", message)


def check_workspace(path: str, slug: str) -> None:
    """Raise Refusal (403) for a path in another workspace than `slug`, in any spelling that a store could read so.

    Within a workspace, MLflow reads a path with and without the prefix `workspaces/<slug>/` as the same file.
    """
    for spelling in (path, *decodings(path)):
        segments = plain_segments(spelling)
        if not segments or fold(segments[0]) != WORKSPACES:
            continue
        if segments[0] != WORKSPACES or segments[1:2] != [slug]:
            raise forbidden(
                "other_workspace",
                f"The artifact path is outside of the organisation “{slug}”, in which this call acts. Leave out the "
                f"first folder, or write {WORKSPACES}/{slug}/ in front of the path.",
            )


def plain_segments(path: str) -> list[str]:
    """The segments of a path, without empty ones and dots, as a store that normalises it would read them."""
    segments: list[str] = []
    for segment in re.split(r"[/\\]", path):
        if segment == "..":
            segments[-1:] = []
        elif segment not in ("", "."):
            segments.append(segment)
    return segments


def fold(segment: str) -> str:
    """A segment as a store reads it that knows no upper case, no compatibility forms of characters (such as the long
    s), and no dots and spaces at the end of a name."""
    return unicodedata.normalize("NFKC", segment).casefold().strip(" .")


def in_workspace(path: str) -> str:
    """The path without the prefix of its workspace, "" for the whole folder of one. `check_workspace` has refused any
    other workspace's."""
    first, _, rest = path.partition("/")
    return rest.partition("/")[2] if first == WORKSPACES else path


def holder(path: str) -> tuple[str, str]:
    """(kind, id) of the object to which an artifact path belongs: a run, logged model or trace if the path names one,
    else the experiment in whose folder it is; ("artifact", path) for anything else.

    The first id in the path counts, so that a folder inside an object's tree cannot pass for another object.
    """
    path = in_workspace(path)
    if experiment := EXPERIMENT.match(path):
        for kind, pattern in IN_EXPERIMENT:
            if match := pattern.match(path):
                return kind, match[1]
        return "experiment", experiment[1]
    matches = [
        (match.start(), kind, match[1]) for kind, pattern in IN_FOLDER if (match := pattern.search(path))
    ]
    return min(matches)[1:] if matches else ("artifact", path)


def is_skill_content(path: str) -> bool:
    """Whether the path is in the folder in which MLflow from 3.18 keeps its skills, in any spelling
    (mlflow/store/tracking/skill_registry/artifact_paths.py, `is_skill_upload_namespace`)."""
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    if len(segments) >= 2 and segments[0].lower() == WORKSPACES:
        segments = segments[2:]
    return bool(segments) and segments[0].lower() == SKILLS


def refuse_tree(path: str, act: str) -> None:
    """Raise Refusal (403) for the store's root, and for the folder of a whole organisation or experiment, or above."""
    path = in_workspace(path)
    kind, _ = holder(path) if path else ("artifact", "")
    if kind in ("experiment", "artifact") and path.count("/") < 1:
        raise forbidden(
            "artifact_tree",
            f"No API key may {act} the artifact store's root or the whole folder of an organisation or experiment. "
            "Name the folder of a run or a model in it.",
        )
