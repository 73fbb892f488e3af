"""What a version's files can do when they are loaded: their formats, and the rating of what a pickle imports. Pure.

A pickle can call whatever it imports. `picklescan` finds the imports without loading the pickle. A file counts as
harmless only if its format holds no code, or it was examined to its end and imports only what models need.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

HARMLESS, UNUSUAL, DANGEROUS = "harmless", "unusual", "dangerous"
RATINGS = (HARMLESS, UNUSUAL, DANGEROUS)  # from the best to the worst

DATA = frozenset(
    {
        *(".safetensors", ".gguf", ".onnx", ".ubj", ".parquet", ".arrow", ".csv", ".tsv", ".json", ".jsonl"),
        *(".yaml", ".yml", ".toml", ".txt", ".md", ".png", ".jpg", ".jpeg", ".cbm", ".skops"),
    }
)
DATA_NAMES = frozenset({"MLmodel", "LICENSE", ".gitattributes"})
PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".dat", ".data", ".pt", ".pth", ".bin", ".ckpt", ".mar"})
CODE = {
    ".py": "Python code",
    ".pyc": "Python code",
    ".so": "machine code",
    ".dll": "machine code",
    ".sh": "a shell script",
    ".jar": "Java code",
    ".whl": "a Python package",
    ".keras": "Keras, which may contain Lambda layers",
    ".h5": "HDF5, which may contain Keras' Lambda layers",
    ".hdf5": "HDF5, which may contain Keras' Lambda layers",
    ".npy": "NumPy arrays, which may contain pickles",
    ".npz": "NumPy arrays, which may contain pickles",
    ".pb": "a TensorFlow graph, which can read and write files",
}
# The packages whose classes models consist of; what is dangerous in them, picklescan names.
MODEL_PACKAGES = frozenset(
    {
        *("sklearn", "numpy", "scipy", "pandas", "xgboost", "lightgbm", "catboost", "torch", "transformers"),
        *("joblib", "statsmodels", "collections", "datetime", "decimal"),
    }
)
BUILTINS = frozenset(
    {
        *("bool", "int", "float", "complex", "str", "bytes", "bytearray", "list", "tuple", "dict", "set"),
        *("frozenset", "slice", "range", "object", "NoneType", "Ellipsis"),
    }
)
OTHERS = frozenset({("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor"), ("_codecs", "encode")})


@dataclass(frozen=True, kw_only=True)
class FileRating:
    """`note`: why, in words; `imports`: of a pickle, those that are not harmless; `is_examined`: false for a pickle
    that was not examined to its end."""

    path: str
    rating: str
    note: str
    imports: tuple[str, ...] = ()
    is_examined: bool = True


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the scanner found in a pickle. `is_whole`: it was examined to its end. Each import is
    (module, name, is_dangerous)."""

    imports: Sequence[tuple[str, str, bool]]
    is_whole: bool


def is_pickle(path: str) -> bool:
    """Whether the file may contain a pickle, judged by its name: such a file is scanned."""
    return PurePosixPath(path).suffix.lower() in PICKLES


def rate_by_name(path: str) -> FileRating:
    """The rating of a file that is not scanned."""
    name = PurePosixPath(path)
    suffix = name.suffix.lower()
    if suffix in DATA or name.name in DATA_NAMES:
        return FileRating(path=path, rating=HARMLESS, note="data")
    if suffix in CODE:
        return FileRating(path=path, rating=UNUSUAL, note=CODE[suffix])
    return FileRating(path=path, rating=UNUSUAL, note="an unknown format")


def rate_pickle(path: str, found: Found) -> FileRating:
    dangerous = {f"{module}.{name}" for module, name, is_dangerous in found.imports if is_dangerous}
    strange = {f"{module}.{name}" for module, name, _ in found.imports if not is_of_models(module, name)}
    if dangerous:
        rating, note = DANGEROUS, "a pickle that can run code"
    elif strange:
        rating, note = UNUSUAL, "a pickle with imports of its own"
    elif not found.is_whole:
        rating, note = UNUSUAL, "a pickle that was not examined to its end"
    else:
        rating, note = HARMLESS, "a pickle with imports that models need"
    imports = tuple(sorted(dangerous or strange))
    return FileRating(path=path, rating=rating, note=note, imports=imports, is_examined=found.is_whole)


def not_scanned(path: str, why: str) -> FileRating:
    return FileRating(
        path=path, rating=UNUSUAL, note=f"a pickle that was not examined: {why}", is_examined=False
    )


def is_of_models(module: str, name: str) -> bool:
    if module in ("builtins", "__builtin__"):
        return name in BUILTINS
    return module.partition(".")[0] in MODEL_PACKAGES or (module, name) in OTHERS


def worst(files: Sequence[FileRating]) -> str:
    return max((file.rating for file in files), key=RATINGS.index, default=HARMLESS)
