"""The headers of MLflow's response. Pure."""

from collections.abc import Iterable, Iterator, Mapping


class ResponseHeaders:
    """The headers of a response, in their order. Names are found in any case."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = list(pairs)

    def getlist(self, name: str) -> list[str]:
        wanted = name.lower()
        return [value for other, value in self.pairs if other.lower() == wanted]

    def get(self, name: str, default: str = "") -> str:
        """The value; several values of one name with commas between them (RFC 9110 section 5.3)."""
        values = self.getlist(name)
        return ", ".join(values) if values else default

    def __contains__(self, name: str) -> bool:
        return bool(self.getlist(name))

    def __getitem__(self, name: str) -> str:
        if name not in self:
            raise KeyError(name)
        return self.get(name)

    def __setitem__(self, name: str, value: str) -> None:
        wanted = name.lower()
        self.pairs = [pair for pair in self.pairs if pair[0].lower() != wanted]
        self.pairs.append((name, value))

    def items(self) -> list[tuple[str, str]]:
        """Each name once."""
        merged: dict[str, tuple[str, str]] = {}
        for name, value in self.pairs:
            lower = name.lower()
            merged[lower] = (
                (merged[lower][0], f"{merged[lower][1]}, {value}") if lower in merged else (name, value)
            )
        return list(merged.values())

    def iteritems(self) -> Iterator[tuple[str, str]]:
        """Each header, also of the same name."""
        return iter(self.pairs)


def is_delimited(status: int, headers: "ResponseHeaders | Mapping[str, str]") -> bool:
    """Whether the response states where it ends. Otherwise a broken one looks complete, even if it broke within its
    headers (RFC 9112 §6.3); MLflow's server always states it."""
    if codings := headers.get("Transfer-Encoding"):
        return codings.lower().rpartition(",")[2].strip() == "chunked"
    return status in (204, 304) or "Content-Length" in headers
