# Everything here needs only Python 3.11 or newer, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
JOBS ?= 3

.PHONY: run test check lint audit bench chaos fuzz fairness harm scale pages soak screenshots format lock clean api

run: .venv/embedded.stamp
	@exec $(BIN)/python manage.py up --stop-with-parent

# Compiled modules are kept, also where the environment says otherwise: every process of a run would compile them again.
test check: export PYTHONDONTWRITEBYTECODE =

# JOBS processes share the tests, a PostgreSQL and, in one of them, an MLflow. More than there are cores, since many
# tests wait.
test: .venv/dev.stamp
	$(BIN)/python -m pytest --numprocesses $(JOBS)

# For the inner loop: lint, and the tests that need no server and no browser. Under two minutes.
check: lint
	$(BIN)/python -m pytest --numprocesses 2 -m "not server and not browser"

# mypy reads Django's settings, which want these to be set; nothing is connected to.
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

# The locked packages against the databases of known holes; says so where they cannot be reached.
audit: .venv/dev.stamp
	@$(BIN)/python -m portal.dependency_audit

# Side by side with their baselines; prints ratios.
bench: .venv/dev.stamp
	$(BIN)/python -m benchmarks.usage_log
	$(BIN)/python -m benchmarks.seeing

# The management API against its own schema, as four kinds of callers: what the suite does in small.
api: .venv/dev.stamp
	API_EXAMPLES=100 $(BIN)/python -m pytest tests/end_to_end/test_api_live.py -s --timeout=3600

# Workers killed, PostgreSQL away for a minute: what the suite does in small. Two minutes.
chaos: .venv/dev.stamp
	CHAOS=whole $(BIN)/python -m pytest tests/chaos -s

# Twenty thousand connections of bytes that may be HTTP. Four minutes.
fuzz: .venv/dev.stamp
	FUZZ=$${FUZZ:-20000} $(BIN)/python -m pytest tests/fuzz -s --timeout 3000

# What one caller at full speed, with big uploads, costs another; prints the ratio. Two minutes.
fairness: .venv/dev.stamp
	$(BIN)/python -m benchmarks.fairness

# What one key can do to another user's work, on a real MLflow: failures, latency, memory, pages. Two minutes.
harm: .venv/dev.stamp
	$(BIN)/python -m benchmarks.harm

# The usage log with 10 million calls beside 100,000 (ROWS=… for another number). Two to five minutes, 8 GB.
scale: .venv/dev.stamp
	$(BIN)/python -m benchmarks.scale

# Ten minutes (MINUTES=… for another number) at 80 % of what the machine takes.
soak: .venv/dev.stamp
	$(BIN)/python -m benchmarks.soak

# The first byte of every admin page with a million calls and 10,000 keys (ROWS=… for another number). Three minutes.
pages: .venv/dev.stamp
	$(BIN)/python -m benchmarks.pages

# Pictures of the main pages, into docs/screenshots; while it is at it, what the suite looks for on every page.
screenshots: .venv/dev.stamp
	SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest tests/browser/test_every_page.py

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Locks carry versions and hashes, no addresses. Needs uv.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra embedded -c requirements.lock pyproject.toml -o requirements-embedded.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra embedded --extra telemetry --extra dev -c requirements-embedded.lock pyproject.toml -o requirements-dev.lock

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
