"""What a version's files can do when they are loaded: their formats, and the rating of what a pickle imports. Pure.

A pickle can call whatever it imports. `worker.py` finds the imports without loading the pickle. A file counts as
harmless only if its format holds no code, or it was examined to its end and imports only what models need.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from proxy.provenance.scan.containers import ARRAYS, LAMBDA, PICKLE, TORCHSCRIPT, WEIGHTS

HARMLESS, UNUSUAL, DANGEROUS = "harmless", "unusual", "dangerous"
RATINGS = (HARMLESS, UNUSUAL, DANGEROUS)  # from the best to the worst

DATA = frozenset(
    {
        *(".safetensors", ".gguf", ".onnx", ".ubj", ".parquet", ".arrow", ".csv", ".tsv", ".json", ".jsonl"),
        *(".yaml", ".yml", ".toml", ".txt", ".md", ".png", ".jpg", ".jpeg", ".cbm", ".skops"),
        *(".tflite", ".mlmodel", ".mil", ".crfsuite"),
    }
)
DATA_NAMES = re.compile(r"MLmodel|LICENSE|\.gitattributes|variables\.(index|data-\d{5}-of-\d{5})")
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
# What models consist of: classes, and functions that put their parts together. Packages import much else that a pickle
# could reach through them, such as `os` or a function that loads another pickle.
CLASS = r"(?:_?[A-Z]\w*\.)*_?[A-Z]\w*"
NUMPY_TYPE = (
    r"(?:u?int|float|complex|bool|str|bytes|datetime|timedelta|object|void|u?long|longlong|longdouble)\d*_?"
)
SPARSE = r"(?:bsr|coo|csc|csr|dia|dok|lil)_(?:matrix|array)"
MODEL_IMPORTS = re.compile(
    "|".join(
        rf"(?:{module}):(?:{name})"
        for module, name in (
            (
                r"sklearn(?:\.(?!datasets|externals|utils|tests|conftest)\w+)*",
                rf"{CLASS}|newObj|__pyx_unpickle_\w+|f_classif|f_regression|chi2|mutual_info_\w+",
            ),
            (r"sklearn\.utils(?:\._bunch)?", "Bunch"),
            (r"(?:sklearn\.externals\.)?joblib\.numpy_pickle", "NumpyArrayWrapper"),
            (
                r"numpy(?:\.(?:core|_core|random|ma)(?:\.\w+)*|\.dtypes)?",
                rf"{CLASS}|{NUMPY_TYPE}|dtype|ndarray|matrix|recarray|scalar|_reconstruct|_frombuffer|_mareconstruct"
                r"|_ufunc_reconstruct|__\w+_ctor|log|log2|log10|log1p|exp|expm1|sqrt|square|nan|inf",
            ),
            (
                r"scipy\.(?:interpolate|optimize|sparse|spatial|special|stats)(?:\.\w+)*",
                rf"{CLASS}|{SPARSE}|rv_\w+|\w+_gen|ckdtree|expit|logit",
            ),
            (
                r"pandas(?:\.(?:core|_libs)(?:\.\w+)*)?",
                rf"(?!HDFStore|Excel){CLASS}|new_block|_new_\w*Index|_?_unpickle_\w+|__\w+_unpickle\w*",
            ),
            (r"xgboost(?:\.(?:core|sklearn|callback|training))?", CLASS),
            (r"lightgbm(?:\.(?:basic|sklearn|engine|callback))?", CLASS),
            (r"catboost(?:\.core)?|_catboost", CLASS),
            (r"statsmodels(?:\.\w+)*", CLASS),
            (r"torch", rf"[A-Z]\w*Storage|Size|Tensor|device|dtype|bfloat16|half|{NUMPY_TYPE}"),
            (r"torch\._utils", r"_rebuild_\w+"),
            (r"torch\._tensor", "_rebuild_from_type_v2|Tensor"),
            (r"torch\.(?:storage|torch_version|nn\.parameter)", CLASS),
            (r"torch\.(?:nn\.modules|optim)(?:\.\w+)*", CLASS),
            (r"torch\.nn\.functional", "relu|gelu|silu|mish|tanh|sigmoid|softmax|log_softmax|leaky_relu|elu"),
            (
                r"transformers(?:\.(?:models|generation|integrations)(?:\.\w+)*|\.(?:configuration|trainer|training"
                r"|tokenization|modeling|feature_extraction|image_processing|debug|activations)\w*)?",
                CLASS,
            ),
            (r"accelerate\.(?:state|utils\.dataclasses)", CLASS),
            (r"collections", "OrderedDict|defaultdict|Counter|deque"),
            (r"datetime", "date|datetime|time|timedelta|timezone"),
            (r"decimal|fractions", "Decimal|Fraction"),
            (r"pathlib", CLASS),
            (
                r"builtins|__builtin__",
                "bool|int|float|complex|str|bytes|bytearray|list|tuple|dict|set|frozenset|slice|range|object|NoneType"
                "|Ellipsis",
            ),
            (r"copyreg|copy_reg", "_reconstructor"),
            (r"_codecs", "encode"),
        )
    )
)
# Names that load another pickle or run code, in whatever module a pickle finds them.
RUNS_CODE = frozenset(
    {
        *("load", "loads", "read_pickle", "eval", "exec", "execfile", "compile", "system", "popen", "Popen"),
        *("import_module", "__import__", "os", "subprocess"),
    }
)


@dataclass(frozen=True, kw_only=True)
class FileRating:
    """`note`: why, in words; `imports`: of a pickle, those that are not harmless; `is_examined`: false for a file
    that was not examined to its end."""

    path: str
    rating: str
    note: str
    imports: tuple[str, ...] = ()
    is_examined: bool = True


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the scanner found in a pickle. `is_whole`: it was examined to its end. Each import is
    (module, name, is_dangerous). `kinds`: what the file consists of, `proxy.provenance.scan.containers`."""

    imports: Sequence[tuple[str, str, bool]]
    is_whole: bool
    kinds: frozenset[str] = frozenset({PICKLE})


