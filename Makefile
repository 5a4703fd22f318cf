# What CI runs is what you run. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first of these that is Python 3.11 to 3.13; another: make PYTHON=/path/to/python3.12
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
PORT ?= 8000
COLAB_IMAGE ?= us-docker.pkg.dev/colab-images/public/cpu-runtime
# One thread a process, one process a core: two threads on a busy core are slower than one. "auto" would take half of a
# runner's cores, for which it counts each pair of hyperthreads once.
TEST_SETTINGS := OMP_NUM_THREADS=1 PYTHONHASHSEED=0
PYTEST := $(TEST_SETTINGS) $(RUN) -m pytest
WORKERS := -n logical
# The cells of a notebook stay together (tests/labs/conftest.py); whole runs of a lab, the longest tests, come first
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout 120 $(WORKERS) --dist loadscope --no-loadscope-reorder

.PHONY: help environment book serve test lint types contracts unit labs site colab runtime report browser room bench evidence freshness adopt clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

environment: ## make .venv with the pinned versions (seconds when nothing changed)
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found: install one, or name it with make PYTHON=/path/to/python3.12." >&2; exit 1; }
	@$(PYTHON) src/coursekit/book/environment.py $(VENV)

book: environment ## run the labs at the laptop preset and build the site into _build/html
	@$(RUN) -m coursekit.book.build

serve: ## show the built site on http://localhost:8000
	@[ -f _build/html/index.html ] || { echo "There is no site yet: run make book first." >&2; exit 1; }
	@echo "http://localhost:$(PORT)  (stop with Ctrl-C)"
	@$(PYTHON) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

test: lint types contracts unit labs site ## everything that CI runs

lint: environment ## style of the code
	@echo "[lint] ruff"
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

types: environment ## static types
	@echo "[types] mypy"
	@$(RUN) -m mypy

contracts: environment ## who may import whom
	@echo "[contracts] import-linter"
	@$(VENV)/bin/lint-imports --no-cache

unit: environment ## unit tests, doctests, shapes checked at run time
	@echo "[unit] pytest"
	@$(PYTEST) src tests --ignore=tests/site --ignore=tests/labs --doctest-modules \
	  --jaxtyping-packages=coursekit,tests.typecheck $(WORKERS) --dist worksteal

labs: environment ## every lab from top to bottom at the smoke preset
	@echo "[labs] pytest with nbval"
	@COURSEKIT_PRESET=smoke $(PYTEST) tests/labs labs $(NBVAL)

site: book ## the built site in a real browser with the network blocked
	@echo "[site] pytest with chromium"
	@$(PYTEST) tests/site $(WORKERS) --dist worksteal

colab: ## labs, figures and records on the older packages that Colab has (not part of make test)
	@$(PYTHON) src/coursekit/book/environment.py .venv-colab --requirements tests/labs/colab.txt
	@COURSEKIT_PRESET=smoke $(TEST_SETTINGS) .venv-colab/bin/python -m pytest tests/labs tests/lab labs \
	  tests/test_figures.py tests/test_results.py $(NBVAL)

runtime: ## every lab in Colab's own public image (needs Docker and 40 GB of disk; GitHub runs it weekly)
	@mkdir -p _build
	@docker run --rm --entrypoint /bin/bash --volume "$(CURDIR)":/course:ro $(COLAB_IMAGE) /course/.ci/colab 2>&1 \
	  | tee _build/colab.log

report: ## open an issue about what broke in the last make runtime (needs GitHub's gh)
	@.ci/report _build/colab.log

browser: ## install Chromium for the site tests where it is missing (Debian, Ubuntu)
	@.ci/browser

room: ## on GitHub's runner, make room for Colab's image
	@.ci/room

bench: environment ## speed of the stacked sweep, side by side with plain loops
	@$(RUN) -m tests.bench

evidence: environment ## write chapters/evidence.md from the measured runs
	@$(RUN) -m coursekit.book.evidence

freshness: environment ## run the labs at PRESET=smoke and record what they took (LABS=05_grokking,... for some)
	@$(RUN) -m coursekit.book.freshness --preset $(or $(PRESET),smoke) $(if $(LABS),--labs=$(LABS))

adopt: ## make a copy your own: REPOSITORY=OWNER/NAME TITLE="..." WEEKS=2,5,6 (each of them may be left out)
	@$(or $(PYTHON),python3) src/coursekit/book/repository.py $(if $(REPOSITORY),--repository="$$REPOSITORY") \
	  $(if $(TITLE),--title="$$TITLE") $(if $(WEEKS),--weeks="$$WEEKS")

clean: ## remove what was built; .venv stays
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
