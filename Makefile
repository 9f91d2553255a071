# Two commands do everything: `make run` and `make test`. Both set up a virtual environment here first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=
PYTEST_ARGS ?=

.PHONY: help run install test test-all lint clean

help:
	@echo "make run        start the service at http://127.0.0.1:8080 (ARGS='--port 9000' adds flags)"
	@echo "make install    put it on this machine as a service, as root (ARGS='--now' starts it)"
	@echo "make test       run the fast tests"
	@echo "make test-all   run the slow ones as well"
	@echo "make lint       check style"
	@echo "make clean      remove the virtual environment and what was built"

run: $(VENV)/ready
	$(BIN)/coral-learn serve --demo --data-dir data $(ARGS)

install:
	$(PYTHON) -m service.installing $(ARGS)

test: $(VENV)/ready-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: $(VENV)/ready-test
	$(BIN)/python -m pytest -m "not board and not benchmark and not vm and not install" $(PYTEST_ARGS)

lint: $(VENV)/ready-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv .venv-* build dist *.egg-info

$(VENV)/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/ready: $(VENV)/pip setup.cfg pyproject.toml
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/ready-test: $(VENV)/pip setup.cfg pyproject.toml
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/ready-lint: $(VENV)/pip
	$(BIN)/python -m pip install --quiet 'ruff>=0.17,<0.18'
	touch $@
