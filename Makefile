# Everything runs in .venv, which each target makes if it is not there.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo check check-cuda test test-all bench docs wheel-test

demo: $(STAMP)  ## the whole way on 1,000 real cells: shards, stream, a model
	$(BIN)/scdata demo --out demo-out

test: $(STAMP)  ## the default tests
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow and not gpu" $(PYTEST_ARGS)

test-all: $(STAMP)  ## and the slow ones: ten kills, large synthetic corpora
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not gpu" $(PYTEST_ARGS)

check: $(STAMP)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check-cuda: .venv-cuda/.installed  ## compile every CUDA source for sm_80, sm_90, sm_100; needs no device
	.venv-cuda/bin/python tests/cuda/check.py

bench: $(STAMP)  ## benchmarks at full size; results go to benchmarks/results/
	$(BIN)/python benchmarks/run.py

docs: $(STAMP)  ## the documentation, to docs/_build/html; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

wheel-test: $(STAMP)  ## build the wheel, install it elsewhere, run it there
	$(BIN)/python -m pytest -q tests/test_packaging.py -m "slow or not slow"

# The CPU build of torch is pinned: other requests pull gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "scdata needs Python 3.11 or newer: make PYTHON=python3.11"'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing scdata and what it needs into .venv: two minutes or so, in which pip prints nothing"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[torch,build,census,s3,plot,export,docs,dev]'
	touch $@

# CuPy with its own compiler, apart from the rest: it takes 2 GB.
.venv-cuda/.installed:
	$(PYTHON) -m venv .venv-cuda
	.venv-cuda/bin/python -m pip install --quiet --disable-pip-version-check 'cupy-cuda13x[ctk]>=14' pyarrow
	touch $@
