#!/bin/sh
# Issue, view, rotate and revoke a key over the management API, with curl alone.
#   PORTAL=https://HOST PORTAL_KEY=hk_live_… sh manage_keys.sh USER
# PORTAL_KEY is a key with the scope portal:admin of a user who may issue keys. USER must exist.
set -eu

user=${1:?"whose key: sh manage_keys.sh USER"}
: "${PORTAL:?}" "${PORTAL_KEY:?}"
once=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n') # makes a retry after a lost response safe

# api METHOD PATH [BODY] [HEADER]: prints the response, or the error and the request id.
# curl reads the key from a file descriptor, because all users of a machine see the arguments of commands.
api() {
  answer=$(printf 'header = "Authorization: Bearer %s"\n' "$PORTAL_KEY" |
    curl --silent --show-error --config - --request "$1" --write-out '\n%{http_code}' \
      --header 'Content-Type: application/json' --header "${4:-Accept: application/json}" \
      ${3:+--data "$3"} "$PORTAL/api/v1$2")
  status=${answer##*
}
  answer=${answer%
*}
  case $status in
    2*) printf '%s' "$answer" ;;
    *) echo "$1 $2: status $status: $answer" >&2; exit 1 ;;
  esac
}

field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }

issued=$(api POST /keys "{\"user\":\"$user\",\"name\":\"from curl\",\"preset\":\"reader\",\"expires_in\":\"1d\"}" \
  "Idempotency-Key: $once")
id=$(printf '%s' "$issued" | field id)
echo "issued $id; its secret ends with $(printf '%s' "$issued" | field key | tail -c 4)"

echo "it is $(api GET "/keys/$id" | field state)"

rotated=$(api POST "/keys/$id/rotate" '{"overlap":"1h"}' "Idempotency-Key: $once-rotate")
echo "rotated; the new secret ends with $(printf '%s' "$rotated" | field key | tail -c 4)"

echo "it is $(api POST "/keys/$id/revoke" '{"reason":"example"}' | field state)"
