# `make demo` and `make test` set up everything that they need in $(VENV).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Held back by hand: a new torch may change what a seed gives.
TORCH ?= torch==2.13.0
DEMO ?= demo
PORT ?= 8000

.PHONY: help demo test lint types unit lock openapi clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

$(VENV)/.train: pyproject.toml requirements.lock
	@echo "== Python environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[service,train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[dev]'
	@touch $@

demo: $(VENV)/.train ## make a shop with pictures, train on it, serve it
	PATH="$(abspath $(BIN)):$$PATH" scripts/demo $(DEMO) $(PORT)

test: lint types unit ## everything that CI checks

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

unit: $(VENV)/.dev ## pytest
	$(BIN)/python -m pytest

openapi: $(VENV)/.dev ## write docs/openapi.json from the application
	$(BIN)/python -m service.openapi docs/openapi.json

lock: ## pin what a fresh environment gets today
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet '$(TORCH)'
	build/lock/bin/pip install --quiet --editable '.[dev]'
	build/lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' >requirements.lock

clean: ## remove the demo and the environment
	rm -rf $(DEMO) $(VENV) build
