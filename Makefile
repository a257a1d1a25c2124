# `make demo` and `make test` set up everything that they need in $(VENV).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# Held back by hand: a new torch may change what a seed gives.
TORCH ?= torch==2.13.0
DOCKER ?= docker
DEMO ?= demo
PARALLEL := --numprocesses 2 --dist loadfile
PORT ?= 8000

.PHONY: help demo test test-fast coverage faults lint types unit lock openapi cli settings chart promtool chromium screenshots runbook image clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

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

lint: $(VENV)/.dev ## ruff, hadolint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/hadolint Dockerfile

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

unit: $(VENV)/.dev ## pytest, two files at a time
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: lint types ## the same without the slow tests, in under two minutes
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow'

# Processes that tests start are not counted: most of the service runs in one.
coverage: $(VENV)/.dev ## pytest with the share of lines that run
	$(BIN)/python -m pytest $(PARALLEL) --cov

faults: $(VENV)/.dev ## run the fault suite and write docs/design/faults.md
	PYTHONPATH=. $(BIN)/python scripts/faults.py

openapi: $(VENV)/.dev ## write docs/reference/openapi.json from the application
	$(BIN)/python -m service.openapi >docs/reference/openapi.json

cli: $(VENV)/.dev ## write docs/reference/cli.md from the commands
	$(BIN)/python -m drepmrec.reference >docs/reference/cli.md

settings: $(VENV)/.dev ## write the tables of docs/reference/settings.md
	$(BIN)/python scripts/settings.py

chart: $(VENV)/.dev ## write what of the Helm chart follows from settings and values.yaml
	$(BIN)/python scripts/chart.py

promtool: $(VENV)/.dev ## promtool for the tests of the alerts, from Debian's package
	rm -rf build/promtool && mkdir -p build/promtool
	cd build/promtool && apt-get download prometheus && dpkg-deb --extract prometheus_*.deb .
	install build/promtool/usr/bin/promtool $(BIN)

# The second resolution is for what an image alone may have: CUDA's packages (those of torch where
# it is not the CPU's wheel), and async-timeout, which redis needs before Python 3.11.3.
lock: ## pin what a fresh environment gets today
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet '$(TORCH)'
	build/lock/bin/pip install --quiet --editable '.[dev]'
	build/lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' >build/lock.txt
	build/lock/bin/pip install --quiet --dry-run --ignore-installed --report build/lock.json \
		--constraint build/lock.txt '.[gpu,train]' async-timeout
	$(PYTHON) -c "import json; [print(p['metadata']['name'], p['metadata']['version'], sep='==') \
		for p in json.load(open('build/lock.json'))['install']]" \
		| sed '/^drepmrec=/d; s/+.*//' | LC_ALL=C sort -uft= -k1,1 - build/lock.txt >requirements.lock
	build/lock/bin/python scripts/hashes.py >build/hashes && mv build/hashes requirements.hashes

chromium: ## Chromium for the tests of the studio, from Debian's packages
	rm -rf build/chromium && mkdir -p build/chromium/debs
	cd build/chromium/debs && apt-get download $$(apt-get install --simulate chromium \
		| sed -n 's/^Inst \(\S*\) .*/\1/p')
	for package in build/chromium/debs/*.deb; do dpkg-deb --extract $$package build/chromium; done

screenshots: $(VENV)/.dev ## pictures of the studio in docs/images, of the shop that `make demo` made
	DREPMREC_DEMO=$(DEMO) DREPMREC_SCREENSHOTS=docs/images $(BIN)/python -m pytest api_tests/studio

runbook: $(VENV)/.dev ## write the studio's runbook from docs/guide/operations.md
	$(BIN)/python scripts/runbook.py

image: ## build the images, with $(DOCKER) and DOCKER_OPTIONS (docs/guide/image.md)
	for target in service refresh training; do \
		$(DOCKER) build --target $$target --tag drepmrec-$$target:$(VERSION) \
			--build-arg REVISION=$$(git rev-parse HEAD) $(DOCKER_OPTIONS) . || exit; \
	done

clean: ## remove the demo and the environment
	rm -rf $(DEMO) $(VENV) build
