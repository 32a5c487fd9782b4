# Needs Python 3.11 or newer with venv and pip; everything else is set up by the first command that needs it.
# Options: PYTHON=python3.12  VENV=.venv-312  WORKERS=4  SECONDS=20  SEED=7  ARGS="-k batching"
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Test files run in so many processes, some of which wait for servers and deadlines; 0 is one, for debuggers.
WORKERS ?= 4
PARALLEL = -n $(WORKERS) --dist worksteal
QUICK = not slow and not stores and not examples
# How long each test marked soak goes on, and with which seed it begins.
SECONDS ?= 60
SEED ?= 0
SOAK = -m soak --soak-seconds $(SECONDS) --soak-seed $(SEED)
SOURCES = $(wildcard benchmarks conftest.py examples integration_tests langchain_gemini_mm scripts tests)

export FOLDER Q
# Hundreds of processes start in a run of the tests; none of them should compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo examples test test-slow test-newest test-oldest test-unpinned test-stores foreign-files integration soak chaos check fix bench bench-weaviate live wheel lock
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/stamp ## index sample media and ask across them; or: make demo FOLDER=~/Pictures Q="a dog on a beach"
	@$(BIN)/python examples/demo.py $${FOLDER:+--folder "$$FOLDER"} $${Q:+--question "$$Q"}

test: $(VENV)/stamp ## run the tests, offline; those that take long: make test-slow
	@$(BIN)/python -m pytest $(PARALLEL) -m "$(QUICK)" $(ARGS)

test-slow: $(VENV)/stamp ## run the tests that take long: all formats, killed processes, memory, type checkers
	@$(BIN)/python -m pytest $(PARALLEL) -m "slow and not soak and not stores" $(ARGS)

examples: $(VENV)/stamp ## run every example, offline
	@$(BIN)/python -m pytest -n $(WORKERS) -m "examples and not stores" tests/test_examples.py $(ARGS)

test-newest: $(VENV)-newest/stamp ## the same on Python 3.13 with the newest versions of everything
	@$(VENV)-newest/bin/python -m pytest $(PARALLEL) -m "$(QUICK)" $(ARGS)

test-oldest: $(VENV)-oldest/stamp ## the same on the oldest versions that pyproject.toml allows
	@$(VENV)-oldest/bin/python -m pytest $(PARALLEL) -m "$(QUICK) and not rivals" $(ARGS)

test-unpinned: ## the same with whatever versions a user would get today
	@$(PYTHON) scripts/environment.py newest --unpinned --venv $(VENV)
	@$(VENV)-unpinned/bin/python -m pytest $(PARALLEL) -m "$(QUICK)" $(ARGS)

test-stores: $(VENV)-stores/stamp ## tests with other vector stores, image files and examples: Chroma, FAISS, Qdrant; HEIC
	@$(VENV)-stores/bin/python -m pytest -m "stores or real_media" tests/test_other_stores.py tests/media/images/test_decode.py tests/test_examples.py $(ARGS)

integration: $(VENV)/stamp ## tests on a real Weaviate: that of WEAVIATE_URL, else one that Go builds, once, in minutes
	@$(BIN)/python -m scripts.weaviate_server install
	@REQUIRE_WEAVIATE=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "weaviate and not chaos" integration_tests $(ARGS)

soak: $(VENV)/stamp ## fuzzing, random histories, crowds and kills for SECONDS each; kills nodes of Weaviate where it is installed
	@$(BIN)/python -m pytest $(PARALLEL) $(SOAK) tests $(ARGS)
	@$(BIN)/python -m pytest $(SOAK) integration_tests $(ARGS)

chaos: $(VENV)/stamp ## kill nodes of a Weaviate cluster of three on this machine
	@$(BIN)/python -m scripts.weaviate_server install --own
	@REQUIRE_WEAVIATE=1 $(BIN)/python -m pytest -m chaos integration_tests $(ARGS)

check: $(VENV)/stamp ## formatting, lint and types; changes nothing
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy $(SOURCES)

fix: $(VENV)/stamp ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: $(VENV)/stamp ## measure against the bare SDK, langchain-google-genai and plain NumPy
	@$(BIN)/python benchmarks/run.py $(ARGS)

bench-weaviate: $(VENV)/stamp ## measure the store in Weaviate against the bare client, on a server of this machine
	@$(BIN)/python -m scripts.weaviate_server install
	@$(BIN)/python benchmarks/run.py --only weaviate_store $(ARGS)

foreign-files: $(VENV)/stamp ## load the test files of other packages, which it downloads, and compare with independent readers
	@$(BIN)/python -m pytest -s -m foreign_files tests/loaders/test_foreign_files.py $(ARGS)

live: $(VENV)/stamp ## check our assumptions on the real service; needs GOOGLE_API_KEY, costs under a cent
	@test -n "$$GOOGLE_API_KEY$$GEMINI_API_KEY" || { echo "make live talks to the real service: set GOOGLE_API_KEY first" >&2; exit 2; }
	@$(BIN)/python -m pytest --force-enable-socket -m live integration_tests/test_gemini_live.py $(ARGS)

wheel: $(VENV)/stamp ## build the wheel and try it outside the checkout, bare and with extras
	@$(BIN)/python -m scripts.check_wheel

lock: ## resolve all versions anew and write the constraints files
	@$(PYTHON) scripts/environment.py --relock

$(VENV)/stamp: pyproject.toml constraints.txt scripts/environment.py
	@$(PYTHON) scripts/environment.py main --venv $(VENV)

$(VENV)-newest/stamp: pyproject.toml constraints-newest.txt scripts/environment.py
	@$(PYTHON) scripts/environment.py newest --venv $(VENV)

$(VENV)-oldest/stamp: pyproject.toml constraints-oldest.txt scripts/environment.py
	@$(PYTHON) scripts/environment.py oldest --venv $(VENV)

$(VENV)-stores/stamp: pyproject.toml constraints-stores.txt scripts/environment.py
	@$(PYTHON) scripts/environment.py stores --venv $(VENV)
