# Each target makes or updates .venv when it must: with uv if that is on PATH, else venv and pip.
#
#   make run        trains the digits network           make run ARGS="--compare sgd,adam,adamw"
#   make test       runs the tests                      make test ARGS="tests/core -x"
#   make test-all   runs the slow tests too, and draws new examples for properties
#   make docs-tables  rewrites docs/parity.md and docs/conformance.md
#   make mutation   breaks optlab and sees who notices  make mutation ARGS="--only clipping"
#   make lint       checks style and types
#   make clean      removes .venv and caches
#
# PYTHON=/path/to/python3 chooses the interpreter; without it, the first >= 3.11 that is found.

ARGS ?=
PYTHON ?=
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.DELETE_ON_ERROR:
.PHONY: run test test-all docs-tables mutation lint env env-test env-dev clean

run: env
	$(BIN)/python examples/digits_mlp.py $(ARGS)

test: env-test
	$(PYTEST) $(ARGS)

test-all: env-test
	$(PYTEST) -m "" --hypothesis-profile default $(ARGS)

docs-tables: env-test
	$(BIN)/python tests/parity/generate.py
	$(BIN)/python tests/contract/generate.py

mutation: env-test
	nice $(BIN)/python tests/mutation/run.py $(ARGS)

lint: env-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

env: .venv/examples.stamp
env-test: .venv/test.stamp
env-dev: .venv/dev.stamp

# A stamp is older than pyproject.toml when what must be installed may have changed.
.venv/%.stamp: pyproject.toml scripts/environment
	@PYTHON="$(PYTHON)" scripts/environment $*
	@touch $@
