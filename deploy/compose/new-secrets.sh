#!/bin/sh
# Prints new secrets in the form of a .env file: sh new-secrets.sh >.env
set -eu
umask 077
for name in SECRET_KEY KEY_PEPPERS POSTGRES_PASSWORD PORTAL_DATABASE_PASSWORD MLFLOW_DATABASE_PASSWORD VALKEY_PASSWORD; do
  printf '%s=%s\n' "$name" "$(openssl rand -hex 32)"
done
printf 'PUBLIC_HOST=%s\n' "${PUBLIC_HOST:-localhost}"
