#!/usr/bin/env bash
# modelscan 0.8.8 cannot examine NumPy files with NumPy 2.4, although it does not limit NumPy's version: its scanner calls
# numpy.lib.format._check_version, a private function, which NumPy 2.4 does not have there. Each .npy file ends as an
# error, with exit status 3 ("no file was scanned"), also a plain array of floats. With NumPy 2.2, the same file is
# examined, and has no issue.
#
# Observed:
#   modelscan 0.8.8, NumPy 2.4.6: exit status 3, module 'numpy.lib.format' has no attribute '_check_version'
#   modelscan 0.8.8, NumPy 2.2.6: exit status 0
#
# Needs Python 3.11. Installs pinned packages in a temporary folder.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
bin="$folder/venv/bin"
quiet="--quiet --disable-pip-version-check"
scan() {
  "$bin/pip" install $quiet "numpy==$1"
  "$bin/python" -c "import numpy; numpy.save('$folder/array.npy', numpy.ones(3))"
  status=0
  "$bin/modelscan" --path "$folder/array.npy" >"$folder/told" 2>&1 || status=$?
  message=$(tr '\n' ' ' <"$folder/told" | grep -o "module 'numpy.lib.format' has no attribute '_check_version'" | head -1)
  echo "modelscan 0.8.8, NumPy $1: exit status $status${message:+, $message}"
}
"$bin/pip" install $quiet modelscan==0.8.8
scan 2.4.6 | tee "$folder/new"
scan 2.2.6 | tee "$folder/old"
grep -q "_check_version" "$folder/new" && grep -q "exit status 0" "$folder/old" ||
  { echo "the finding is out of date"; exit 1; }
