#!/usr/bin/env bash
# MLflow 3.17.2, artifacts through the server: a file that does not exist is a 404 if the store is a folder, and a 500 if
# the store is S3. The message contains S3's own 404.
#
# Observed:
#   GET of a missing artifact, store is a folder: 404
#   GET of a missing artifact, store is S3 (moto 5.1.18): 500
#   its message has S3's 404
#
# Needs Python 3.11+. Installs pinned packages in a temporary folder, and starts moto's S3 server and two MLflow servers.
set -euo pipefail
folder=$(mktemp -d)
servers=()
finish() {
  for server in "${servers[@]}"; do kill -- "-$server" 2>/dev/null || true; done
  wait || true
  rm -rf "$folder"
}
trap finish EXIT
python3 -m venv "$folder/venv"
bin="$folder/venv/bin"
"$bin/pip" install --quiet --disable-pip-version-check mlflow==3.17.2 "moto[server]==5.1.18" boto3==1.42.1
free_port() { "$bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() {
  for _ in $(seq 600); do
    curl --silent --output /dev/null "$1" && return
    sleep 0.2
  done
  echo "$1 does not respond"
  exit 1
}
set -m # each server in a process group of its own, with all that it starts
s3=$(free_port)
"$bin/moto_server" --host 127.0.0.1 --port "$s3" >"$folder/s3.log" 2>&1 &
servers+=($!)
export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_DEFAULT_REGION=us-east-1
export MLFLOW_S3_ENDPOINT_URL="http://127.0.0.1:$s3" MLFLOW_DISABLE_TELEMETRY=true
wait_for "$MLFLOW_S3_ENDPOINT_URL"
curl --silent --output /dev/null --request PUT "$MLFLOW_S3_ENDPOINT_URL/store"

observe() { # sets `status`
  port=$(free_port)
  "$bin/mlflow" server --host 127.0.0.1 --port "$port" --workers 1 --backend-store-uri "sqlite:///$folder/$port.db" \
    --artifacts-destination "$1" >"$folder/$port.log" 2>&1 &
  servers+=($!)
  wait_for "http://127.0.0.1:$port/health"
  status=$(curl --silent --output "$folder/body" --write-out '%{http_code}' \
    "http://127.0.0.1:$port/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/missing.txt")
}

observe "$folder/artifacts"
echo "GET of a missing artifact, store is a folder: $status"
[ "$status" = 404 ]
observe s3://store
echo "GET of a missing artifact, store is S3 (moto 5.1.18): $status"
[ "$status" = 500 ]
grep -q "(404) when calling the HeadObject operation" "$folder/body"
echo "its message has S3's 404"
