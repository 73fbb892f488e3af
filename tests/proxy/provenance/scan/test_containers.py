"""What pickles import is found in every container, without loading them, and a file that was not followed to its end is
never called whole."""

import bz2
import collections
import gzip
import io
import json
import lzma
import os
import pickle
import zipfile
import zlib

import joblib
import numpy
import pytest

from proxy.provenance.scan import containers, opcodes
from proxy.provenance.scan.containers import Findings

CWD = (os.getcwd.__module__, "getcwd")


class Runs:
    """Runs something harmless when it is loaded."""

    def __reduce__(self):
        return os.getcwd, ()


def examine(content: bytes) -> Findings:
    findings = Findings()
    containers.examine(io.BytesIO(content), findings)
    return findings


def joblib_file(value: object, compress: object = 0) -> bytes:
    stream = io.BytesIO()
    joblib.dump(value, stream, compress=compress)
    return stream.getvalue()


def array_file(array: numpy.ndarray) -> bytes:
    stream = io.BytesIO()
    numpy.save(stream, array)
    return stream.getvalue()


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def legacy_torch(value: object) -> bytes:
    parts = [opcodes.TORCH_MAGIC, 1001, {"little_endian": True}, value, ["0"]]
    return b"".join(pickle.dumps(part, 2) for part in parts) + b"\xff" * 64


HDF5 = containers.HDF5
EVIL = pickle.dumps(Runs())
ARRAYS = {
    "float": numpy.ones((3, 5)),
    "text": numpy.array(["a", "längere"]),
    "structured": numpy.zeros(4, dtype=[("a", "<i4"), ("b", "f8")]),
    "object": numpy.array([Runs(), None], dtype=object),
    "after": [numpy.ones(7, dtype="i2"), Runs()],
}


def by_length(value):
    """The name of a file's case. Its bytes are no name: archives contain the time at which they were made."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else None


@pytest.mark.parametrize(
    ("content", "runs"),
    [
        *((pickle.dumps(Runs(), protocol), True) for protocol in range(6)),
        *((pickle.dumps({"a": [1, None]}, protocol), False) for protocol in range(6)),
        (pickle.dumps(collections.OrderedDict(a=1)) + EVIL, True),
        *((squeeze(EVIL), True) for squeeze in (zlib.compress, gzip.compress, bz2.compress, lzma.compress)),
        *((joblib_file(ARRAYS[name]), name in ("object", "after")) for name in ARRAYS),
        (joblib_file(ARRAYS["after"], compress=3), True),
        (array_file(ARRAYS["object"]), True),
        (legacy_torch(Runs()), True),
        (legacy_torch([1.5]), False),
        (zipped(m__data_pkl=b"1", notes=b"text", **{"m/data.pkl": EVIL, "m/data/0": b"\x80\x02raw"}), True),
        (zipped(hidden=EVIL), True),
        (gzip.compress(zipped(inner=EVIL)), True),
    ],
    ids=by_length,
)
def test_imports_are_found_in_every_container(content, runs):
    found = examine(content)

    assert (CWD in found.imports, found.is_whole) == (runs, True)


@pytest.mark.parametrize("runs", [False, True])
def test_the_arrays_of_a_fitted_model_are_followed(runs):
    from sklearn.linear_model import LogisticRegression  # here: all processes of a run read this file

    fitted = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    found = examine(joblib_file({"model": fitted, "then": ARRAYS["after"]} if runs else fitted))

    assert (CWD in found.imports, found.is_whole) == (runs, True)
    assert containers.PICKLE in found.kinds


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(ARRAYS["after"])[:-3],
        joblib_file(ARRAYS["float"])[:-20],
        gzip.compress(EVIL * 50)[:-20],
        b"\x04\x22\x4d\x18" + bytes(40),  # LZ4, which joblib writes too
        b"\x80\x04no opcodes",
        zipped(a=b"1")[:-9],
        zlib.compress(zlib.compress(zlib.compress(zlib.compress(zlib.compress(EVIL))))),
        b"\x93NUMPY\x01\x00\x05\x00{'a':" + bytes(9),
    ],
    ids=by_length,
)
def test_what_was_not_followed_to_its_end_is_not_whole(content):
    assert not examine(content).is_whole


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        (array_file(ARRAYS["structured"]), {"arrays"}),
        (zipped(a_npy=array_file(ARRAYS["float"])), {"arrays"}),
        (zipped(config=b"{}"), {"other"}),
        (zipped(m__code__m_py=b"", **{"m/code/x.py": b"", "m/data.pkl": pickle.dumps(1)}), None),
        (HDF5 + bytes(64), {"weights"}),
        (HDF5 + b'model_config\0{"class_name": "Dense"}', {"keras"}),
        (HDF5 + b'model_config\0{"class_name": "Lambda"}', {"keras", "lambda"}),
        (
            zipped(**{"config.json": b'{"class_name": "Lambda"}', "w.h5": HDF5}),
            {"other", "weights", "lambda"},
        ),
        (b"", {"other"}),
    ],
    ids=by_length,
)
def test_files_without_pickles_are_told_apart(content, kinds):
    found = examine(content)

    assert (found.imports, found.is_whole) == (set(), True)
    assert found.kinds == (kinds or {"pickle", "torchscript", "other"})


def test_what_grows_beyond_the_limit_is_refused():
    bomb = zlib.compress(bytes(10_000_000))
    findings = Findings(left=1_000_000)

    with pytest.raises(ValueError, match="too large"):
        containers.examine(io.BytesIO(bomb), findings)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        *((pickle.dumps(Runs(), protocol), True) for protocol in range(6)),
        (zipped(a=b""), True),
        (gzip.compress(b"text"), True),
        (array_file(ARRAYS["float"]), True),
        (pickle.dumps("x" * containers.HEAD, 0), True),  # what follows is not in the head
        (b"name: model\nchannels:\n- conda-forge\n", False),
        (b"cloudpickle\nnumpy==2.4\nscikit-learn\nRequests\n", False),
        (b"column_a,column_b\n1,2\n" * 9000, False),
        (json.dumps({"a": [1] * 90_000}).encode(), False),
        (b"# Model card\n\nA model.\n", False),
        ((8).to_bytes(8, "little") + b'{"a":{}}', False),
        (b"\x08\x08\x12\x07pytorch", False),
        (b"", False),
    ],
    ids=by_length,
)
def test_a_file_is_examined_whatever_its_name_if_it_begins_like_one_that_can_hold_a_pickle(head, expected):
    assert containers.needs_examination(head[: containers.HEAD]) == expected
