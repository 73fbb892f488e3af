"""The installation of the locked dependencies shows its progress, and pip's whole error."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from portal import install

ROOT = Path(__file__).resolve().parents[2]

PIP = """\
Ignoring colorama: markers 'sys_platform == "win32"' don't match your environment
Collecting mlflow==3.17.2 (from -r requirements-embedded.lock (line 1534))
  Downloading mlflow-3.17.2-py3-none-any.whl.metadata (30 kB)
Processing /mirror/psycopg2_binary-2.9.12-cp311-cp311-manylinux_2_17_x86_64.whl (from -r lock (line 2366))
  Downloading mlflow-3.17.2-py3-none-any.whl (10.4 MB)
Installing collected packages: mlflow, psycopg2-binary
"""


def steps(text: str) -> list[str]:
    progress = install.Progress({"mlflow-3.17.2", "psycopg2_binary-2.9.12", "colorama-0.4.6"}, terminal=False)
    seen = []
    for line in text.splitlines():
        progress.read_output(line)
        seen.append(progress.step)
    return list(dict.fromkeys(seen))


def test_pips_lines_become_counts():
    assert steps(PIP) == [
        "",
        "resolving    1 of 2  mlflow",
        "downloading  1 of 2  psycopg2_binary",
        "downloading  2 of 2  mlflow (10.4 MB)",
    ]


def test_every_package_of_a_lock_file_counts():
    lock = (ROOT / "requirements.lock").read_text()
    packages = install.locked_packages(lock)
    assert len(packages) == sum("==" in line and line[0].isalnum() for line in lock.splitlines())
    assert packages & install.installed_packages() > {f"gunicorn-{install_version('gunicorn')}"}


def install_version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with one package."""
    with zipfile.ZipFile(tmp_path / "hokusai_nothing-1.0-py3-none-any.whl", "w") as wheel:
        folder = "hokusai_nothing-1.0.dist-info"
        wheel.writestr("hokusai_nothing.py", "")
        wheel.writestr(f"{folder}/METADATA", "Metadata-Version: 2.1\nName: hokusai-nothing\nVersion: 1.0\n")
        wheel.writestr(
            f"{folder}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{folder}/RECORD", f"hokusai_nothing.py,,\n{folder}/METADATA,,\n{folder}/WHEEL,,\n")
    return tmp_path


def run(wheels: Path, digest: str) -> "subprocess.CompletedProcess[str]":
    (wheels / "lock").write_text(f"hokusai-nothing==1.0 \\\n    --hash=sha256:{digest}\n")
    return subprocess.run(
        [sys.executable, "-m", "portal.install", str(wheels / "lock")],
        cwd=ROOT,
        env={
            **os.environ,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_TARGET": str(wheels / "target"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_lock_file_is_installed(wheels):
    [wheel] = wheels.glob("*.whl")
    done = run(wheels, hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("  installed 1 packages in ")
    assert (wheels / "target" / "hokusai_nothing.py").exists()


def test_pips_whole_error_is_shown(wheels):
    done = run(wheels, "0" * 64)
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert "Expected sha256 " + "0" * 64 in done.stderr
    assert done.stderr.splitlines()[-1] == "pip failed (exit status 1)"
    assert "installed" not in done.stdout
