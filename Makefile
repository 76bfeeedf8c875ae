# Everything that one does with a checkout. `make` lists it; from elsewhere: make -C folder run.
#
# PORT and DATA_DIR say where `make run` listens and keeps its data; PYTHON names the Python for .venv.

PORT ?= 8000
DATA_DIR ?= var
ARGS ?=

python := .venv/bin/python
bootstrap := ./config/bootstrap.sh
# Settings as in production, for checks that need no stores and must not depend on this machine.
as_deployed = folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	DATA_DIR="$$folder" BASE_URL=https://batchdesk.example.com SECRET_KEY="$$(head -c 48 /dev/urandom | base64)" \
	DATABASE_URL=postgresql://nobody@127.0.0.1:1/none REDIS_URL=redis://127.0.0.1:1/0 $(python) manage.py

export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport MAKEFLAGS

.DEFAULT_GOAL := help
.PHONY: help run test check bench chaos lock

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16
	@echo 'Variables: PORT=8000 DATA_DIR=./var PYTHON=python3 ARGS="…" (for test and bench)'

run: ## Install what is missing and run everything: PORT=8000 DATA_DIR=./var
	@$(bootstrap) venv run
	@DATA_DIR='$(DATA_DIR)' BATCHDESK_WITH_PARENT=1 exec $(python) manage.py up --port '$(PORT)'

test: ## All tests, those in a browser included
	@$(bootstrap) venv dev
	@$(bootstrap) programs
	@unset DATA_DIR; exec $(python) -m pytest -n 2 --dist loadfile $(ARGS)

check: ## Lint, types, import rules, templates, migrations, settings for production
	@$(bootstrap) venv dev
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy
	$(python) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	$(python) -m djlint templates --lint --quiet
	$(as_deployed) makemigrations --check --dry-run
	$(as_deployed) check --deploy --fail-level WARNING
	$(as_deployed) state_diagram --check
	$(as_deployed) retention_table --check

bench: ## The benchmarks: a table of ratios, and benchmarks/results.json
	@$(bootstrap) venv bench
	@exec $(python) -m benchmarks $(ARGS)

chaos: ## Kills and freezes, the long form
	@$(bootstrap) venv dev
	@unset DATA_DIR; CHAOS=1 exec $(python) -m pytest -m chaos $(ARGS)

lock: ## Resolve pyproject.toml into config/locks
	@$(bootstrap) lock

