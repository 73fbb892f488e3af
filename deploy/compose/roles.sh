#!/bin/bash
# Runs once, when PostgreSQL's volume is empty: a role and a database for the portal, and others for MLflow, with the
# limits that deploy/README.md explains.
set -euo pipefail
psql --set ON_ERROR_STOP=1 --username postgres \
  --set portal_password="$PORTAL_DATABASE_PASSWORD" --set mlflow_password="$MLFLOW_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE portal LOGIN PASSWORD :'portal_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password' CONNECTION LIMIT 60;
CREATE DATABASE portal OWNER portal;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE ALL ON DATABASE portal FROM PUBLIC;
REVOKE ALL ON DATABASE mlflow FROM PUBLIC;
ALTER ROLE mlflow SET statement_timeout = '60s';
ALTER ROLE mlflow SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE mlflow SET work_mem = '16MB';
ALTER ROLE mlflow SET hash_mem_multiplier = 1;
ALTER ROLE mlflow SET temp_file_limit = '4GB';
ALTER ROLE mlflow SET max_parallel_workers_per_gather = 0;
SQL
