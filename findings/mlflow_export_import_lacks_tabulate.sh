#!/usr/bin/env bash
# mlflow-export-import 1.2.0: the import of its bulk commands needs the package tabulate, which neither it nor MLflow 3.17.2
# requires. Installed alone, `export-all --help` ends with ModuleNotFoundError; with tabulate it prints its help.
#
# Observed:
#   export-all --help, as installed: ModuleNotFoundError: No module named 'tabulate'
#   export-all --help, with tabulate: exit status 0
#
# Needs Python 3.11+. Installs pinned packages in a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
bin="$folder/venv/bin"
"$bin/pip" install --quiet --disable-pip-version-check mlflow-export-import==1.2.0 mlflow==3.17.2
if "$bin/export-all" --help >"$folder/first" 2>&1; then
  echo "export-all works without tabulate: the finding is out of date"
  exit 1
fi
grep -o "ModuleNotFoundError: No module named 'tabulate'" "$folder/first" |
  sed 's/^/export-all --help, as installed: /'
"$bin/pip" install --quiet --disable-pip-version-check tabulate==0.9.0
"$bin/export-all" --help >/dev/null
echo "export-all --help, with tabulate: exit status 0"
