# Two commands do everything: `make demo` and `make test`. Both make the environment first, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Workers take whole files (fixtures are shared within one) in the order of tests/conftest.py, the longest first. NumPy's
# algebra has one thread: where each core has a worker, a second one burns what it waits (50 times for an svd of 64x64).
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

FAULTS_SECONDS ?= 900

.PHONY: demo test test-fast faults bench check docs format wheel clean

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "kdbias needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

demo: $(VENV)/.installed  ## the study demo with one seed: teacher, control and student on the embedded data, then its page
	$(BIN)/python analyze.py task=demo

test: $(VENV)/.installed  ## every test; seven to eight minutes on two cores
	$(PYTEST)

test-fast: $(VENV)/.installed  ## while you work: all but the long files; about a minute and a half on two cores
	$(PYTEST) -m "not slow"

faults: $(VENV)/.installed  ## kills, full disks, malformed and hostile files, counted; at most FAULTS_SECONDS (15 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults --seconds $(FAULTS_SECONDS)

bench: $(VENV)/.installed  ## every benchmark in its quick form, into docs/performance.md; about ten minutes, on an idle machine
	$(BIN)/python benchmarks/collect.py

check: $(VENV)/.installed  ## style, types, and which room may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: $(VENV)/.installed  ## the site: build/site/index.html; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict # with --quiet, --strict would see no warning

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(VENV)/.installed
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) dist build *.egg-info
