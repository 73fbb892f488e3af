#!/bin/sh
# Log a run with a file and register it, using only curl and sed.
#
#   export MLFLOW_TRACKING_URI=https://HOST/api/mlflow MLFLOW_TRACKING_TOKEN=hk_live_…
#   sh register.sh [MODEL] [FILE]
#
# curl reads the key from standard input, because other users of a machine see the arguments of commands.
set -eu

: "${MLFLOW_TRACKING_URI:?is not set}" "${MLFLOW_TRACKING_TOKEN:?is not set}"
api="${MLFLOW_TRACKING_URI%/}/api/2.0"
model=${1:-example-curl}
answer=$(mktemp)
file=${2:-}
sample=
if [ -z "$file" ]; then
  file=$(mktemp) sample=$file
  echo "weights, or whatever your model is" >"$file"
fi
trap 'rm -f "$answer" ${sample:+"$sample"}' EXIT

# call METHOD PATH [CURL'S ARGUMENTS]: stores the response in $answer; on an error, prints the portal's message and
# exits.
call() {
  method=$1 path=$2
  shift 2
  status=$(printf 'header = "Authorization: Bearer %s"\n' "$MLFLOW_TRACKING_TOKEN" |
    curl --config - --silent --show-error --request "$method" --output "$answer" --write-out '%{http_code}' \
      "$@" "$api$path")
  case $status in
    2*) ;;
    *)
      echo "$method $path: status $status: $(value message)" >&2
      return 1
      ;;
  esac
}

# json PATH BODY
json() {
  call POST "$1" --header 'Content-Type: application/json' --data "$2"
}

# value NAME: the first string with that name in the response.
value() {
  tr -d '\n' <"$answer" | sed -n 's/.*\("'"$1"'": *"[^"]*"\).*/\1/p' | sed 's/^[^:]*: *"\(.*\)"$/\1/'
}

now=$(date +%s)000

if ! json /mlflow/experiments/create '{"name": "'"$model"'"}' 2>/dev/null &&
  ! call GET "/mlflow/experiments/get-by-name?experiment_name=$model"; then
  exit 1
fi
experiment=$(value experiment_id)

json /mlflow/runs/create '{"experiment_id": "'"$experiment"'", "run_name": "curl", "start_time": '"$now"'}'
run=$(value run_id)
artifacts=$(value artifact_uri)
echo "run $run"

json /mlflow/runs/log-metric '{"run_id": "'"$run"'", "key": "accuracy", "value": 0.9, "timestamp": '"$now"'}'
# mlflow-artifacts:/EXPERIMENT/RUN/artifacts -> /EXPERIMENT/RUN/artifacts; curl streams a file that it is given with --upload-file.
call PUT "/mlflow-artifacts/artifacts${artifacts#mlflow-artifacts:}/model/weights.bin" --upload-file "$file"
json /mlflow/runs/update '{"run_id": "'"$run"'", "status": "FINISHED", "end_time": '"$now"'}'
echo "uploaded $(wc -c <"$file" | tr -d ' ') bytes"

if ! json /mlflow/registered-models/create '{"name": "'"$model"'"}' 2>/dev/null &&
  [ "$(value error_code)" != RESOURCE_ALREADY_EXISTS ]; then
  echo "registered-models/create: $(value message)" >&2
  exit 1
fi
json /mlflow/model-versions/create '{"name": "'"$model"'", "run_id": "'"$run"'", "source": "'"$artifacts"'/model",
  "tags": [{"key": "hokusai_token_id", "value": "hok-example"},
           {"key": "benchmark_metric", "value": "accuracy"},
           {"key": "benchmark_value", "value": "0.9"}]}'
echo "registered $model, version $(value version)"
