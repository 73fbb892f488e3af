"""10,000 generated artifact paths through the portal to a real MLflow: `make store-paths`.

Two organisations have a run with files, which contain the organisation's marker. One of them reads, lists and writes
paths that are made from both organisations' folders, with prefixes, dots, cases and encodings. None may reach the
other's file, with each release of SERVERS, and with files on disk and in an S3 stand-in (STORES). Each path that the
portal refuses is also sent to MLflow itself, in the caller's own workspace. If MLflow serves a file of the caller's
own, the portal must serve this file under the name that MLflow lists, which is the spelling that clients send:
otherwise the refusal was without need. A backslash separates folders for some stores and clients: the portal takes no
such name. PATHS=… is the number of paths, SEED=… makes the same ones again. The exit status is 1 if
the other's marker came back, its file changed, or a path was refused without need.
"""

import json
import os
import random
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

from tests.field.servers import Server
from tests.field.sides import ARTIFACTS, Side, ask, call, make_side
from tests.field.stores import SERVERS, STORES, FieldWithStore, mlflow_for

PATHS = int(os.environ.get("PATHS", "10000"))
SEED = int(os.environ.get("SEED", "16"))
NAMES = (
    *(
        "x.txt",
        "workspaces/x.txt",
        "a b.txt",
        "\u00fc.txt",
        "x;y=1.txt",
        "x+y~z.txt",
        "X.TXT",
        ".hidden",
        "..x",
    ),
    *(
        "x..y",
        "x:y.txt",
        "100%.txt",
        "A.txt",
        "x?y.txt",
        "x#y.txt",
        "x\\y.txt",
        "x&y@z.txt",
        "(x),[y]!$'.txt",
    ),
)


def generate(choose: random.Random, ours: Side, theirs: Side, names: list[str]) -> str:
    """A path as it is written into a request, most often of a file that exists."""
    target = choose.choice([ours, theirs, theirs])
    prefixes = [
        [],
        ["workspaces", target.slug],
        ["workspaces", ours.slug],
        ["workspaces", ours.slug, "..", theirs.slug],
    ]
    prefixes += [["workspaces"], ["Workspaces", theirs.slug], ["x", "..", "workspaces", theirs.slug]]
    name = choose.choice(names) if target is ours else "x.txt"
    segments = [*choose.choice(prefixes), *target.folder.split("/"), *quote(name).split("/")]
    for _ in range(choose.choice([0, 0, 0, 1, 2])):
        at = choose.randrange(len(segments) + 1)
        segments.insert(
            at, choose.choice([".", "..", "", "workspaces", ours.slug, theirs.slug, "default", "x"])
        )
    written = [write(choose, segment) for segment in segments[choose.choice([0, 0, 0, 1]) :]]
    path = choose.choice([*["/"] * 30, "%2F", "%2f", "%252F", "\\", "%5C", "//"]).join(written)
    return choose.choice([*[""] * 20, "/", "%2F", "./", "../", "%2e%2e/"]) + path


def write(choose: random.Random, segment: str) -> str:
    match choose.randrange(40):
        case 0:
            return segment.upper()
        case 1:
            return "".join(f"%{byte:02x}" for byte in segment.encode())
        case 2:
            return quote("".join(f"%{byte:02X}" for byte in segment.encode()))
        case 3 if segment:
            return f"%{ord(segment[0]):02X}{segment[1:]}"
        case 4:
            return segment + choose.choice(
                [";", "%3B", "%20", ".", "%00", "%0a", "#", "%23", "?", "%3F", "%C5%BF"]
            )
        case _:
            return segment


def examine(server: Server, ours: Side, theirs: Side) -> tuple[Counter[str], list[str], list[str]]:
    """The counts of a run over PATHS paths, those that reached the other's file, and those refused without need."""
    choose, counts = random.Random(SEED), Counter[str]()
    reached, needless = list[str](), list[str]()
    files = own_files(server, ours)
    for number in range(PATHS):
        path = generate(choose, ours, theirs, list(files.values()))
        method, target = "GET", f"{ARTIFACTS}/{path}"
        if number % 5 == 1:
            target = f"{ARTIFACTS}?path={path.rpartition('/')[0]}"
        elif number % 5 == 2:
            method = choose.choice(["PUT", "DELETE"])
        status, answer = call(server, ours, method, target, b"overwritten" if method == "PUT" else None)
        counts[f"{method} {status}"] += 1
        if theirs.marker.encode() in answer:
            reached.append(f"{method} {target}")
        if method != "GET" and status == 200:
            files = own_files(server, ours)
        if method == "GET" and status in (400, 403):
            served = direct(server, ours, "GET", target)[1]
            if served in files:
                counts[f"refused in a spelling that MLflow serves to its owner: {reason_of(answer)}"] += 1
                plain = f"{ARTIFACTS}/{ours.folder}/{quote(files[served])}"
                if "\\" in files[served]:
                    counts[
                        "of these, a file with a backslash in its name, which the portal does not take"
                    ] += 1
                elif call(server, ours, "GET", plain)[1] != served:
                    needless.append(f"GET {target}: {reason_of(answer)}")
    return counts, reached, needless


def own_files(server: Server, side: Side) -> dict[bytes, str]:
    """Files with every name of NAMES that MLflow stores: the name that MLflow lists, by content. What the portal does
    not take is written around it."""
    for number, name in enumerate(NAMES):
        target, content = f"{ARTIFACTS}/{side.folder}/{quote(name)}", f"{side.marker}, file {number}".encode()
        if call(server, side, "PUT", target, content)[0] != 200:
            direct(server, side, "PUT", target, content)
    found = {}
    for folder in ("", "workspaces/"):
        listed = direct(server, side, "GET", f"{ARTIFACTS}?path={side.folder}/{folder}".rstrip("/"))[1]
        for each in json.loads(listed)["files"]:
            name = folder + each["path"].rpartition("/")[2]
            found[direct(server, side, "GET", f"{ARTIFACTS}/{side.folder}/{quote(name)}")[1]] = name
    return {content: name for content, name in found.items() if content.startswith(side.marker.encode())}


def direct(
    server: Server, side: Side, method: str, target: str, body: bytes | None = None
) -> tuple[int, bytes]:
    """A request to MLflow itself, in the workspace of this side."""
    return ask(server.mlflow_url, method, target, body, **{"X-MLFLOW-WORKSPACE": side.slug})


def reason_of(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])[:60]
    except (ValueError, KeyError):
        return "?"


def main() -> int:
    failed = False
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        field = stack.enter_context(FieldWithStore(folder))
        for release in SERVERS:
            installed = mlflow_for(release)
            for field.place in STORES:
                with field.server(f"server-{release}-{field.place}", installed) as server:
                    print(
                        f"\nMLflow {release}, files in {field.place}: {PATHS} paths, seed {SEED}", flush=True
                    )
                    failed = is_wrong(server) or failed
    return int(failed)


def is_wrong(server: Server) -> bool:
    ours, theirs = make_side(server, "ours"), make_side(server, "theirs")
    counts, reached, needless = examine(server, ours, theirs)
    found = call(server, theirs, "GET", f"{ARTIFACTS}/{theirs.folder}/x.txt")
    is_kept = found == (200, theirs.marker.encode())
    print(
        f"the other's file was reached {len(reached)} times, and is {'as it was' if is_kept else 'CHANGED'}"
    )
    for what, count in counts.most_common():
        print(f"{count:7} {what}")
    print(f"{len(needless)} refused without need")
    print(*reached[:20], *needless[:20], sep="\n", flush=True)
    return bool(reached or needless) or not is_kept


if __name__ == "__main__":
    sys.exit(main())