def is_pickle(path: str) -> bool:
    """Whether the file may contain a pickle, judged by its name: such a file is scanned."""
    return PurePosixPath(path).suffix.lower() in PICKLES


def rate_by_name(path: str) -> FileRating:
    """The rating of a file that is not scanned."""
    name = PurePosixPath(path)
    suffix = name.suffix.lower()
    if suffix in DATA or DATA_NAMES.fullmatch(name.name):
        return FileRating(path=path, rating=HARMLESS, note="data")
    if suffix in CODE:
        return FileRating(path=path, rating=UNUSUAL, note=CODE[suffix])
    return FileRating(path=path, rating=UNUSUAL, note="an unknown format")


def rate_scanned(path: str, found: Found) -> FileRating:
    """The rating of a file that was scanned."""
    if LAMBDA in found.kinds:
        return FileRating(path=path, rating=DANGEROUS, note="Keras with a Lambda layer, which is Python code")
    if PICKLE in found.kinds or found.imports:
        return rate_pickle(path, found)
    if not found.is_whole:
        return FileRating(
            path=path, rating=UNUSUAL, note="a file that was not examined to its end", is_examined=False
        )
    if found.kinds == {ARRAYS}:
        return FileRating(path=path, rating=HARMLESS, note="NumPy arrays without objects")
    if found.kinds == {WEIGHTS}:
        return FileRating(path=path, rating=HARMLESS, note="HDF5 without a model's configuration")
    return rate_by_name(path)


def rate_pickle(path: str, found: Found) -> FileRating:
    dangerous = {
        f"{module}.{name}"
        for module, name, is_dangerous in found.imports
        if is_dangerous or RUNS_CODE & set(name.split("."))
    }
    strange = {f"{module}.{name}" for module, name, _ in found.imports if not is_of_models(module, name)}
    if dangerous:
        rating, note = DANGEROUS, "a pickle that can run code"
    elif TORCHSCRIPT in found.kinds and all(name.startswith("__torch__.") for name in strange):
        rating, note = UNUSUAL, "TorchScript: code that runs when the model is called"
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
        path=path, rating=UNUSUAL, note=f"a file that was not examined: {why}", is_examined=False
    )


def is_of_models(module: str, name: str) -> bool:
    return MODEL_IMPORTS.fullmatch(f"{module}:{name}") is not None


def worst(files: Sequence[FileRating]) -> str:
    return max((file.rating for file in files), key=RATINGS.index, default=HARMLESS)
