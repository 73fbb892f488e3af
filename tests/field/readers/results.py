"""The table of results."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Result:
    """A row: `text` is what works, or what does not."""

    program: str
    version: str
    text: str
    works: bool = True
    could_run: bool = True


def show(results: list[Result]) -> int:
    """Print the table; the exit status is 1 if something does not work."""
    for each in results:
        mark = "could not run" if not each.could_run else "works" if each.works else "FAILS"
        print(f"{mark:14}{each.program} {each.version}: {each.text}", flush=True)
    return int(any(each.could_run and not each.works for each in results))
