"""Runs picklescan, modelscan or fickling on files, and prints a line of JSON for each: `scan_models.py TOOL FILE…`.

The verdict is `clean`, `alarm`, or `unread` if the scanner did not examine the file.
"""

import json
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
VERDICTS = {
    "picklescan": {0: "clean", 1: "alarm"},
    "modelscan": {0: "clean", 1: "alarm"},  # 2: an error, 3: no file that it reads
    "fickling": {0: "clean", 1: "alarm"},
}


def run(tool: str, file: str) -> str:
    arguments = {
        "picklescan": [BIN / "picklescan", "--path", file],
        "modelscan": [BIN / "modelscan", "--path", file],
        "fickling": [BIN / "fickling", "--check-safety", "--json-output", "/dev/null", file],
    }[tool]
    done = subprocess.run(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=300
    )
    verdict = VERDICTS[tool].get(done.returncode, "unread")
    text = done.stdout
    is_read = {
        "picklescan": "could not parse" not in text
        and "Scanned files: 0" not in text
        and "ERROR" not in text,
        "modelscan": "Skipped" not in text or "Total Scanned: 0" not in text,
        "fickling": "Traceback" not in text,
    }[tool]
    return verdict if (verdict == "alarm" and "Traceback" not in text) or is_read else "unread"


for name in sys.argv[2:]:
    try:
        verdict = run(sys.argv[1], name)
    except subprocess.TimeoutExpired:
        verdict = "unread"
    print(json.dumps({"name": name, "verdict": verdict}), flush=True)
