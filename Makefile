# One verb per habit. `make demo` and `make test` need nothing but Python 3.11 or newer and the package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Run the tests with the Python $(1): side by side, then one by one those that want a quiet machine (`alone`), which
# are looked for in their own files. The second pass runs whatever the first one has found; either one's failure counts.
# Many tests start processes: all but the first find the code compiled, also where the environment would not have it kept.
define run_tests
unset PYTHONDONTWRITEBYTECODE; \
$(1) -m pytest -n logical --maxprocesses 4 --dist worksteal -m 'not long and not alone'; many=$$?; \
$(1) -m pytest -m 'alone and not long' $$(grep -l 'mark\.alone' tests/test_*.py); alone=$$?; \
echo "side by side: $$(test $$many = 0 && echo passed || echo FAILED), alone: $$(test $$alone = 0 && echo passed || echo FAILED)"; \
test $$many = 0 && test $$alone = 0
endef

.PHONY: demo dev test check lint format setup vision train ray bench audit constraints lowest clean

demo: $(VENV)/.core  ## build the sample corpus and materialize RR and ORR dialogues of all five sources
	@echo "Materializing RR and ORR dialogues of five sources (about a minute on 2 cores) ..."
	@$(BIN)/python -m mmat_dagster materialize orr_dialogues
	@echo
	@$(BIN)/python -m mmat_dagster show rr_dialogues --source tabmwp -n 1
	@echo "Datasets:        data/store (Parquet; one folder per dataset and source)"
	@echo "More dialogues:  $(BIN)/python -m mmat_dagster show rr_dialogues --source visual_cot -n 3"
	@echo "What was lost:   $(BIN)/python -m mmat_dagster show rr_dialogues --rejected -n 3"
	@echo "The Dagster UI:  make dev        then open http://127.0.0.1:3000"

dev: $(VENV)/.core  ## the Dagster UI on http://127.0.0.1:3000
	$(BIN)/dagster dev --host 127.0.0.1 --port 3000

test: $(VENV)/.dev  ## the default test run: no key, no network, no accelerator
	@$(call run_tests,$(BIN)/python)

check: lint test  ## everything that must hold before a commit

lint: $(VENV)/.dev  ## format, lint, types, imports, definitions
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/dagster definitions validate --module-name mmat_dagster.definitions

format: $(VENV)/.dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

setup: $(VENV)/.dev  ## the environment for working on the project

vision: $(VENV)/.vision  ## torch and transformers too, for open-vocabulary boxes and their tests

train: $(VENV)/.train  ## what trains students and reads releases back, and their tests

ray: $(VENV)/.ray  ## Ray, and the tests of fan-out and of trainings on a cluster

bench: $(VENV)/.ray  ## measurements, by hand
	$(BIN)/python bench/stages.py
	$(BIN)/python -m bench.sources
	$(BIN)/python -m bench.teacher
	$(BIN)/python -m bench.operators
	$(BIN)/python -m bench.training
	$(BIN)/python -m bench.evaluation
	$(BIN)/python -m bench.release
	$(BIN)/python -m bench.viewer
	$(BIN)/python -m bench.ray

audit:  ## bandit over the code, and known vulnerabilities of the pinned versions; asks the network, so no part of check
	rm -rf .venv-audit && $(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check bandit pip-audit
	.venv-audit/bin/bandit --quiet --configfile pyproject.toml --recursive mmat_dagster assets resources
	.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

constraints:  ## write constraints.txt anew from the newest versions that pyproject.toml allows
	rm -rf .venv-newest && $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,aws,vision,train,smollm2,release,ray]'
	head -2 constraints.txt > constraints.new
	.venv-newest/bin/python -m pip freeze --exclude-editable >> constraints.new
	mv constraints.new constraints.txt && rm -rf .venv-newest

lowest:  ## run the tests on the lower bounds of pyproject.toml
	rm -rf .venv-lowest && $(PYTHON) -m venv .venv-lowest
	sed -n '/^dependencies/,/^]/s/^ *"\([a-z0-9_-]*\)[^>]*>=\([0-9.]*\).*/\1==\2/p' pyproject.toml > .venv-lowest/bounds.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint .venv-lowest/bounds.txt
	@$(call run_tests,.venv-lowest/bin/python)

clean:
	rm -rf $(VENV) .venv-newest .venv-lowest .venv-audit data .dagster .tmp_dagster_home_*

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable . --constraint constraints.txt
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev,aws]' --constraint constraints.txt
	@touch $@ $(VENV)/.core

$(VENV)/.vision: $(VENV)/.dev
	$(INSTALL) --editable '.[dev,aws,vision]' --constraint constraints.txt
	@touch $@

$(VENV)/.train: $(VENV)/.vision
	$(INSTALL) --editable '.[dev,aws,vision,train,smollm2,release]' --constraint constraints.txt
	@touch $@

$(VENV)/.ray: $(VENV)/.train
	$(INSTALL) --editable '.[dev,aws,vision,train,smollm2,release,ray]' --constraint constraints.txt
	@touch $@
