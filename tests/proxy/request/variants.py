"""Variants of an ordinary artifact path, one for each thing that the rule in `proxy.request.artifact_paths` forbids."""

from collections.abc import Callable


def escaped(text: str) -> str:
    """Every byte percent-encoded."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


def escaped_twice(text: str) -> str:
    return escaped("%").join(["", *escaped(text).split("%")[1:]])


TRANSFORMATIONS: dict[str, Callable[[str], str]] = {
    "its first character escaped": lambda path: escaped(path[:1] or "/") + path[1:],
    "its last character escaped": lambda path: path[:-1] + escaped(path[-1:] or "/"),
    "its first character escaped twice": lambda path: escaped_twice(path[:1] or "/") + path[1:],
    "a blank before it": lambda path: " " + path,
    "an escaped blank behind it": lambda path: path + escaped(" "),
    "a tab before it": lambda path: "\t" + path,
    "a line break behind it": lambda path: path + "\n",
    "a control character in it": lambda path: path + "\x1f",
    "an empty query": lambda path: path + "?",
    "an escaped empty query": lambda path: path + escaped("?"),
    "an empty fragment": lambda path: path + "#",
    "a fragment": lambda path: path + "#part",
    "empty parameters": lambda path: path + ";",
    "a scheme": lambda path: "scheme:" + path,
    "a drive": lambda path: "D:" + path,
    "a backslash": lambda path: path + "\\part",
    "a slash before it": lambda path: "/" + path,
    "a slash behind it": lambda path: path + "/",
    "an empty segment": lambda path: path + "//part",
    "a dot segment before it": lambda path: "./" + path,
    "a dot segment behind it": lambda path: path + "/.",
    "a parent segment in it": lambda path: f"part/../{path}",
    "a parent segment before it": lambda path: "../" + path,
}
