#!/bin/sh
# Fetches the job's token and, if EXCHANGE is "true", exchanges it for a key of an hour.
set -eu
: "${ACTIONS_ID_TOKEN_REQUEST_URL:?add 'permissions: id-token: write' to the job}"
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

token=$(curl -sSf -G -H "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \
  --data-urlencode "audience=$REGISTRY/api/mlflow/w/$ORGANISATION" "$ACTIONS_ID_TOKEN_REQUEST_URL" | field value)
echo "::add-mask::$token"
if [ "$EXCHANGE" = true ]; then
  token=$(curl -sS --fail-with-body "$REGISTRY/api/v1/token/" \
    -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange \
    -d subject_token_type=urn:ietf:params:oauth:token-type:jwt \
    --data-urlencode "subject_token=$token" | field access_token)
  echo "::add-mask::$token"
fi
{
  echo "MLFLOW_TRACKING_URI=$REGISTRY/api/mlflow"
  echo "MLFLOW_TRACKING_TOKEN=$token"
} >> "$GITHUB_ENV"
