"""Lists what the pickles of a file on standard input import, as JSON. A program of its own, which
`proxy.provenance.scanning` runs.

It limits its own processor time, memory, files and processes, and becomes `nobody` if it is root, before it reads the
first byte. It never loads the pickle: `containers.py` follows the opcodes and lists the imports; `picklescan` decides
which of them are dangerous.
"""

import codecs
import io
import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3]))

from proxy.provenance.scan import containers
from proxy.provenance.scan.containers import Findings

SECONDS, MEMORY = 60, 2 * 2**30
MOST_IMPORTS = 1000
NOBODY = 65534


def give_up_rights() -> None:
    for kind, limit in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 8),
    ):
        resource.setrlimit(kind, (limit, limit))
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def main() -> None:
    from importlib.metadata import version

    from picklescan import scanner

    # picklescan would import NumPy for arrays, and NumPy ends the process, which may not start threads. containers.py
    # reads arrays.
    sys.modules["numpy"] = None  # type: ignore[assignment]
    codecs.lookup("cp437")  # of zip files: it cannot be loaded later
    name, suffix = f"picklescan {version('picklescan')}", sys.argv[1]
    give_up_rights()
    findings = Findings()
    try:
        content = sys.stdin.buffer.read(containers.MOST + 1)
        findings.take(len(content))
        containers.examine(io.BytesIO(content), findings)
        dangerous = find_dangerous(scanner, content, suffix, findings)
    except (MemoryError, ValueError, OSError, RecursionError) as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"[:200]}))  # noqa: T201
        return
    # The dangerous ones come first, in case there are too many.
    imports = sorted(findings.imports, key=lambda found: (found not in dangerous, found))
    found = [[module[:200], name[:200], (module, name) in dangerous] for module, name in imports]
    is_whole = findings.is_whole and len(found) <= MOST_IMPORTS
    told = {"imports": found[:MOST_IMPORTS], "kinds": sorted(findings.kinds), "is_whole": is_whole}
    print(json.dumps({**told, "scanner": name}))  # noqa: T201


def find_dangerous(scanner: Any, content: bytes, suffix: str, findings: Findings) -> set[tuple[str, str]]:
    """What picklescan calls dangerous, of what it finds itself in the file, and of the other imports."""
    if not findings.imports:
        return set()
    found = []
    with suppress(Exception):  # it reads fewer formats, and the imports are known
        found = scanner.scan_bytes(io.BytesIO(content), "file", suffix).globals
    listed = "".join(
        f"c{module}\n{name}\n0" for module, name in findings.imports if "\n" not in f"{module}{name}"
    )
    found += scanner.scan_pickle_bytes(io.BytesIO(f"{listed}N.".encode()), "imports").globals
    findings.imports |= {(each.module, each.name) for each in found}
    return {(each.module, each.name) for each in found if each.safety == scanner.SafetyLevel.Dangerous} | {
        origin for origin in findings.imports if "\n" in "".join(origin)
    }


if __name__ == "__main__":
    main()
