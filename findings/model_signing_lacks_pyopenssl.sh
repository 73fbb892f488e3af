#!/usr/bin/env bash
# model-signing 1.1.1 (OpenSSF Model Signing): its command imports the package pyOpenSSL, which it does not require.
# Installed alone, `model_signing verify key --help` ends with ModuleNotFoundError; with pyOpenSSL it prints its help.
#
# Observed:
#   model_signing, as installed: ModuleNotFoundError: No module named 'OpenSSL'
#   model_signing, with pyOpenSSL: exit status 0
#
# Needs Python 3.11+. Installs pinned packages in a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
bin="$folder/venv/bin"
"$bin/pip" install --quiet --disable-pip-version-check model-signing==1.1.1
if "$bin/model_signing" verify key --help >"$folder/first" 2>&1; then
  echo "model_signing works without pyOpenSSL: the finding is out of date"
  exit 1
fi
grep -o "ModuleNotFoundError: No module named 'OpenSSL'" "$folder/first" |
  sed 's/^/model_signing, as installed: /'
"$bin/pip" install --quiet --disable-pip-version-check pyopenssl==26.4.0
"$bin/model_signing" verify key --help >/dev/null
echo "model_signing, with pyOpenSSL: exit status 0"
