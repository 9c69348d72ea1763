# Everything by one command each; what it needs is installed into .venv first.
#
#   make demo    migrate the example application on SQLite, then show what stands where
#   make test    run the tests on SQLite, PostgreSQL and MariaDB; ARGS="-k lock" goes to pytest
#   make test-oldest    the tests of the core with the oldest Alembic and SQLAlchemy, tests/oldest.txt
#   make lint    ruff, mypy, and the order of the rooms by import-linter
#   make test-matrix    the tests on Python 3.10 to 3.14 by uv; PYTHONS="3.10 3.14", ARGS="-k lock"
#   make docs    build the documentation into build/docs; a warning is an error
#   make linkcheck    ask every link of the documentation
#   make chaos   race, kill and cut off runs, for about half an hour; ARGS="racing --rounds 2"
#   make bench   compare with the peers and write docs/benchmarks.rst; ARGS=--quick takes minutes
#   make clean   remove what the others made, the demo's database too
#
# PYTHON=python3.13 chooses another Python for a .venv that is not there yet.

PYTHON ?= python3
# One more than processors, since tests wait for servers and other processes; each starts database
# servers of its own, so more than a few do not pay.
WORKERS ?= $(shell $(PYTHON) -c "import os; print(min((os.cpu_count() or 1) + 1, 4))")
ARGS ?=
# Each of thousands of processes would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
METADATA := setup.py pyproject.toml $(wildcard examples/*/setup.py examples/*/pyproject.toml)
EXAMPLES := $(patsubst examples/%/,-e ./examples/%,$(sort $(dir $(filter examples/%,$(METADATA)))))
# Warnings of pip are about the machine; its errors are shown.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq

.PHONY: demo test test-oldest test-matrix lint docs linkcheck chaos bench clean

demo: .venv/installed-demo
	$(BIN)/ws-alembic -x packages=all -c development.ini upgrade
	$(BIN)/ws-alembic -c development.ini status
	@echo "See it at http://127.0.0.1:6543/migrations after: $(BIN)/pserve ws://development.ini"

test: .venv/installed-test
	@$(BIN)/python -m compileall -q websauna_migrate
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

# The newest releases are those of .venv; MariaDB's tests are left to it.
CORE := $(patsubst %,tests/test_%.py,alembic_internals sqlalchemy_internals lifecycle \
	autogenerate_checks autogenerate_renames beside_plain sqlite_batches)

test-oldest: .venv-oldest/installed
	.venv-oldest/bin/python -m pytest -n $(WORKERS) -k "not mariadb" $(CORE) $(ARGS)

# uv fetches a Python that is not there; an environment for each stays below build/matrix.
PYTHONS ?= 3.10 3.11 3.12 3.13 3.14

test-matrix:
	@set -e; for python in $(PYTHONS); do \
		uv python install -q $$python 2>/dev/null || uv python find -q $$python > /dev/null 2>&1 || \
			{ echo "Python $$python cannot be had here: left out"; continue; }; \
		echo "Python $$python"; \
		uv venv -q --allow-existing --seed --python $$python build/matrix/$$python; \
		uv pip install -q --python build/matrix/$$python/bin/python -e ".[test]" $(EXAMPLES); \
		build/matrix/$$python/bin/python -m pytest -q -n $(WORKERS) $(ARGS); \
	done

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: .venv/installed-test
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/docs
	$(BIN)/python -m sphinx -q -W --keep-going -b man -d build/doctrees docs build/man

linkcheck: .venv/installed-test
	$(BIN)/python -m sphinx -q -b linkcheck -d build/doctrees docs build/linkcheck

chaos: .venv/installed-test
	$(BIN)/python benchmarks/chaos.py $(ARGS)

# The peers get environments of their own, below build/bench.
bench: .venv/installed-test
	$(BIN)/python benchmarks/run.py $(ARGS)

# The virtual environment is made anew where pip is missing in it, as it is after a first try on a
# Debian without python3-venv.
.venv/installed-demo: $(METADATA)
	@echo "Installing websauna_migrate and its examples into .venv ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(INSTALL) -e . $(EXAMPLES)
	@touch $@

.venv/installed-test: $(METADATA)
	@echo "Installing websauna_migrate, its examples and what the tests need into .venv ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(INSTALL) -e ".[test]" $(EXAMPLES)
	@touch $@ .venv/installed-demo

.venv-oldest/installed: $(METADATA) tests/oldest.txt
	@echo "Installing the oldest Alembic and SQLAlchemy into .venv-oldest ..."
	@test -x .venv-oldest/bin/pip || $(PYTHON) -m venv .venv-oldest
	@.venv-oldest/bin/python -m pip --disable-pip-version-check --no-input install -qq \
		-r tests/oldest.txt -e . $(EXAMPLES)
	@touch $@

clean:
	rm -rf .venv .venv-oldest build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis example.sqlite*
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name '*.egg-info' -prune -exec rm -rf {} +
