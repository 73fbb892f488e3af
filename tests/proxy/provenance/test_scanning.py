"""What a version's files can do when loaded is never rated better than what was examined."""

import io
import json
import tempfile

import pytest

from proxy.models import VersionScan
from proxy.provenance import reading, scanning
from proxy.provenance.scan import ratings
from proxy.provenance.scan.ratings import Found
from tests.proxy.ledger_rows import manifest_of


@pytest.mark.parametrize(
    ("path", "rating"),
    [
        ("MLmodel", "harmless"),
        ("data/model.safetensors", "harmless"),
        ("model.UBJ", "harmless"),
        ("code/model.py", "unusual"),
        ("model.keras", "unusual"),
        ("weights.npy", "unusual"),
        ("weights", "unusual"),
        ("model.safetensors.exe", "unusual"),
    ],
)
def test_files_that_are_not_scanned_are_rated_by_their_format(path, rating):
    assert not ratings.is_pickle(path)
    assert ratings.rate_by_name(path).rating == rating


@pytest.mark.parametrize(
    ("imports", "is_whole", "rating", "shown"),
    [
        ([("sklearn.svm._classes", "SVC", False), ("builtins", "bytearray", False)], True, "harmless", ()),
        ([("sklearn.svm._classes", "SVC", False)], False, "unusual", ()),
        ([], True, "harmless", ()),
        ([("torch", "FloatStorage", False), ("collections", "OrderedDict", False)], True, "harmless", ()),
        ([("numpy._core.multiarray", "scalar", False), ("numpy", "float64", False)], True, "harmless", ()),
        ([("sklearn.tree._tree", "Tree", False), ("pandas", "DataFrame", False)], True, "harmless", ()),
        ([("transformers.training_args", "TrainingArguments", False)], True, "harmless", ()),
        ([("sklearn.datasets", "Bunch", False)], True, "unusual", ("sklearn.datasets.Bunch",)),
        (
            [("torch.storage", "_load_from_bytes", False)],
            True,
            "unusual",
            ("torch.storage._load_from_bytes",),
        ),
        ([("pandas", "read_pickle", False)], True, "dangerous", ("pandas.read_pickle",)),
        ([("joblib", "load", False), ("numpy", "dtype", False)], True, "dangerous", ("joblib.load",)),
        ([("sklearn.base", "os.getcwd", False)], True, "dangerous", ("sklearn.base.os.getcwd",)),
        ([("acme.models", "Own", False)], True, "unusual", ("acme.models.Own",)),
        ([("acme.models", "Own", False)], False, "unusual", ("acme.models.Own",)),
        ([("sklearnx", "SVC", False)], True, "unusual", ("sklearnx.SVC",)),
        ([("builtins", "getattr", False)], True, "unusual", ("builtins.getattr",)),
        ([("posix", "system", True), ("numpy", "dtype", False)], True, "dangerous", ("posix.system",)),
        ([("numpy.testing", "runstring", True)], False, "dangerous", ("numpy.testing.runstring",)),
    ],
)
def test_a_pickle_is_rated_by_what_it_imports_and_how_much_was_examined(imports, is_whole, rating, shown):
    rated = ratings.rate_pickle("m.pkl", Found(imports=imports, is_whole=is_whole))

    assert (rated.rating, rated.imports, rated.is_examined) == (rating, shown, is_whole)


@pytest.mark.parametrize(
    ("path", "kinds", "is_whole", "rating"),
    [
        ("weights.npy", {"arrays"}, True, "harmless"),
        ("weights.h5", {"weights"}, True, "harmless"),
        ("model.h5", {"keras"}, True, "unusual"),
        ("model.h5", {"keras", "lambda"}, True, "dangerous"),
        ("model.keras", {"weights", "other", "lambda"}, True, "dangerous"),
        ("weights.npz", {"arrays", "other"}, True, "unusual"),
        ("weights.npy", {"arrays"}, False, "unusual"),
        ("model.safetensors", {"other"}, True, "harmless"),
        ("weights.bin", {"other"}, True, "unusual"),
        ("model.jit", {"pickle", "torchscript", "other"}, True, "unusual"),
    ],
)
def test_what_holds_no_pickle_is_rated_by_what_it_holds(path, kinds, is_whole, rating):
    rated = ratings.rate_scanned(path, Found(imports=[], is_whole=is_whole, kinds=frozenset(kinds)))

    assert (rated.rating, rated.is_examined) == (rating, is_whole)


@pytest.mark.parametrize(
    "program", ["raise SystemExit(1)", "print('no JSON')", "print([])", "import time; time.sleep(9)"]
)
def test_a_scanner_that_fails_leaves_the_pickle_unexamined(program, tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text(program)
    monkeypatch.setattr(scanning, "WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(scanning, "SECONDS", 0.5 if "sleep" in program else 60)

    with tempfile.TemporaryFile() as content:
        assert "imports" not in scanning.run_worker(content, ".pkl")


@pytest.mark.postgresql
@pytest.mark.django_db
def test_a_version_has_the_worst_rating_of_its_files(key, monkeypatch):
    manifest = manifest_of(key, "vision")
    manifest.files = [{"path": path, "size": 5} for path in ("MLmodel", "evil.pkl", "large.pkl", "gone.pkl")]
    manifest.files[2]["size"] = scanning.MOST_BYTES + 1

    def read_file(registry, path, *, copy_to, most):
        copy_to.write(b"opcodes")
        return None if "gone" in path else reading.Read(size=7, sha256="ab" * 32)

    def run_worker(content: io.BytesIO, suffix: str) -> dict:
        assert (content.read(), suffix) == (b"opcodes", ".pkl")
        return json.loads(
            '{"imports": [["posix", "system", true]], "is_whole": true, "kinds": ["pickle"], "scanner": "s 1"}'
        )

    monkeypatch.setattr(reading, "read_file", read_file)
    monkeypatch.setattr(scanning, "run_worker", run_worker)

    scanning.scan(manifest, registry=None)

    scan = VersionScan.objects.get()
    assert (scan.rating, scan.scanner) == ("dangerous", "s 1")
    rated = {file["path"]: file["rating"] for file in scan.files}
    assert rated == {
        "MLmodel": "harmless",
        "evil.pkl": "dangerous",
        "large.pkl": "unusual",
        "gone.pkl": "unusual",
    }
