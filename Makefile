# Everything runs in .venv, made from PYTHON (3.11 or later). Nothing else is needed but make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo docs test test-pages fuzz combinations faults audit gpu-check test-costly test-lowest test-highest test-wheel lint clean

demo: $(VENV)/.ready
	$(BIN)/bmaml demo --out demo

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest -q -n auto --dist worksteal

# README's commands and every block of Python of README and the site's pages, as written.
test-pages: $(VENV)/.ready-test
	$(BIN)/python -m pytest -q -n auto -m pages

# The site, from docs/ and the code's own docstrings. A warning is an error. The pages need no network: open build/docs/index.html.
docs: $(VENV)/.ready-docs
	$(BIN)/python -m sphinx -W --keep-going -q -j auto docs build/docs
	@echo "the site is at build/docs/index.html"

# The fuzzers with many new examples each; BMAML_FUZZ says how many.
fuzz: $(VENV)/.ready-test
	BMAML_FUZZ=$${BMAML_FUZZ:-1000} $(BIN)/python -m pytest -q -n auto tests/fuzz

# Kills, full disks, two writers and other numbers of devices; BMAML_FAULTS says how often whole trainings are stopped.
faults: $(VENV)/.ready-test
	BMAML_FAULTS=$${BMAML_FAULTS:-10} $(BIN)/python tests/faults

# The licences of all that the package needs, and known vulnerabilities of the pinned versions. This needs the network, and fails
# where a registry answers without a list of vulnerabilities (--strict), because nothing would then have been audited.
audit: $(VENV)/.ready-test
	$(BIN)/python tests/licences.py
	$(BIN)/python -m pip install -q --disable-pip-version-check pip-audit
	$(BIN)/python -m pip_audit --strict --disable-pip --no-deps -r constraints.txt

# Short trainings of random combinations on data of many scales: no prediction is broken. COUNT says how many.
combinations: $(VENV)/.ready
	$(BIN)/python benchmarks/combinations/run.py --count $${COUNT:-1000}

# On a machine with a GPU and bmaml[cuda13]: identities, speed, and what precision costs, into docs/results/gpu.
gpu-check: $(VENV)/.ready-test
	$(BIN)/python benchmarks/gpu/run.py

# Every figure at its small size, the demo, and every learner with every objective: some minutes.
test-costly: $(VENV)/.ready-test
	$(BIN)/python -m pytest -q -n auto -m costly

# The lower bounds of pyproject.toml, read off that file: what they break would otherwise be met by a user first.
LOWEST := .venv-lowest
# Old versions warn of older ones, so that warnings are no errors here.
test-lowest: $(LOWEST)/.ready-lowest
	$(LOWEST)/bin/python -m pytest -q -n auto -W default tests/golden tests/unit/test_distributions.py tests/unit/test_optimisers.py tests/unit/test_cli_figures.py

# The whole suite with the newest JAX, which compiles more slowly: about a quarter of an hour on two cores.
HIGHEST := .venv-highest
test-highest: $(HIGHEST)/.ready-highest
	$(HIGHEST)/bin/python -m pytest -q -n auto --dist worksteal

# A wheel in an environment of its own, used from outside the repository: what the wheel leaves out is seen.
test-wheel:
	.ci/wheel "$(PYTHON)"

lint: $(VENV)/.ready-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "bmaml needs Python 3.11 or later; $(PYTHON) is older: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.ready-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.ready

$(VENV)/.ready-lint: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	@touch $@ $(VENV)/.ready $(VENV)/.ready-test

$(VENV)/.ready-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@ $(VENV)/.ready

$(LOWEST)/.ready-lowest: pyproject.toml .ci/lowest.py
	$(MAKE) VENV=$(LOWEST) $(LOWEST)/bin/python
	$(LOWEST)/bin/python .ci/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install -q --disable-pip-version-check -c $(LOWEST)/constraints.txt -e '.[test]'
	@touch $@

$(HIGHEST)/.ready-highest: pyproject.toml constraints.txt constraints-highest.txt
	$(MAKE) VENV=$(HIGHEST) $(HIGHEST)/bin/python
	{ cat constraints-highest.txt; grep -vE '^(flax|jax|jaxlib)==' constraints.txt; } > $(HIGHEST)/constraints.txt
	$(HIGHEST)/bin/python -m pip install -q --disable-pip-version-check -c $(HIGHEST)/constraints.txt -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST) $(HIGHEST) .venv-wheel demo figures dist build docs/generated
