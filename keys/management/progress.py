"""How commands show how far they have got."""

from collections.abc import Callable

from django.core.management.base import OutputWrapper


def progress_on(stderr: OutputWrapper, what: str) -> Callable[[int, int], None]:
    """Writes how many of how many are done, for a person at a terminal; nothing into files and pipes."""

    def show(done: int, total: int) -> None:
        if stderr.isatty():
            stderr.write(f"{done:,} of {total:,} {what} …")

    return show
