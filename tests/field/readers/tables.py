"""Hostile cells in spreadsheets and data frames: nothing is computed, and every original can be restored.

10,000 cells are written as an export writes them, once for each separator, and read with LibreOffice, pandas, polars
and DuckDB. LibreOffice also opens the export itself, which has commas, with each other separator.
"""

import csv
import json
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from random import Random

from keys.formatting import csv_export
from tests.field.environments import environment
from tests.field.readers.results import Result

CELLS, COLUMNS = 10_000, 4
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
# Pieces of text to which spreadsheets react: formulas, separators, quotes, blanks, numbers, dates, line ends.
PIECES = (
    "=",
    "+",
    "-",
    "@",
    "|",
    "'",
    '"',
    " ",
    "\t",
    ",",
    ";",
    "\n",
    "\uff1d",
    "\u3000",
    "\\",
    "&",
    "<",
    "é",
    "NA",
)
WORDS = (
    "1+1",
    "SUM(1;2)",
    'HYPERLINK("http://x.example")',
    "cmd|' /C calc'!A0",
    "1e5",
    "007",
    "TRUE",
    "2026-01-02",
)
READERS = {
    "pandas": """
import json, pandas, sys
read = pandas.read_csv(sys.argv[1], sep=sys.argv[2], dtype=str, keep_default_na=False)
print(json.dumps([pandas.__version__, read.to_numpy().tolist()]))
""",
    "polars": """
import json, polars, sys
read = polars.read_csv(sys.argv[1], separator=sys.argv[2], infer_schema=False)
print(json.dumps([polars.__version__, read.rows()]))
""",
    "DuckDB": """
import duckdb, json, sys
options = "header=true, all_varchar=true, quote='\\"', escape='\\"', auto_detect=false"
columns = "columns={'a': 'VARCHAR', 'b': 'VARCHAR', 'c': 'VARCHAR', 'd': 'VARCHAR'}"
query = f"from read_csv(?, delim=?, {options}, {columns}, new_line='\\\\r\\\\n', parallel=false)"
print(json.dumps([duckdb.__version__, duckdb.execute(query, sys.argv[1:3]).fetchall()]))
""",
}


def hostile_rows() -> list[list[str]]:
    random = Random(2026)
    texts = ["".join(random.choices((*PIECES, *WORDS), k=random.randint(1, 6))) for _ in range(CELLS)]
    return [texts[at : at + COLUMNS] for at in range(0, CELLS, COLUMNS)]


def write(file: Path, rows: list[list[str]], separator: str) -> None:
    """As an export: `csv_export` writes commas; with another separator, as a spreadsheet saves the file."""
    cells = [["a", "b", "c", "d"], *([csv_export.cell(text) for text in row] for row in rows)]
    with file.open("w", encoding="utf-8", newline="") as output:
        if separator == ",":
            output.writelines(csv_export.csv_line(row) for row in [cells[0], *rows])
        else:
            csv.writer(output, delimiter=separator).writerows(cells)


def restored(rows: list[list[str]]) -> list[list[str]]:
    return [[csv_export.restore(cell or "") for cell in row] for row in rows]


def differences(read: list[list[str]], rows: list[list[str]]) -> int:
    back = restored(read)
    pairs = zip(back, rows, strict=False)
    return abs(len(back) - len(rows)) * COLUMNS + sum(
        one != other for left, right in pairs for one, other in zip(left, right, strict=False)
    )


def run() -> list[Result]:
    rows = hostile_rows()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {separator: folder / f"{separator}.csv" for separator in SEPARATORS}
        for separator, file in files.items():
            write(file, rows, SEPARATORS[separator])
        return [*with_data_frames(files, rows), *with_libreoffice(folder, files, rows)]


def with_data_frames(files: dict[str, Path], rows: list[list[str]]) -> list[Result]:
    where = environment("tables", ("install", "pandas==3.1.1", "polars==2.1.0", "duckdb==2.0.1"))
    results = []
    for program, code in READERS.items():
        wrong, version = [], ""
        for separator, file in files.items():
            done = where.run("-c", code, str(file), SEPARATORS[separator], timeout=300)
            try:
                version, read = json.loads(done.stdout.splitlines()[-1])
            except (ValueError, IndexError):
                wrong.append(f"{separator}: {done.stdout.strip()[-300:]}")
                continue
            if count := differences(read, rows):
                wrong.append(f"{separator}: {count} of {CELLS} cells differ")
        text = f"restores {CELLS:,} hostile cells with each of {', '.join(SEPARATORS)}"
        results.append(
            Result(program=program, version=version, text="; ".join(wrong) or text, works=not wrong)
        )
    return results


def with_libreoffice(folder: Path, files: dict[str, Path], rows: list[list[str]]) -> list[Result]:
    """Each file with its own separator, and the export with every other one and with several at once."""
    office = shutil.which("soffice")
    if office is None:
        return [Result(program="LibreOffice", version="", text="install libreoffice-calc", could_run=False)]
    said = subprocess.run([office, "--version"], capture_output=True, text=True, timeout=120).stdout.split()
    control = folder / "control.csv"
    control.write_text("a,b,c,d\nx,=1+1,y,z\n")
    problems = [] if count_formulas(office, folder, control, "44") == 1 else ["it computes nothing at all"]
    codes = {name: str(ord(separator)) for name, separator in SEPARATORS.items()}
    for name, code in {**codes, "tab, comma and semicolon": "9/44/59"}.items():
        own = files.get(name, files["comma"])
        for file in {files["comma"], own}:
            if formulas := count_formulas(office, folder, file, code):
                problems.append(f"{file.stem} split at {name}: {formulas} formulas")
        if count := differences(read_cells(office, folder, own, code), rows):
            problems.append(f"{own.stem} split at {name}: {count} of {CELLS} cells differ")
    text = f"computes none of {CELLS:,} hostile cells, at whichever separator it splits, and restores each"
    return [
        Result(program="LibreOffice", version=said[1], text="; ".join(problems) or text, works=not problems)
    ]


def count_formulas(office: str, folder: Path, file: Path, code: str) -> int:
    """With columns of the standard type, and formulas to be evaluated, which LibreOffice does not do by default."""
    opened = convert(office, folder, file, f"{code},34,76,1,,0,false,true,false,false,false,0,true", "ods")
    with zipfile.ZipFile(opened) as content:
        return len(re.findall(rb"<table:table-cell[^>]* table:formula=", content.read("content.xml")))


def read_cells(office: str, folder: Path, file: Path, code: str) -> list[list[str]]:
    """With columns of the type text, as LibreOffice saves them; its ODS files lose tabs in cells of several lines."""
    columns = "/".join(f"{number}/2" for number in range(1, COLUMNS + 1))
    form = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,true,true,false"
    saved = convert(office, folder, file, f"{code},34,76,1,{columns}", form)
    with saved.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines))[1:]


def convert(office: str, folder: Path, file: Path, options: str, form: str) -> Path:
    """Open the file with these import options, in a profile of our own, and save it in another folder."""
    target = folder / "saved"
    command = [office, "--headless", f"-env:UserInstallation=file://{folder}/profile"]
    command += [f"--infilter=CSV:{options}", "--convert-to", form, "--outdir", str(target), str(file)]
    subprocess.run(command, capture_output=True, timeout=300, check=True)
    return target / f"{file.stem}.{form.partition(':')[0]}"
