"""All programs of docs/integrations.md that read from the portal; READERS (a list of names) selects some.

The exit status is 1 if one of those that could run does not work.
"""

import os
import sys

from tests.field.environments import InstallError
from tests.field.readers import generators, providers, scanners, tables
from tests.field.readers.results import Result, show

READERS = {
    "scanners": scanners.run,
    "tables": tables.run,
    "generators": generators.run,
    "providers": providers.run,
}


def main() -> int:
    wanted = os.environ.get("READERS", "").split() or list(READERS)
    results: list[Result] = []
    for name in wanted:
        try:
            results += READERS[name]()
        except InstallError as error:
            results.append(Result(program=name, version="", could_run=False, text=str(error)))
    return show(results)


if __name__ == "__main__":
    sys.exit(main())
