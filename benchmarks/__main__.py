"""The performance dashboard: `make bench`, twenty minutes on a machine without other work.

Runs every benchmark of a call, a transfer, a burst and a start beside the baselines that it starts itself, prints one
table, and writes it to docs/performance.json, docs/performance.svg and the table in docs/performance.md. A row that
misses its target stays, with its figure and the reason. PARTS=calls,start selects benchmarks; the rows of the others
stay as they are. QUICK=1 makes short rounds, to try the commands.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from html import escape
from pathlib import Path

from benchmarks.results import Row
from benchmarks.usage_log import ROOT

DOCS = ROOT / "docs"
BEGIN, END = "<!-- made by `make bench` -->\n", "<!-- end -->\n"
# The arguments of each benchmark, and its settings for short rounds.
PARTS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "calls": ((), {"ROUNDS": "2", "CALLS": "400"}),
    "throughput": ((), {"ROUNDS": "2", "CALLS": "200"}),
    "transfers": ((), {"ROUNDS": "1", "BYTES": str(2**26)}),
    "burst": ((), {"CALLS": "5", "BESIDE": "5", "ALONE": "50"}),
    "start": ((), {"ROUNDS": "2"}),
    "start run": (("run",), {"ROUNDS": "1"}),
}
# Why a row may miss its target, by the beginning of its name.
REASONS = {
    "CPU of a JSON GET / the previous": "hundreds of small functions remain; see below",
    "CPU of a POST": "hundreds of small functions remain; see below",
    "CPU of a JSON GET / plain": "the checks of a call cost more than SELECT and INSERT; see below",
    "the same with": "the burst gets a quarter to half of MLflow's time; on a slow machine that is not enough for 10 s",
    "p95 of another key": "both keys' calls share the interpreter of MLflow's one process",
    "upload of": "the portal hashes each file, nginx does not",
    "download of": "the portal compares each file with its digest, nginx does not",
    "start of a worker": "Django, psycopg, gunicorn and the tables take the rest; every process needs them",
    "second start": "most of it is MLflow's own start",
    "calls per second": "the portal and MLflow share two cores",
    "added median": "the portal's own time of a call",
}


def main() -> int:
    selected = os.environ.get("PARTS", ",".join(PARTS)).split(",")
    path = DOCS / "performance.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    broken = []
    for part in selected:
        rows, is_complete = run(part)
        if is_complete:
            kept[part] = [asdict(row) for row in rows]
        else:
            broken.append(part)
            print(f"{part} broke off: its rows are those of an earlier run", file=sys.stderr)
        path.write_text(json.dumps({name: kept[name] for name in PARTS if name in kept}, indent=1) + "\n")
    everything = [(name, Row(**row)) for name in PARTS for row in kept.get(name, [])]
    table = "".join(line(name, row) + "\n" for name, row in everything)
    header = "| what | result | target | command |\n|---|---|---|---|\n"
    print(header + table)
    document = DOCS / "performance.md"
    before, rest = document.read_text().split(BEGIN)
    document.write_text(before + BEGIN + header + table + END + rest.split(END)[1])
    (DOCS / "performance.svg").write_text(plot([row for _, row in everything]))
    return int(bool(broken) or not all(row.is_met for _, row in everything))


def run(part: str) -> tuple[list[Row], bool]:
    """The rows of one benchmark, and whether it ran to its end: then it exits with 0 or 1, and has saved rows."""
    arguments, short = PARTS[part]
    with tempfile.NamedTemporaryFile() as results:
        settings = {**(short if os.environ.get("QUICK") else {}), "RESULTS": results.name}
        command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{part.split()[0]}", *arguments]
        status = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}).returncode
        rows = [Row(**json.loads(each)) for each in Path(results.name).read_text().splitlines()]
        return rows, bool(rows) and status in (0, 1)


def line(part: str, row: Row) -> str:
    limit = (
        f"at most {row.most:g}"
        if row.most is not None
        else f"at least {row.least:g}"
        if row.least is not None
        else ""
    )
    missed = (
        ""
        if row.is_met
        else f": missed, {next((REASONS[name] for name in REASONS if row.what.startswith(name)), '')}"
    )
    detail = f" ({row.detail})" if row.detail else ""
    return f"| {row.what} | {row.result:.3g}{detail} | {limit or 'none'}{missed} | `python -m benchmarks.{part}` |"


def plot(rows: list[Row]) -> str:
    """Each row with a target as a bar in parts of the target: a bar that ends left of the line meets it."""
    bars = [(row, part_of_target(row)) for row in rows if row.most is not None or row.least is not None]
    height, scale, left = 26, 150, 430
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{height * len(bars) + 40}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for number, (row, part) in enumerate(bars):
        y, colour = number * height + 10, "#2e7d32" if row.is_met else "#b3261e"
        width = round(min(part, 2.6) * scale, 1)
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(row.what.replace("`", "")[:68])}</text>'
            f'<rect x="{left}" y="{y}" width="{max(width, 1)}" height="18" fill="{colour}"/>'
            f'<text x="{left + width + 6}" y="{y + 14}">{row.result:.3g}</text>'
        )
    bottom = height * len(bars) + 10
    parts.append(
        f'<line x1="{left + scale}" y1="0" x2="{left + scale}" y2="{bottom}" stroke="#000" stroke-dasharray="4"/>'
        f'<text x="{left + scale}" y="{bottom + 18}" text-anchor="middle">target</text></svg>\n'
    )
    return "\n".join(parts)


def part_of_target(row: Row) -> float:
    if row.most is not None:
        return row.result / row.most if row.most else float(1 + row.result if row.result else 0)
    return (row.least or 0) / max(row.result, 1e-9)


if __name__ == "__main__":
    sys.exit(main())
