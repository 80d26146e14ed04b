# `make demo` and `make test` do all set-up on a fresh machine.
PYTHON ?= python3
BIN = .venv/bin
# one more than cores, as many tests wait for a server
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count() + 1)')
PIP = $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt

.PHONY: demo test install lint check clean

.venv/core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("pasand needs Python 3.11 or newer, and \
	$(PYTHON) is %d.%d; name another: make PYTHON=python3.12 $(MAKECMDGOALS)" % (v[0], v[1]))'
	$(PYTHON) -m venv .venv
	$(PIP) -e ".[serve]"
	@touch $@

# torch first and by itself, or another package may draw in a different build
.venv/dev: .venv/core
	$(PIP) torch==2.13.0
	$(PIP) -e ".[train,serve,content,scale,report,dev]"
	@touch $@

demo: .venv/core  ## the main job: train, compare, recommend, and a page at http://127.0.0.1:8000
	$(BIN)/pasand demo $(ARGS)

test: .venv/dev  ## all tests
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

install: .venv/dev  ## everything, for developers

lint: .venv/dev  ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

check: lint  ## format, lint, types; before each commit
	$(BIN)/mypy

clean:
	rm -rf .venv .cache
