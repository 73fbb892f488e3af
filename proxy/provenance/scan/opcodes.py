"""Follows the opcodes of pickles to their end, with stubs in place of what they import: nothing is imported or called.

Knows where joblib and torch write raw bytes between and behind pickles. Pure.
"""

import io
import pickle
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

Origin = tuple[str, str]  # module and name

# In scikit-learn before 0.23 too, which had a joblib of its own.
ARRAYS = {(f"{prefix}joblib.numpy_pickle", "NumpyArrayWrapper") for prefix in ("", "sklearn.externals.")}
DTYPE: Origin = ("numpy", "dtype")
TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file that torch before 1.6 wrote
TORCH_PICKLES = 5  # of such a file: magic, protocol, system, object, keys; raw bytes follow
# What a damaged or hostile pickle can raise in the interpreter of opcodes.
ERRORS = (
    *(pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError),
    *(OverflowError, UnicodeError, ImportError, RecursionError, struct.error),
)


class Stub:
    """Stands for anything that a pickle imports, and for what it would make of it."""

    origin: ClassVar[Origin] = ("", "")

    def __new__(cls, *arguments: Any, **options: Any) -> "Stub":
        made = object.__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.arguments: tuple[Any, ...]
        self.state: Any

    def __call__(self, *arguments: Any, **options: Any) -> "Stub":
        return Stub(*arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, name: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    add = append


class Walk(pickle._Unpickler):
    """One pickle of `source`. `load()` goes to its end and returns its object, made of stubs."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch}

    def __init__(self, source: BinaryIO, imports: set[Origin]) -> None:
        super().__init__(source, encoding="latin1")
        self.source, self.imports = source, imports

    def find_class(self, module: str, name: str) -> type[Stub]:
        origin = (str(module), str(name))
        self.imports.add(origin)
        return type("Import", (Stub,), {"origin": origin})

    def get_extension(self, code: int) -> None:
        self.imports.add(("copyreg", f"extension {code}"))
        self.stack.append(Stub())

    def persistent_load(self, pid: Any) -> Stub:
        return Stub()

    def load_build(self) -> None:
        if isinstance(self.stack[-2], type):  # the class of a stub, which has no state
            self.stack.pop()
            return
        super().load_build()  # type: ignore[misc]
        if isinstance(self.stack[-1], Stub) and self.stack[-1].origin in ARRAYS:
            self.skip_array(self.stack[-1].state)

    dispatch[pickle.BUILD[0]] = load_build

    def skip_array(self, state: dict[str, Any]) -> None:
        """joblib writes an array's bytes right behind its description, or a pickle of its objects."""
        size, has_objects = describe_dtype(state["dtype"])
        if has_objects:
            Walk(self.source, self.imports).load()
            return
        if state.get("numpy_array_alignment_bytes"):
            self.skip(self.source.read(1)[0])
        count = 1
        for length in state["shape"]:
            count *= int(length)
        self.skip(count * size)

    def skip(self, count: int) -> None:
        if count < 0 or len(self.source.read(count)) != count:
            raise EOFError("an array is not complete")


def describe_dtype(dtype: Stub) -> tuple[int, bool]:
    """The size in bytes of one element, and whether elements are objects. Raises ValueError and TypeError."""
    if not isinstance(dtype, Stub) or dtype.origin != DTYPE:
        raise ValueError("not a dtype")
    code = str(dtype.arguments[0])
    state: tuple[Any, ...] = dtype.state or ()
    fields = state[4] if len(state) > 4 else None
    if fields:
        return int(state[5]), any(describe_dtype(field[0])[1] for field in fields.values())
    if len(state) > 2 and state[2]:  # an array in each element
        raise ValueError("a nested dtype")
    length = int(code[1:])
    return (4 * length if code[0] == "U" else length), code[0] == "O"


def walk(
    content: BinaryIO, imports: set[Origin], *, on_error: Callable[[Exception], None], start: int = 0
) -> int:
    """Follow every pickle from this byte on, add what they import, and return how many were complete."""
    complete, wanted, size = 0, 0, content.seek(0, io.SEEK_END)
    content.seek(start)
    while content.tell() < size and not (wanted and complete == wanted):
        try:
            found = Walk(content, imports).load()
        except ERRORS as error:
            on_error(error)
            break
        complete += 1
        if complete == 1 and found == TORCH_MAGIC:
            wanted = TORCH_PICKLES
    return complete
