# Every target makes its own environment in .venv: git, make and python3 with venv are enough.

PYTHON ?= python3
PORT   ?= 8000
ARGS   ?=
VENV   := .venv
RUN    := $(VENV)/bin
WHEEL  := $(CURDIR)/build/wheel

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-horizon test-deep fuzz mutate promises test-all bench scale docs lint format clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

demo: $(VENV)/.demo  ## Run the demo site on http://127.0.0.1:8000 (PORT=9000 for another port)
	@$(RUN)/python examples/demo/serve.py --port $(PORT)

test: $(VENV)/.test $(VENV)/.mysqlclient $(WHEEL)  ## Run all tests on the built wheel (ARGS="-k T2" to choose)
	@tools/debian_packages.sh memcached redis-server postgres=postgresql pgbouncer mariadbd=mariadb-server \
		chromium chromedriver=chromium-driver
	PYTHONPATH=$(WHEEL) $(RUN)/pytest $(ARGS)

test-horizon: $(VENV)/.test $(VENV)/.mysqlclient $(WHEEL)  ## Run the built wheel under the real OpenStack Horizon, on every engine
	@tools/debian_packages.sh memcached redis-server postgres=postgresql mariadbd=mariadb-server \
		chromium chromedriver=chromium-driver
	$(RUN)/python -m tests.horizon.environments
	PYTHONPATH=$(WHEEL) $(RUN)/pytest -n 2 -o faulthandler_timeout=900 tests/horizon $(ARGS)

test-deep: $(VENV)/.test  ## Play random histories of requests and faults on every store for 20 minutes
	SOJOURN_DEEP=20 $(RUN)/pytest -o faulthandler_timeout=0 tests/model $(ARGS)

fuzz: $(VENV)/.fuzz  ## Fuzz everything that reads a cookie for five minutes (ARGS=60 for another number of seconds)
	$(RUN)/python -m fuzz $(ARGS)

mutate: $(VENV)/.test  ## Open a million altered cookies: none may be accepted or raise an error
	SOJOURN_MUTATIONS=1000000 $(RUN)/pytest -o faulthandler_timeout=0 --numprocesses=0 --capture=no \
		tests/core/test_sealed_carrier.py -k mutated $(ARGS)

promises: $(VENV)/.test  ## Print each promise with the tests that prove it
	@$(RUN)/python tools/promises.py

test-all:  ## Run all tests on every Python 3.11 to 3.14 found, with Django 5.2 and 6.x
	$(PYTHON) tools/test_all.py $(ARGS)

bench: $(VENV)/.bench  ## Measure speed beside Django's engines and the raw driver (ARGS=--quick)
	@tools/debian_packages.sh memcached redis-server postgres=postgresql
	@$(RUN)/python -m bench $(ARGS)

scale: $(VENV)/.test $(VENV)/.mysqlclient  ## Put a million sessions into each store and purge some (ARGS="--sessions 20000")
	@tools/debian_packages.sh memcached redis-server postgres=postgresql mariadbd=mariadb-server
	@$(RUN)/python -m bench.scale $(ARGS)

docs: $(VENV)/.docs  ## Build the documentation in docs/_build
	$(RUN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build
	@echo "docs/_build/index.html"

lint: $(VENV)/.lint  ## Check style, types and imports
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	$(RUN)/basedpyright --warnings
	$(RUN)/lint-imports

format: $(VENV)/.lint  ## Put the code into shape
	$(RUN)/ruff check --fix
	$(RUN)/ruff format

clean:  ## Remove environments and caches; the demo's data stays in .cache/demo
	rm -rf build docs/_build .venv .venv-horizon .venv-matrix .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The wheel as an installation unpacks it, so that the tests meet what users get; built when something in it changed.
$(WHEEL): $(shell find src -name __pycache__ -prune -o -print) pyproject.toml LICENSE README.md | $(VENV)/.test
	@rm -rf $@
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --target $@ .
	@touch $@

# $(VENV)/.demo, .test and .lint remember that the extra of that name is installed.
$(VENV)/.%: pyproject.toml | $(RUN)/pip
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# The driver of MariaDB and MySQL that Django asks for, which pip compiles. Where it cannot, their tests are left out.
$(VENV)/.mysqlclient: | $(RUN)/pip
	@tools/debian_packages.sh gcc pkg-config python3-config=python3-dev mariadb_config=libmariadb-dev
	@if $(RUN)/python -m pip install --quiet --disable-pip-version-check 'mysqlclient>=2.2.1'; then touch $@; \
	else echo "mysqlclient could not be built" >&2; [ -z "$$CI" ]; fi

$(RUN)/pip:
	$(PYTHON) -m venv $(VENV)
