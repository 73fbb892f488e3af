"""No key of the whole test run stands in what it left: logs, databases, spools, files of any kind."""

import base64
import binascii
import mmap
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from keys.credentials import tokens

KEY = re.compile(tokens.KEY_PATTERN.pattern.encode())
BASIC = re.compile(rb"(?i)basic +([0-9a-z+/]{24,200}={0,2})")
SCHEME = b"basic "
PIECE = 2**20  # bytes


def keys_left_in(folder: Path, *, besides: Collection[Path] = ()) -> list[str]:
    """`file: hk_live_ab12…` for each key, told by its checksum, in a file below the folder; `besides` are folders
    in it that have been searched."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and not any(path.is_relative_to(done) for done in besides)
    ]
    return [f"{path.relative_to(folder)}: {prefix}…" for path in files for prefix in sorted(keys_in(path))]


def keys_in(path: Path) -> set[str]:
    """The first characters of the file's keys, also of those in Basic credentials."""
    try:
        if not path.stat().st_size:
            return set()
        file = path.open("rb")
    except FileNotFoundError:  # a server that ends takes its files along
        return set()
    with file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = set(whole_keys(content))
        for match in basic_credentials(content):
            try:
                found |= set(whole_keys(base64.b64decode(match[1])))
            except binascii.Error:
                continue
    return found


def whole_keys(content: bytes | mmap.mmap) -> Iterator[str]:
    for match in KEY.finditer(content):
        try:
            yield tokens.parse(match[0].decode()).prefix
        except tokens.InvalidToken:
            continue


def basic_credentials(content: mmap.mmap) -> Iterator[re.Match[bytes]]:
    """The matches of BASIC. `find` in lower case is five times as fast as the pattern, which ignores case: the
    files of a run have gigabytes."""
    for start in range(0, len(content), PIECE):
        piece = content[start : start + PIECE + len(SCHEME) - 1].lower()
        place = piece.find(SCHEME)
        while place >= 0:
            if match := BASIC.match(content, start + place):
                yield match
            place = piece.find(SCHEME, place + 1)
