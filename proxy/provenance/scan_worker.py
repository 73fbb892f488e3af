"""Lists what a pickle on standard input imports, as JSON. A program of its own: `proxy.provenance.scanning` runs it.

It limits its own processor time, memory, files and processes, and becomes `nobody` if it is root, before it reads the
first byte. It never loads the pickle: `picklescan` reads the opcodes.
"""

import bz2
import codecs
import io
import json
import lzma
import os
import resource
import sys
import zlib
from collections.abc import Callable
from typing import BinaryIO

SECONDS, MEMORY = 60, 2 * 2**30
MOST = 512 * 2**20  # bytes after decompression
MOST_IMPORTS = 1000
NOBODY = 65534
STEP = 1024 * 1024
MAGICS: dict[bytes, Callable[[], object]] = {
    b"x\x01": zlib.decompressobj,
    b"x\x5e": zlib.decompressobj,
    b"x\x9c": zlib.decompressobj,
    b"x\xda": zlib.decompressobj,
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"\x5d\x00\x00": lzma.LZMADecompressor,
}


def give_up_rights() -> None:
    for kind, limit in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 8),
    ):
        resource.setrlimit(kind, (limit, limit))
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def read() -> bytes:
    """The input, decompressed if joblib compressed it. Raises ValueError if it is too large."""
    source = sys.stdin.buffer
    head = source.read(STEP)
    make = next((make for magic, make in MAGICS.items() if head.startswith(magic)), None)
    content = decompress(make(), head, source) if make else head + source.read(MOST + 1 - len(head))
    if len(content) > MOST:
        raise ValueError("it is too large")
    return content


def decompress(decompressor: object, head: bytes, source: BinaryIO) -> bytes:
    whole, piece = bytearray(), head
    while piece and len(whole) <= MOST:
        whole += decompressor.decompress(piece, MOST + 1 - len(whole))  # type: ignore[attr-defined]
        piece = getattr(decompressor, "unconsumed_tail", b"") or source.read(STEP)
        if getattr(decompressor, "eof", False):
            break
    return bytes(whole)


def main() -> None:
    from importlib.metadata import version

    from picklescan import scanner

    codecs.lookup("cp437")  # of zip files: it cannot be loaded later
    name, suffix = f"picklescan {version('picklescan')}", sys.argv[1]
    give_up_rights()
    try:
        content = read()
        result = scanner.scan_bytes(io.BytesIO(content), "file", suffix)
    except (MemoryError, ValueError, OSError, EOFError, LookupError, zlib.error, lzma.LZMAError) as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"[:200]}))  # noqa: T201
        return
    imports = [
        [found.module[:200], found.name[:200], found.safety == scanner.SafetyLevel.Dangerous]
        for found in result.globals
    ]
    # The dangerous ones come first, in case there are too many.
    imports.sort(key=lambda found: not found[2])
    is_whole = not result.scan_err and result.scanned_files > 0 and len(imports) <= MOST_IMPORTS
    print(json.dumps({"imports": imports[:MOST_IMPORTS], "is_whole": is_whole, "scanner": name}))  # noqa: T201


if __name__ == "__main__":
    main()
