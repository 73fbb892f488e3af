"""`make docs`: the documents as a site in dist/docs, built by Zensical, which ends with 1 at a broken link or anchor.

The site has the repository's own folders, so that links between documents are the same in both. Installs Zensical from
PyPI below .data; not in the suite, where `tests/test_docs.py` checks the links.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".data" / "documentation"
ZENSICAL = "zensical==0.0.73"
PUBLISHED = ("*.md", "docs", "deploy", "examples", "LICENSE")
CONFIGURATION = """[project]
site_name = "Hokusai Registry Portal"
docs_dir = "source"
site_dir = "site"
"""


def main() -> int:
    zensical = FOLDER / "venv" / "bin" / "zensical"
    if not zensical.exists():
        print(f"Installing {ZENSICAL}")
        venv.create(FOLDER / "venv", with_pip=True)
        subprocess.run([zensical.with_name("pip"), "install", "--quiet", ZENSICAL], check=True)
    source = FOLDER / "source"
    shutil.rmtree(source, ignore_errors=True)
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PUBLISHED]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in files.stdout.splitlines():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    (source / "README.md").rename(source / "index.md")
    (FOLDER / "zensical.toml").write_text(CONFIGURATION)
    done = subprocess.run([zensical, "build", "--strict", "--clean"], cwd=FOLDER, timeout=300)
    if not done.returncode:
        shutil.rmtree(ROOT / "dist" / "docs", ignore_errors=True)
        shutil.copytree(FOLDER / "site", ROOT / "dist" / "docs")
        print("dist/docs/index.html")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
