# Each target sets up what it needs; nothing but Python 3.11-3.14 and make has to be there.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A process for each core, of one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
SIDE_BY_SIDE := -n logical --maxprocesses 8

.PHONY: help setup demo test test-all lint types imports docs figures notebooks

help:
	@echo "make demo      set up .venv, then simulate a small challenge, fit, submit and report (demo/)"
	@echo "make test      set up .venv, then run the quick tests"
	@echo "make test-all  then the slow ones"
	@echo "make lint      ruff and codespell"
	@echo "make types     mypy --strict"
	@echo "make imports   the rooms' import contract"
	@echo "make docs      the documentation as a site in build/docs; runs the gallery; no warning is let through"
	@echo "make figures   draw the figures of the tutorial and the explanations again (docs/images)"
	@echo "make notebooks run the notebooks from top to bottom, and store what they show"

# What the package needs, and then all that its tests and its site need, too.
setup: .venv/ready
.venv/base: requirements/base.txt pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else f"voxelcast needs Python 3.11 to 3.14; got {v[0]}.{v[1]}. Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(INSTALL) --require-hashes -r requirements/base.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@
.venv/ready: .venv/base requirements/all.txt
	$(INSTALL) --require-hashes -r requirements/all.txt
	touch $@

demo: .venv/base
	$(BIN)/voxelcast demo

test: setup
	$(PYTEST) $(SIDE_BY_SIDE) --dist worksteal -m "not slow"

test-all: test
	$(PYTEST) $(SIDE_BY_SIDE) --dist loadfile -m "slow and not alone"
	$(PYTEST) -m alone

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell voxelcast benchmarks tests docs examples README.md CONTRIBUTING.md CHANGELOG.md

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs

figures: setup
	$(BIN)/python -m tests.walk docs/tutorial.md docs/figures/*.py

notebooks: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.notebooks
