"""The headers of MLflow's response. Pure."""

from collections.abc import Iterable, Iterator, Mapping


class ResponseHeaders:
    """The headers of a response, in their order. Names are found in any case."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = list(pairs)
        self.values: dict[str, list[str]] = {}  # by the names in lower case
        for name, value in self.pairs:
            self.values.setdefault(name.lower(), []).append(value)

    def getlist(self, name: str) -> list[str]:
        return self.values.get(name.lower(), [])

    def get(self, name: str, default: str = "") -> str:
        """The value; several values of one name with commas between them (RFC 9110 section 5.3)."""
        values = self.values.get(name.lower())
        return ", ".join(values) if values else default

    def __contains__(self, name: str) -> bool:
        return name.lower() in self.values

    def __getitem__(self, name: str) -> str:
        if name not in self:
            raise KeyError(name)
        return self.get(name)

    def __setitem__(self, name: str, value: str) -> None:
        wanted = name.lower()
        self.pairs = [pair for pair in self.pairs if pair[0].lower() != wanted]
        self.pairs.append((name, value))
        self.values.pop(wanted, None)
        self.values[wanted] = [value]

    def items(self) -> list[tuple[str, str]]:
        """Each name once."""
        if len(self.values) == len(self.pairs):
            return self.pairs
        first = {name.lower(): name for name, _ in reversed(self.pairs)}
        return [(first[lower], ", ".join(values)) for lower, values in self.values.items()]

    def iteritems(self) -> Iterator[tuple[str, str]]:
        """Each header, also of the same name."""
        return iter(self.pairs)


def is_delimited(status: int, headers: "ResponseHeaders | Mapping[str, str]") -> bool:
    """Whether the response states where it ends. Otherwise a broken one looks complete, even if it broke within its
    headers (RFC 9112 §6.3); MLflow's server always states it."""
    if codings := headers.get("Transfer-Encoding"):
        return codings.lower().rpartition(",")[2].strip() == "chunked"
    return status in (204, 304) or "Content-Length" in headers
