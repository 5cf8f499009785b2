# Everything from a bare Python 3.11: `make demo` shows the whole way from data to answer, `make test` proves it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STUBS := .venv-stubs
PIP_INSTALL := pip install --disable-pip-version-check --no-deps
# pip tells what it is at, with its bars, to whoever sits there; a log has no use for it.
UNWATCHED := $$(test -t 2 || echo --quiet)
PROTOS := $(shell find protos -name '*.proto')
SOURCES := convoy.py demo.py bundle service training tests benchmarks docs

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test check format lint types contracts stubs stubs-check pictures bench lock clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/ready ## everything for development, into .venv

$(VENV)/ready: requirements/dev.txt pyproject.toml
	@echo "Installing into $(VENV) with $(PYTHON): about a minute and 3 GB, TensorFlow is most of it"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Convoy needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/$(PIP_INSTALL) $(UNWATCHED) --no-compile --require-hashes -r requirements/dev.txt
	@$(BIN)/$(PIP_INSTALL) --quiet --no-build-isolation --editable .
	@echo "Installed. For the commands of the READMEs in this shell: . $(VENV)/bin/activate"
	@touch $@

demo: setup ## train, prove, publish, serve and ask, on real data
	@$(BIN)/python demo.py

serve: setup ## serve what the demo published, until Ctrl-C
	@test -d out/models || { echo "nothing is published yet: run make demo first"; exit 2; }
	@$(BIN)/convoy serve --repository out/models --state out/state

test: setup ## the whole test suite
	@$(BIN)/pytest

check: setup lint types contracts stubs-check ## the gate: format, lint, types, contracts, stubs, tests
	@$(BIN)/pytest

format: setup ## put the code into its form
	@$(BIN)/ruff check --fix --exit-zero $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

lint: setup
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)

types: setup
	@$(BIN)/mypy

contracts: setup
	@$(BIN)/lint-imports

$(STUBS)/ready: requirements/stubs.txt
	@$(PYTHON) -m venv $(STUBS)
	@$(STUBS)/bin/$(PIP_INSTALL) --quiet --require-hashes -r requirements/stubs.txt
	@touch $@

PROTOC = PATH="$(CURDIR)/$(STUBS)/bin:$$PATH" $(STUBS)/bin/python -m grpc_tools.protoc -I. \
	--python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)

stubs: $(STUBS)/ready ## write the stubs anew from the .proto files
	@$(call PROTOC,.)

stubs-check: $(STUBS)/ready
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call PROTOC,$$fresh) && \
	for stub in $$(cd $$fresh && find . -type f); do \
		diff -u "$$stub" "$$fresh/$$stub" || { echo "$$stub is not what its .proto says: run make stubs"; exit 1; }; \
	done

pictures: setup ## the README's pictures, from the report of what the demo published last
	@$(BIN)/python docs/pictures.py "$$(ls -d out/models/fashion_mnist/[0-9]* | sort -V | tail -1)/report/index.html"

bench: setup ## the server beside the raw runtime, measured here (benchmarks/README.md)
	@$(BIN)/python -m benchmarks

COMPILE = uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11

lock: setup ## resolve the dependencies anew, with hashes
	@$(BIN)/$(COMPILE) --upgrade pyproject.toml --extra dev -o requirements/dev.txt
	@$(BIN)/$(COMPILE) --upgrade pyproject.toml --extra service -o requirements/service.txt
	@$(BIN)/$(COMPILE) --upgrade requirements/stubs.in -o requirements/stubs.txt

clean: ## remove what was made here
	rm -rf $(VENV) $(STUBS) out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
