"""What a file consists of, by its content, and what its pickles import: also in zip files, compressed, or in arrays of
NumPy's. Nothing is loaded. Pure.
"""

import ast
import bz2
import io
import lzma
import pickletools
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from proxy.provenance.scan import opcodes

HEAD = 64 * 1024  # bytes from which a file's format can be told
MOST = 512 * 2**20  # bytes, also after decompression
MOST_CONFIG = 64 * 2**20
MOST_MEMBERS = 20_000  # of a zip file
DEEPEST = 3  # a pickle in a zip file in a compressed file
LONGEST_HEADER = 10_000  # of an array, NumPy's own limit
STEP = 1024 * 1024
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
NUMPY = b"\x93NUMPY"
HDF5 = b"\x89HDF\r\n\x1a\n"
CLOSED = (
    b"\x04\x22\x4d\x18",
    b"7z\xbc\xaf\x27\x1c",
    b"\x28\xb5\x2f\xfd",
)  # LZ4, 7z, Zstandard: not opened here
COMPRESSED: dict[bytes, Callable[[], Any]] = {
    b"x\x01": zlib.decompressobj,
    b"x\x5e": zlib.decompressobj,
    b"x\x9c": zlib.decompressobj,
    b"x\xda": zlib.decompressobj,
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"\x5d\x00\x00": lzma.LZMADecompressor,
}
PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(6))
PICKLE, ARRAYS, WEIGHTS, OTHER = "pickle", "arrays", "weights", "other"
TORCHSCRIPT, KERAS, LAMBDA = "torchscript", "keras", "lambda"
CALLS = frozenset({"REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "BUILD"})
STORAGE = re.compile(r"([^/]+)/(?:data|constants|tensors)/\d+")  # raw bytes of a tensor in torch's zip files
SUFFIXES = frozenset({".pkl", ".pickle", ".joblib"})  # of members of a zip file that are examined in any case


@dataclass
class Findings:
    """`kinds`: what was found. `is_whole`: everything that can be a pickle was followed to its end."""

    imports: set[opcodes.Origin] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    is_whole: bool = True
    left: int = MOST  # bytes that may be read from here on

    def take(self, size: int) -> None:
        """Raises ValueError if there is too much."""
        self.left -= size
        if self.left < 0:
            raise ValueError("it is too large")


def needs_examination(head: bytes) -> bool:
    """Whether a file that begins with these bytes, up to HEAD of them, may hold a pickle or a model of Keras', whatever
    its name is."""
    return head.startswith((*PROTOCOLS, *ZIP, NUMPY, HDF5, *CLOSED, *COMPRESSED)) or has_call(head)


def has_call(head: bytes) -> bool:
    """Whether the bytes are opcodes that import something and call it, or opcodes up to their end. Pickles of the first
    protocols begin like text."""
    has_import, source = False, io.BytesIO(head)
    try:
        for opcode, argument, _ in pickletools.genops(source):
            if opcode.name in ("GLOBAL", "INST"):
                if not all(part.isidentifier() for part in str(argument).replace(" ", ".").split(".")):
                    return False  # text: nothing has such a name
                has_import = True
            has_import |= opcode.name == "STACK_GLOBAL"
            if has_import and (opcode.name in CALLS or opcode.name == "INST"):
                return True
    except (ValueError, IndexError, OverflowError):
        return len(head) >= HEAD and not source.read(1)
    return False


def examine(content: BinaryIO, findings: Findings, *, depth: int = 0) -> None:
    """Add what the content consists of to the findings. Raises ValueError if it is too large."""
    content.seek(0)
    head = content.read(HEAD)
    if depth > DEEPEST or head.startswith(CLOSED):
        findings.is_whole = False
    elif head.startswith(ZIP):
        examine_zip(content, findings, depth)
    elif head.startswith(NUMPY):
        examine_array(content, findings)
    elif head.startswith(HDF5):
        content.seek(0)
        examine_hdf5(content.read(), findings)
    elif (plain := decompress(content, head, findings)) is not None:
        examine(io.BytesIO(plain), findings, depth=depth + 1)
    else:
        examine_pickles(content, findings, head)


def examine_pickles(content: BinaryIO, findings: Findings, head: bytes, *, start: int = 0) -> None:
    errors: list[Exception] = []
    before = len(findings.imports)
    complete = opcodes.walk(content, findings.imports, on_error=errors.append, start=start)
    if complete or len(findings.imports) > before or head.startswith(PROTOCOLS):
        findings.kinds.add(PICKLE)
        findings.is_whole = findings.is_whole and not errors
    else:
        findings.kinds.add(OTHER)


def examine_zip(content: BinaryIO, findings: Findings, depth: int) -> None:
    try:
        with zipfile.ZipFile(content) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            names = {member.filename for member in members}
            findings.is_whole = findings.is_whole and len(members) <= MOST_MEMBERS
            if any("/code/" in name and name.endswith(".py") for name in names):
                findings.kinds.add(TORCHSCRIPT)
            for member in members[:MOST_MEMBERS]:
                storage = STORAGE.fullmatch(member.filename)
                if not (storage and f"{storage[1]}/data.pkl" in names):
                    examine_member(archive, member, findings, depth)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, zlib.error):
        findings.is_whole = False


def examine_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, findings: Findings, depth: int) -> None:
    with archive.open(member) as opened:
        head = opened.read(HEAD)
        is_named = PurePosixPath(member.filename).suffix.lower() in SUFFIXES
        if not (is_named or needs_examination(head)):
            findings.kinds.add(OTHER)
            if member.filename == "config.json":  # of Keras 3
                find_lambda(head + opened.read(MOST_CONFIG), findings)
            return
        whole = head + opened.read(findings.left + 1)
    findings.take(len(whole))
    examine(io.BytesIO(whole), findings, depth=depth + 1)


def examine_hdf5(content: bytes, findings: Findings) -> None:
    """Keras can only make a model of a file that has its configuration, as JSON."""
    findings.kinds.add(KERAS if b"model_config" in content else WEIGHTS)
    find_lambda(content, findings)


def find_lambda(content: bytes, findings: Findings) -> None:
    """A layer of this class holds the code of a Python function."""
    if b'"Lambda"' in content:
        findings.kinds.add(LAMBDA)


def examine_array(content: BinaryIO, findings: Findings) -> None:
    """An array of NumPy's: an array of objects is a pickle behind a header."""
    content.seek(len(NUMPY))
    major = content.read(2)[:1]
    length = int.from_bytes(content.read(2 if major == b"\1" else 4), "little")
    try:
        if length > LONGEST_HEADER:
            raise ValueError("the header is too long")
        header = ast.literal_eval(content.read(length).decode("latin1").strip())
        has_objects = "O" in str(header["descr"])
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        findings.is_whole = False
        return
    if has_objects:
        examine_pickles(content, findings, PROTOCOLS[0], start=content.tell())
    else:
        findings.kinds.add(ARRAYS)


def decompress(content: BinaryIO, head: bytes, findings: Findings) -> bytes | None:
    """The decompressed content; None if it is not compressed. Raises ValueError if it is too large."""
    make = next((make for magic, make in COMPRESSED.items() if head.startswith(magic)), None)
    if make is None:
        return None
    decompressor, whole = make(), bytearray()
    content.seek(len(head))
    piece = head
    try:
        while piece and not decompressor.eof:
            plain = decompressor.decompress(piece, findings.left + 1)
            findings.take(len(plain))
            whole += plain
            piece = getattr(decompressor, "unconsumed_tail", b"") or content.read(STEP)
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        if not whole:
            return None  # it only begins like that
        findings.is_whole = False
    return bytes(whole)
